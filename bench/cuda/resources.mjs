#!/usr/bin/env node
/**
 * What nvcc makes of every CUDA kernel, without a GPU: registers, shared memory, spills and theoretical occupancy on each
 * architecture, and what its PTX holds of what was meant: 128-bit accesses, asynchronous copies, matrices read from shared
 * memory for tensor cores, and their products.
 *
 *   node bench/cuda/resources.mjs           compiles all kernels and writes bench/results/cuda-resources.csv
 *   node bench/cuda/resources.mjs --check   compiles them and compares: exit status 1 where a kernel spills that did not, is
 *                                           resident with fewer warps than before, has lost all instructions of a kind, or is
 *                                           not in the table
 *   --archs 75,90                           of these architectures only (default: all; with --check those of the table)
 *   --files gate.cu,conv/implicit.cu        of these sources only; the rows of the others stay as they are
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { readCsv, writeCsv } from './csv.mjs';
import { LIMITS } from './limits.mjs';

const run = promisify(execFile);
const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const TABLE = join(ROOT, 'bench', 'results', 'cuda-resources.csv');

const REGISTERS = 65536;
/** Registers go to warps in units of 256, and from 8.0 on the system keeps 1 KiB of shared memory per block. */
const REGISTER_UNIT = 256;

/** Resident warps over the most there can be, without shared memory that is sized at launch. */
export function occupancy(arch, threads, registers, sharedBytes) {
  const { warps, blocks, shared } = LIMITS[arch];
  const perBlock = Math.ceil(threads / 32);
  const perWarp = Math.ceil((registers * 32) / REGISTER_UNIT) * REGISTER_UNIT;
  const reserved = arch >= 80 ? 1024 : 0;
  const byRegisters = Math.floor(Math.floor(REGISTERS / perWarp) / perBlock);
  const byShared = sharedBytes + reserved > 0 ? Math.floor((shared * 1024) / (sharedBytes + reserved)) : Infinity;
  const resident = Math.min(blocks, Math.floor(warps / perBlock), byRegisters, byShared);
  return (resident * perBlock) / warps;
}

/** Kernels of one source by mangled name, each with its figures by architecture. */
async function compile(source, archs) {
  const folder = mkdtempSync(join(tmpdir(), 'gyrus-nvcc-'));
  try {
    const targets = archs.flatMap((arch) => ['-gencode', `arch=compute_${arch},code=sm_${arch}`]);
    const flags = ['-std=c++20', '-O3', '--expt-relaxed-constexpr', '--fmad=false', '-I', join(ROOT, 'native')];
    const { stderr, stdout } = await run(
      'nvcc',
      [
        ...flags,
        ...targets,
        '-Xptxas',
        '-v',
        '--keep',
        '--keep-dir',
        folder,
        '-fatbin', // the device's code alone
        source,
        '-o',
        join(folder, 'out.fatbin'),
      ],
      { maxBuffer: 1 << 28 },
    );
    const kernels = readUsage(`${stdout}\n${stderr}`);
    for (const arch of archs) {
      // With one architecture its name is not part of the file's.
      const texts = readdirSync(folder).filter((name) => name.endsWith('.ptx'));
      const file = archs.length === 1 ? texts[0] : texts.find((name) => name.endsWith(`compute_${arch}.ptx`));
      if (!file) throw new Error(`resources: nvcc kept no PTX of ${source} for sm_${arch}`);
      for (const [name, facts] of readPtx(readFileSync(join(folder, file), 'utf8')))
        Object.assign(kernels.get(name)?.[arch] ?? {}, facts);
    }
    return kernels;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function readUsage(text) {
  const kernels = new Map();
  let current;
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\S+)' for 'sm_(\d+)'/.exec(line);
    if (entry) {
      const [, name, arch] = entry;
      current = { registers: 0, shared: 0, stack: 0, spills: 0 };
      kernels.set(name, { ...kernels.get(name), [arch]: current });
    }
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (frame && current) [current.stack, current.spills] = [Number(frame[1]), Number(frame[2]) + Number(frame[3])];
    const used = /Used (\d+) registers/.exec(line);
    if (used && current) {
      current.registers = Number(used[1]);
      current.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    }
  }
  return kernels;
}

/** Block size and instructions of each entry of a PTX text. */
function readPtx(text) {
  const out = new Map();
  for (const piece of text.split(/^\s*(?:\.visible |\.weak )?\.entry /m).slice(1)) {
    const name = /^\S+?(?=\()/.exec(piece)?.[0] ?? '';
    const threads = /\.maxntid\s+(\d+)(?:,\s*(\d+))?(?:,\s*(\d+))?/.exec(piece);
    const count = (pattern) => (piece.match(pattern) ?? []).length;
    out.set(name, {
      threads: threads ? threads.slice(1).reduce((product, n) => product * Number(n ?? 1), 1) : 1024,
      wide: count(/\b(?:ld|st)\.(?:global|shared)\S*\.v4\.[fbu]32|\bld\.global\S*\.v2\.[fbu]64/g),
      async: count(/\bcp\.async\.c[ag]\./g),
      ldmatrix: count(/\bldmatrix\.sync\./g),
      mma: count(/\bmma\.sync\./g),
    });
  }
  return out;
}

/** Readable names: no scopes of ours, no parameter lists. */
async function demangle(names) {
  const child = run('c++filt', ['-p'], { maxBuffer: 1 << 26 });
  child.child.stdin.end(names.join('\n'));
  const { stdout } = await child;
  return stdout
    .trim()
    .split('\n')
    .map((name) => name.replaceAll(/gyrus::|cuda::|\(anonymous namespace\)::/g, '').replace(/^void /, ''));
}

async function measure(sources, archs) {
  const folder = join(ROOT, 'native', 'cuda');
  const rows = [];
  const queue = [...sources];
  const worker = async () => {
    for (let source = queue.shift(); source; source = queue.shift()) {
      const kernels = await compile(join(folder, source), archs);
      const mangled = [...kernels.keys()];
      const names = mangled.length > 0 ? await demangle(mangled) : [];
      mangled.forEach((name, i) => {
        const by = kernels.get(name);
        const of = (field, combine) => combine(...archs.map((arch) => by[arch]?.[field] ?? 0));
        rows.push({
          file: source,
          kernel: names[i],
          threads: of('threads', Math.max),
          shared: of('shared', Math.max),
          wide: of('wide', Math.max),
          async: of('async', Math.max),
          ldmatrix: of('ldmatrix', Math.max),
          mma: of('mma', Math.max),
          ...Object.fromEntries(archs.map((arch) => [`spills${arch}`, by[arch]?.spills ?? 0])),
          ...Object.fromEntries(archs.map((arch) => [`registers${arch}`, by[arch]?.registers ?? 0])),
          ...Object.fromEntries(
            archs.map((arch) => {
              const { threads = 1024, registers = 0, shared = 0 } = by[arch] ?? {};
              return [`occupancy${arch}`, Number(occupancy(arch, threads, registers, shared).toFixed(3))];
            }),
          ),
        });
      });
      console.error(`${basename(source)}: ${kernels.size} kernels`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return rows;
}

const inOrder = (rows) => rows.sort((a, b) => (`${a.file} ${a.kernel}` < `${b.file} ${b.kernel}` ? -1 : 1));

function compare(rows, committed, archs) {
  const earlier = new Map(committed.map((row) => [`${row.file} ${row.kernel}`, row]));
  const problems = [];
  for (const row of rows) {
    const known = earlier.get(`${row.file} ${row.kernel}`);
    const say = (text) => problems.push(`${row.file}: ${row.kernel}: ${text}`);
    if (!known) {
      say('not in the table');
      continue;
    }
    for (const kind of ['wide', 'async', 'ldmatrix', 'mma'])
      if (row[kind] === 0 && Number(known[kind]) > 0) say(`no ${kind} instructions, ${known[kind]} before`);
    for (const arch of archs) {
      const [spills, before] = [row[`spills${arch}`], Number(known[`spills${arch}`])];
      if (!(spills <= before)) say(`spills ${spills} bytes on sm_${arch}, ${before} before`);
      const [now, then] = [row[`occupancy${arch}`], Number(known[`occupancy${arch}`])];
      if (!(now >= then)) say(`occupancy ${now} on sm_${arch}, ${then} before`);
    }
  }
  return problems;
}

const { values } = parseArgs({
  options: { check: { type: 'boolean', default: false }, archs: { type: 'string' }, files: { type: 'string' } },
});
const table = values.check || values.files ? (readCsv(TABLE) ?? []) : [];
const known = Object.keys(LIMITS).map(Number);
const inTable = known.filter((arch) => table.some((row) => row[`registers${arch}`] !== undefined));
// Rows that stay have the columns they have.
const possible = values.check || values.files ? inTable : known;
const archs = values.archs?.split(',').map(Number) ?? possible;
if (archs.length === 0 || archs.some((arch) => !possible.includes(arch))) {
  console.error(`resources: expected architectures of ${possible.join(', ')}, got '${values.archs}'`);
  process.exit(2);
}
if (values.files && !values.check && archs.length < inTable.length) {
  console.error(`resources: --files without --check is for all architectures of the table, ${inTable.join(', ')}`);
  process.exit(2);
}
const all = readdirSync(join(ROOT, 'native', 'cuda'), { recursive: true }).filter((name) => name.endsWith('.cu'));
const sources = values.files?.split(',') ?? all;
const unknown = sources.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`resources: no such source in native/cuda: ${unknown.join(', ')}`);
  process.exit(2);
}
try {
  await run('nvcc', ['--version']);
} catch {
  console.error('resources: nvcc was not found');
  process.exit(2);
}
const rows = inOrder(await measure(sources, archs));
if (values.check) {
  const problems = compare(rows, table, archs);
  for (const problem of problems) console.error(problem);
  console.log(`${rows.length} kernels, ${problems.length} problems`);
  process.exitCode = problems.length > 0 ? 1 : 0;
} else {
  const others = values.files ? table.filter((row) => all.includes(row.file) && !sources.includes(row.file)) : [];
  writeCsv(TABLE, inOrder([...others, ...rows]));
  console.log(`${rows.length} kernels; wrote ${relative(process.cwd(), TABLE)}`);
}
