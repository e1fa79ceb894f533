/**
 * Live progress of a run: a bar in a terminal, one plain line per epoch where there is none. Always on stderr.
 */
import { SingleBar } from 'cli-progress';
import type { EpochRecord, PlasticityEvent, Progress, RunHooks } from '../train/index.js';
import { colorsFor } from './output.js';

const percent = (value: number | undefined): string => (value === undefined ? '–' : `${(100 * value).toFixed(1)} %`);

/** E.g. '7 s', '2 min 05 s', '1 h 03 min'. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const s = Math.max(0, Math.round(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
}

/** E.g. '850', '212k', '1.3M'. */
export function rate(value: number): string {
  if (!Number.isFinite(value)) return '?';
  if (value < 1000) return value.toFixed(0);
  return value < 1e6 ? `${(value / 1000).toFixed(value < 1e4 ? 1 : 0)}k` : `${(value / 1e6).toFixed(1)}M`;
}

function widthsText(widths: Record<string, number>): string {
  return Object.values(widths).join('-');
}

/** Follows one run. `done` has to be called at its end. */
export interface RunProgress extends RunHooks {
  done(): void;
}

function bar(title: string, epochs: number): RunProgress {
  const color = colorsFor(process.stderr);
  const wide = (process.stderr.columns ?? 80) >= 130;
  const rest = wide
    ? 'epoch {epoch}/{epochs}  loss {loss}  acc {acc}  test {test}  width {width}  {rate} samples/s  {left} left'
    : '{epoch}/{epochs} {left} left, loss {loss} acc {acc} width {width} {rate}/s';
  const single = new SingleBar({
    stream: process.stderr,
    format: `${color.bold(title)} {bar} ${rest}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: wide ? 16 : 6,
    fps: 8,
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    gracefulExit: false,
    linewrap: false,
  });
  const payload = { epoch: 0, epochs, loss: '–', acc: '–', test: '–', width: '–', rate: '–', left: '?' };
  single.start(1000, 0, payload);
  return {
    onProgress(p: Progress) {
      Object.assign(payload, {
        epoch: p.epoch,
        loss: p.loss.toFixed(3),
        acc: percent(p.accuracy),
        width: widthsText(p.widths),
        rate: rate(p.samplesPerSecond),
        left: duration(p.secondsLeft),
      });
      single.update(Math.round((1000 * p.step) / p.steps), payload);
    },
    onEpoch(record: EpochRecord) {
      Object.assign(payload, {
        epoch: record.epoch,
        loss: record.trainLoss.toFixed(3),
        acc: percent(record.trainAccuracy),
        width: widthsText(record.widths),
        ...(record.test && { test: percent(record.test.top1) }),
      });
      single.update(Math.round((1000 * record.epoch) / epochs), payload);
    },
    done: () => single.stop(),
  };
}

function plain(title: string, epochs: number): RunProgress {
  let events: PlasticityEvent[] = [];
  let began = performance.now();
  let first: number | undefined;
  return {
    onEvent: (event) => void events.push(event),
    onEpoch(record) {
      // The first epoch also records the step; it counts, since there is nothing better yet.
      first ??= record.epoch - 1;
      const perEpoch = (performance.now() - began) / 1000 / (record.epoch - first);
      const changes = events.map(({ kind, layer, unitIds }) => {
        const sign = { grow: '+', prune: '−', reset: '↻' }[kind];
        return `${layer} ${sign}${unitIds.length}`;
      });
      events = [];
      const parts = [
        `${title} epoch ${record.epoch}/${epochs}`,
        `loss ${record.trainLoss.toFixed(4)}`,
        `acc ${percent(record.trainAccuracy)}`,
        ...(record.test ? [`test ${percent(record.test.top1)}`, `recall ${percent(record.test.meanRecall)}`] : []),
        `width ${widthsText(record.widths)}${changes.length > 0 ? ` (${changes.join(', ')})` : ''}`,
        `${rate(record.samplesPerSecond)} samples/s`,
        `${duration(perEpoch * (epochs - record.epoch))} left`,
      ];
      process.stderr.write(`${parts.join('  ')}\n`);
    },
    done: () => void (began = performance.now()),
  };
}

/** Progress of one run on stderr; nothing at all when `quiet`. */
export function runProgress(title: string, epochs: number, quiet = false): RunProgress {
  if (quiet) return { done: () => undefined };
  return process.stderr.isTTY ? bar(title, epochs) : plain(title, epochs);
}
