/**
 * The peers from npm, which lie in bench/peers/ with a lock file of their own and are installed by the first suite that asks for one.
 * Each runs in a process of its own (bench/peers/*.mjs, see serve.mjs there) that sleeps while others are measured.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Child } from './child.mjs';
import { onGpu } from './device.mjs';

const at = (path) => fileURLToPath(new URL(`peers/${path}`, import.meta.url));

let failed;

/** A quick run measures what is there. */
const QUICK = process.argv.includes('--quick');

/**
 * Installs the packages of bench/peers/ unless they are there, some 600 MB. Their install scripts are left out: they download from
 * elsewhere than the registry. With --quick nothing is installed.
 * @returns why they are absent, or an empty string
 */
export function peersAbsent() {
  const stamp = at('node_modules/.installed');
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= statSync(at('package-lock.json')).mtimeMs) return '';
  if (QUICK) return 'not installed in bench/peers';
  failed ??= install(stamp);
  return failed;
}

function install(stamp) {
  console.error('bench: installing the peers of npm in bench/peers (some 600 MB) ...');
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  const options = { cwd: at('.'), env, encoding: 'utf8', timeout: 900_000 };
  const result = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], options);
  if (result.status !== 0) {
    // A half-installed folder would pass for an installed one.
    rmSync(at('node_modules'), { recursive: true, force: true });
    const why =
      result.error?.message ??
      result.stderr
        .trim()
        .split('\n')
        .find((line) => line.includes('rror')) ??
      '';
    return `npm ci in bench/peers failed${why ? `: ${why.replace(/^npm (error|ERR!)\s*/, '')}` : ''}`;
  }
  mkdirSync(at('node_modules'), { recursive: true });
  writeFileSync(stamp, '');
  return '';
}

/** Engines by name: the script and its arguments, and the numbers of threads that it can use. */
const PEERS = {
  'tfjs-cpu': { args: [at('tfjs.mjs'), 'cpu'], threads: (n) => n === 1 },
  'tfjs-wasm': { args: [at('tfjs.mjs'), 'wasm'], threads: (n) => n === 1 },
  'tfjs-webgpu': { args: [at('tfjs.mjs'), 'webgpu'], threads: () => true, gpu: true },
  'jax-js': { args: [at('jax.mjs')], threads: (n) => n === 1 },
  mlx: { args: ['--expose-gc', at('mlx.mjs')], threads: () => true },
};
export const PEER_NAMES = Object.keys(PEERS);

/** Why TensorFlow.js can't use a GPU here, or an empty string. */
function webgpuAbsent() {
  const missing = ['@tensorflow/tfjs', 'webgpu', '@tensorflow/tfjs-backend-webgpu'].filter(
    (name) => !existsSync(at(`node_modules/${name}/package.json`)),
  );
  return missing.length > 0
    ? `npm install --no-save ${missing.join(' ')} in bench/peers brings what is missing, and Vulkan has to be there`
    : '';
}

const children = new Map();

/**
 * Engines for `compare` by name, each measuring the case or saying why it is absent: those of one thread are where a case has more.
 * @param args of the case
 */
export function peerEngines(name, threads, seconds, { args = {}, names = PEER_NAMES } = {}) {
  const absent = onGpu ? '' : peersAbsent();
  const engine = (peer) => {
    const reason = PEERS[peer].gpu ? webgpuAbsent() : absent;
    if (reason) return { absent: reason };
    if (!PEERS[peer].threads(threads)) return { absent: 'runs on one thread in Node' };
    return async () => {
      const key = `${peer} ${threads}`;
      if (!children.has(key)) {
        const env = { OPENBLAS_NUM_THREADS: String(threads), OMP_NUM_THREADS: String(threads) };
        children.set(key, new Child(process.execPath, PEERS[peer].args, env));
      }
      const { rate } = await children.get(key).ask({ case: name, seconds, args });
      return rate;
    };
  };
  const here = names.filter((peer) => Boolean(PEERS[peer].gpu) === onGpu);
  return Object.fromEntries(here.map((peer) => [peer, engine(peer)]));
}
