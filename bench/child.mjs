/**
 * A peer in a process of its own, which is asked for one measurement at a time: a request is a line on its stdin, an answer a line of
 * JSON on its stdout, { "rate": number } or { "error": text }. Between requests it sleeps, so that it takes no core from the others.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const running = new Set();

export class Child {
  #process;
  #waiting = [];
  #stderr = '';
  #ended = null;

  /** @param env what differs from our environment; a value of undefined takes a variable away */
  constructor(command, args, env = {}) {
    // Both are settings of one machine's OpenBLAS that would bind the peers to the wrong kernels.
    const all = { ...process.env, OPENBLAS_CORETYPE: undefined, OPENBLAS_L2_SIZE: undefined, ...env };
    const kept = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    this.name = command;
    this.#process = spawn(command, args, { env: kept, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process.on('error', (error) => this.#end(error.message));
    this.#process.on('close', (code, signal) => this.#end(`ended with ${signal ?? `code ${code}`}`));
    this.#process.stdin.on('error', () => undefined);
    this.#process.stderr.on('data', (text) => (this.#stderr = `${this.#stderr}${text}`.slice(-2000)));
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#waiting.shift()?.answer(line));
    running.add(this);
  }

  #end(why) {
    if (this.#ended !== null) return;
    const last = this.#stderr.trim().split('\n').pop();
    this.#ended = `${this.name} ${why}${last ? `: ${last}` : ''}`;
    running.delete(this);
    for (const { fail } of this.#waiting.splice(0)) fail(new Error(this.#ended));
  }

  /** Sends a line (an object goes as JSON) and waits for the answer. Rejects with the child's error. */
  async ask(request) {
    if (this.#ended !== null) throw new Error(this.#ended);
    const line = await new Promise((answer, fail) => {
      this.#waiting.push({ answer, fail });
      this.#process.stdin.write(`${typeof request === 'string' ? request : JSON.stringify(request)}\n`);
    });
    const reply = JSON.parse(line);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  close() {
    running.delete(this);
    this.#process.stdin.end();
    this.#process.kill();
  }
}

/** Ends all that are still running. */
export function closeChildren() {
  for (const child of [...running]) child.close();
}
