/**
 * Ctrl-C: the first signal asks the training to end at a step boundary, the second ends the process at once.
 */
import { EXIT, say } from './output.js';

/** Runs `body` with a signal that SIGINT and SIGTERM abort. */
export async function interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
    say('\nstopping at the next step; once more to stop at once');
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await body(controller.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
