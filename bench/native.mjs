/**
 * The C libraries and the limits of the machine as engines: bench/native/, built here on first use, one process per library and number
 * of threads (two pools of OpenBLAS in one process fight for the cores).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Child } from './child.mjs';
import { onGpu } from './device.mjs';

const source = fileURLToPath(new URL('native', import.meta.url));
const build = fileURLToPath(new URL('../build/bench-native', import.meta.url));
const program = `${build}/gyrus_bench_native`;

let unbuilt;

/** Builds the program where its sources are newer; why that can't be done, or an empty string. */
function buildProgram() {
  const newest = Math.max(...readdirSync(source).map((name) => statSync(`${source}/${name}`).mtimeMs));
  if (existsSync(program) && statSync(program).mtimeMs > newest) return '';
  console.error('bench: building the program for native peers ...');
  for (const args of [
    ['-S', source, '-B', build],
    ['--build', build],
  ]) {
    const made = spawnSync('cmake', args, { encoding: 'utf8' });
    if (made.error) return 'no cmake to build the bench program (Debian: apt-get install cmake g++ make)';
    if (made.status !== 0) {
      // What failed half-way would be taken up again, with the compiler that was not there.
      rmSync(build, { recursive: true, force: true });
      const lines = `${made.stdout}\n${made.stderr}`.split('\n').map((line) => line.trim());
      const at = lines.findIndex((line) => /: error:|CMake Error/.test(line));
      const said = at >= 0 ? `${lines[at]} ${lines[at + 1] ?? ''}` : lines.filter(Boolean).pop();
      return `the bench program does not build: ${said ?? `cmake ended with ${made.status}`}`;
    }
  }
  return '';
}

const children = new Map();

function childOf(library, threads) {
  const key = `${library} ${threads}`;
  if (!children.has(key)) {
    const env = { OPENBLAS_NUM_THREADS: String(threads), OMP_NUM_THREADS: String(threads) };
    children.set(key, new Child(program, [library, String(threads)], env));
  }
  return children.get(key);
}

const ON_GPU = ['gpu', 'cublas'];
const absences = new Map();

/** Why a library ('limits', 'openblas', 'onednn', 'gpu', 'cublas') can't be measured here, or an empty string. Says its version the first time. */
export async function nativeAbsent(library) {
  unbuilt ??= buildProgram();
  if (unbuilt) return unbuilt;
  if (!absences.has(library)) {
    try {
      const { version } = await childOf(library, 1).ask('version');
      if (library !== 'limits') console.error(`bench: ${library} is ${version}`);
      absences.set(library, '');
    } catch (error) {
      absences.set(library, error.message);
    }
  }
  return absences.get(library);
}

/**
 * An engine for `compare`: the rate of a request (bench/native/main.cpp lists them) per second, or why it is absent.
 * @param request the words without the time, as in 'gemm 64 64 64 0 0'
 */
export async function nativeEngine(library, threads, request, seconds) {
  if (onGpu && library === 'limits') return nativeEngine('gpu', threads, request, seconds);
  if (onGpu && !ON_GPU.includes(library)) return { absent: 'runs on the CPU' };
  const absent = await nativeAbsent(library);
  if (absent) return { absent };
  return async () => (await childOf(library, threads).ask(`${request} ${seconds}`)).rate;
}

/** The FMA peak as an engine, in units of `flop` per second: calls/s that the machine could do of a call of so many FLOP. */
export async function peakEngine(threads, flop, seconds) {
  const engine = await nativeEngine('limits', threads, 'fma', seconds);
  return typeof engine === 'function' ? async () => (await engine()) / flop : engine;
}

/**
 * The memory bandwidth as an engine, in units of `bytesPerCall` per second.
 * @param kind 'read', 'copy', 'triad' or 'nt' (triad with non-temporal stores)
 * @param bytes of all arrays together
 */
export async function bandwidthEngine(kind, bytes, threads, bytesPerCall, seconds) {
  const engine = await nativeEngine('limits', threads, `stream ${kind} ${Math.ceil(bytes)}`, seconds);
  return typeof engine === 'function' ? async () => (await engine()) / bytesPerCall : engine;
}
