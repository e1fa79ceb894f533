#!/usr/bin/env node
/**
 * Makes a clone ready: packages, the native addon, with --native-tests the native tests too, the TypeScript build and the
 * `gyrus` command. With --emulated only what the tests of the emulated CUDA device need: addon and native tests in build/emulated. Does only what is out of date; says one line per thing it does; prints a tool's output only when that
 * fails. Plain Node without dependencies, since it runs before there are any. Safe to run twice at once.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);
const nativeTests = process.argv.includes('--native-tests');
const emulated = process.argv.includes('--emulated');

class Failure extends Error {}

function time(path) {
  return existsSync(path) ? statSync(path).mtimeMs : 0;
}

/** The latest change below the given files and folders. A folder's own time counts: it moves when a file is removed. */
function newest(...paths) {
  let latest = 0;
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const stat = statSync(path);
    latest = Math.max(latest, stat.mtimeMs);
    if (!stat.isDirectory()) continue;
    for (const name of readdirSync(path)) latest = Math.max(latest, newest(join(path, name)));
  }
  return latest;
}

function run(what, command, args) {
  console.log(`setup: ${what} ...`);
  // make, unlike ninja, uses one core unless it is told.
  const env = { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()), ...process.env };
  const result = spawnSync(command, args, { cwd: root, env, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status === 0) return;
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`;
  throw new Failure(`${output}\nsetup: ${what} failed: ${command} ${args.join(' ')} ${result.error?.message ?? ''}`);
}

function works(command, args, input) {
  return spawnSync(command, args, { encoding: 'utf8', input }).status === 0;
}

/** Says what is missing before CMake says it in its own way. */
function checkTools() {
  const missing = [];
  const cmake = spawnSync('cmake', ['--version'], { encoding: 'utf8' });
  const version = /version (\d+)\.(\d+)/.exec(cmake.stdout ?? '');
  if (cmake.status !== 0 || !version || Number(version[1]) * 1000 + Number(version[2]) < 3022) {
    missing.push(`CMake >= 3.22 (${version ? `found ${version[1]}.${version[2]}` : 'not found'})`);
  }
  const compilers = process.env.CXX ? [process.env.CXX.split(' ')[0]] : ['c++', 'g++', 'clang++'];
  const source = '#include <version>\n#if __cplusplus < 202002L\n#error\n#endif\nint main() {}\n';
  if (!compilers.some((c) => works(c, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], source))) {
    missing.push(`a C++20 compiler (tried ${compilers.join(', ')})`);
  }
  if (!works('make', ['--version']) && !works('ninja', ['--version'])) missing.push('make or ninja (not found)');
  if (missing.length === 0) return;
  throw new Failure(
    `setup: the native addon needs ${missing.join(' and ')}.\n` +
      'On Debian and Ubuntu: sudo apt-get install -y cmake g++ make',
  );
}

function installPackages() {
  const mark = at('node_modules', '.package-lock.json');
  if (time(mark) > 0 && time(mark) >= time(at('package-lock.json'))) return;
  run('installing packages (npm ci)', 'npm', ['ci', '--no-fund', '--no-audit']);
  const now = new Date();
  if (existsSync(mark)) utimesSync(mark, now, now);
}

const nativeSources = () =>
  newest(at('CMakeLists.txt'), ...['core', 'kernels', 'cpu', 'cuda', 'addon'].map((d) => at('native', d)));

function touch(path) {
  const now = new Date();
  if (existsSync(path)) utimesSync(path, now, now);
}

function buildAddon() {
  const addon = at('build', 'Release', 'gyrus.node');
  if (time(addon) > nativeSources()) return;
  checkTools();
  run('building the native addon', process.execPath, [at('node_modules', 'cmake-js', 'bin', 'cmake-js'), 'build']);
  if (!existsSync(addon)) throw new Failure(`setup: the build made no ${addon}`);
  touch(addon);
}

function buildNativeTests() {
  const dir = at('build', 'native-tests');
  const binary = join(dir, 'gyrus_native_tests');
  if (time(binary) > Math.max(nativeSources(), newest(at('native', 'test')))) return;
  checkTools();
  run('configuring the native tests', 'cmake', [
    '-S',
    root,
    '-B',
    dir,
    '-DGYRUS_TESTS=ON',
    '-DGYRUS_CUDA=OFF',
    '-DCMAKE_BUILD_TYPE=Release',
  ]);
  run('building the native tests', 'cmake', ['--build', dir, '--target', 'gyrus_native_tests']);
  touch(binary);
}

/** The addon and the native tests, with the CUDA kernels compiled for the host; the CPU kernels are there to compare with. */
function buildEmulated() {
  const dir = at('build', 'emulated');
  const built = [join(dir, 'Release', 'gyrus.node'), join(dir, 'gyrus_native_tests')];
  if (Math.min(...built.map(time)) > Math.max(nativeSources(), newest(at('native', 'test')))) return;
  checkTools();
  run('building the emulated CUDA device', process.execPath, [
    at('node_modules', 'cmake-js', 'bin', 'cmake-js'),
    'build',
    '--out',
    dir,
    '--CDGYRUS_TESTS=ON',
    '--CDGYRUS_CUDA=EMULATED',
    '--CDGYRUS_ISAS=scalar',
  ]);
  built.forEach(touch);
}

function buildTypeScript() {
  const main = at('dist', 'index.js');
  if (time(main) > newest(at('src'), at('tsconfig.json'), at('package.json'))) return;
  run('building TypeScript', process.execPath, [at('node_modules', 'tsdown', 'dist', 'run.mjs')]);
  touch(main);
}

/** npm links the command of a package only where it is installed, not inside its own repository. */
function linkCommand() {
  const main = at('dist', 'cli', 'main.js');
  if (!existsSync(main)) return;
  chmodSync(main, 0o755);
  const bin = at('node_modules', '.bin');
  const link = join(bin, 'gyrus');
  const target = join('..', '..', 'dist', 'cli', 'main.js');
  if (process.platform === 'win32') {
    writeFileSync(`${link}.cmd`, `@node "%~dp0\\..\\..\\dist\\cli\\main.js" %*\r\n`);
    return;
  }
  mkdirSync(bin, { recursive: true });
  const there = lstatSync(link, { throwIfNoEntry: false });
  if (there?.isSymbolicLink() && readlinkSync(link) === target) return;
  // Made beside and renamed, so that nobody meets a moment without it.
  const fresh = `${link}.${process.pid}`;
  symlinkSync(target, fresh);
  renameSync(fresh, link);
}

/** One setup at a time: a folder is the lock, and it names its owner so that one left by a crash is taken over. */
async function withLock(body) {
  mkdirSync(at('build'), { recursive: true });
  const lock = at('build', '.setup-lock');
  const owner = join(lock, 'pid');
  let told = false;
  for (;;) {
    try {
      mkdirSync(lock);
      writeFileSync(owner, String(process.pid));
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (abandoned(lock, owner)) {
      rmSync(lock, { recursive: true, force: true });
      continue;
    }
    if (!told) console.log('setup: waiting for another setup of this clone ...');
    told = true;
    await new Promise((done) => setTimeout(done, 200));
  }
  const unlock = () => rmSync(lock, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      unlock();
      process.exit(signal === 'SIGINT' ? 130 : 143);
    });
  }
  try {
    body();
  } finally {
    unlock();
  }
}

function abandoned(lock, owner) {
  try {
    const pid = Number(readFileSync(owner, 'utf8'));
    if (pid > 0) process.kill(pid, 0);
    else return Date.now() - time(lock) > 5000;
    return false;
  } catch (error) {
    if (error.code === 'ESRCH') return true;
    // Not written yet, or just gone.
    return error.code === 'ENOENT' && existsSync(lock) && Date.now() - time(lock) > 5000;
  }
}

try {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Failure(`setup: Gyrus needs Node.js 20.19 or later, this is ${process.versions.node}`);
  }
  await withLock(() => {
    installPackages();
    if (emulated) return buildEmulated();
    buildAddon();
    if (nativeTests) buildNativeTests();
    buildTypeScript();
    linkCommand();
  });
} catch (error) {
  console.error(error instanceof Failure ? error.message : error);
  process.exitCode = 1;
}
