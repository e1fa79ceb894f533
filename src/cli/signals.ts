/**
 * Ctrl-C: the first signal asks the training to end at a step boundary, the second ends the process at once. A terminal that
 * is closed (SIGHUP) asks as well.
 */
import { EXIT, say } from './output.js';

/** Runs `body` with a signal that SIGINT, SIGTERM and SIGHUP abort. */
export async function interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
    say('\nstopping at the next step; once more to stop at once');
  };
  for (const name of signals) process.on(name, onSignal);
  try {
    return await body(controller.signal);
  } finally {
    for (const name of signals) process.off(name, onSignal);
  }
}
