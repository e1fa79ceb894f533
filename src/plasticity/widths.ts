/**
 * Widths of a model whose neurons can be looked at: where resets act, diagnostics look and regularisers pull.
 */
import { ConfigError } from '../device/index.js';
import type { Module, Width } from '../nn/index.js';

/**
 * Widths computed by a layer and read by one, or by several behind a UnitGate: all of them, or those of these names.
 * @throws ConfigError, beginning with `what`, for a name that the model lacks, that doesn't fit or comes twice
 */
export function observableWidths(model: Module, wanted: 'all' | readonly string[], what: string): Width[] {
  const all = model.widths();
  const fits = (width: Width): boolean =>
    width.producers.length > 0 && (width.consumers.length === 1 || (width.gated && width.consumers.length > 0));
  const chosen =
    wanted === 'all'
      ? all.filter(fits)
      : wanted.map((name) => {
          const found = all.find((width) => width.name === name);
          if (!found) {
            const names = all.map((width) => `'${width.name}'`).join(', ') || 'none';
            throw new ConfigError(`${what}: widths: the model has no width '${name}' (it has ${names})`);
          }
          if (!fits(found)) {
            throw new ConfigError(
              `${what}: widths: expected '${name}' to have a layer that computes it and one that reads it, or a UnitGate`,
            );
          }
          return found;
        });
  if (new Set(chosen.map(({ name }) => name)).size !== chosen.length) {
    throw new ConfigError(`${what}: widths: expected distinct names, got ${chosen.map(({ name }) => name).join(', ')}`);
  }
  return chosen;
}
