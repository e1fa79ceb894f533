/**
 * PyTorch as a peer: bench/peer_torch.py, one process per number of threads, in Debian's Python, or on a GPU in the first python3.
 * GYRUS_PYTHON names another.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Child } from './child.mjs';
import { onGpu } from './device.mjs';

/** The interpreter that PyTorch is looked for in. */
export const PYTHON = process.env.GYRUS_PYTHON || (onGpu ? 'python3' : '/usr/bin/python3');

let absent;

/** Why PyTorch can't be used here, or an empty string. */
export function torchAbsent() {
  if (absent === undefined) {
    const wanted = onGpu ? 'import torch; assert torch.cuda.is_available()' : 'import torch';
    const found = spawnSync(PYTHON, ['-c', wanted], { encoding: 'utf8' });
    if (found.error) absent = `no ${PYTHON}`;
    else if (found.status !== 0)
      absent = onGpu ? 'no module torch with CUDA' : 'no module torch (Debian: apt-get install python3-torch)';
    else absent = '';
    if (absent === '' && !onGpu) warnOfReferenceBlas();
  }
  return absent;
}

/** Debian's PyTorch multiplies with whatever libblas.so.3 is; with the reference one it runs some twenty times slower. */
function warnOfReferenceBlas() {
  const dirs = ['x86_64', 'aarch64'].map((cpu) => `/usr/lib/${cpu}-linux-gnu/libblas.so.3`);
  const blas = dirs.find(existsSync);
  if (blas && /\/blas\/libblas/.test(realpathSync(blas))) {
    console.error(
      'bench: PyTorch uses the reference BLAS here and is no fair peer; Debian: apt-get install libopenblas0-pthread',
    );
  }
}

const children = new Map();

/**
 * Runs per second of a case in PyTorch.
 * @param name 'module:function' of a module beside peer_torch.py, or a function of that file; called with `args` by keyword, it gives
 * the function to time
 */
export async function torchRate(name, threads, seconds, args = {}) {
  if (!children.has(threads)) {
    const script = fileURLToPath(new URL('peer_torch.py', import.meta.url));
    // PyTorch's OpenMP threads spin by default and starve each other where cores are few: this is its better setting.
    const env = { OMP_WAIT_POLICY: 'passive', OMP_NUM_THREADS: String(threads), OPENBLAS_NUM_THREADS: String(threads) };
    children.set(threads, new Child(PYTHON, [script, String(threads), ...(onGpu ? ['cuda'] : [])], env));
  }
  const { rate } = await children.get(threads).ask({ case: name, seconds, args });
  return rate;
}

/** The engine for `compare`: measures the case, or says why not. */
export const torchEngine = (name, threads, seconds, args) =>
  torchAbsent() ? { absent: torchAbsent() } : () => torchRate(name, threads, seconds, args);

/**
 * Like torchEngine, for a case that PyTorch can do in several ways: all are measured in the first round, and the fastest stays.
 * @param variants the arguments of each
 */
export function torchBestEngine(name, threads, seconds, variants) {
  if (torchAbsent()) return { absent: torchAbsent() };
  let best;
  return async () => {
    if (best) return torchRate(name, threads, seconds, best);
    let fastest = 0;
    for (const args of variants) {
      const rate = await torchRate(name, threads, seconds, args);
      if (rate > fastest) [fastest, best] = [rate, args];
    }
    return fastest;
  };
}
