/**
 * gyrus doctor: what this machine has, what is missing and the command that brings it, and a short self-test.
 */
import { cpus, freemem, totalmem } from 'node:os';
import type { Command } from 'commander';
import { type DatasetInfo, listDatasets } from '../data/index.js';
import { addon, cudaDevices, type CudaDeviceInfo, defaultDevice, devices } from '../device/index.js';
import { matmul } from '../ops/index.js';
import { tensor, tidy } from '../tensor/index.js';
import { colorsFor, EXIT, writeJson } from './output.js';

/** What `gyrus doctor --json` writes. */
export interface Diagnosis {
  node: { version: string; abi: string; napi: string; platform: string; arch: string };
  addon: { loaded: boolean; error: string; compiler: string };
  isa: { used: string; forced: string; available: string[] };
  threads: number;
  cpu: { model: string; cores: number; features: string[] };
  memory: { totalBytes: number; freeBytes: number };
  devices: string[];
  defaultDevice: string;
  /** `status`: why there is none, or empty. */
  cuda: { devices: CudaDeviceInfo[]; status: string };
  datasets: DatasetInfo[];
  selfTest: { passed: boolean; detail: string };
}

/** An odd-sized product against the same sums in double precision. */
async function selfTest(): Promise<Diagnosis['selfTest']> {
  const [m, k, n] = [17, 33, 19];
  const a = Float32Array.from({ length: m * k }, (_, i) => Math.fround(Math.sin(i)));
  const b = Float32Array.from({ length: k * n }, (_, i) => Math.fround(Math.cos(i)));
  const product = tidy(() => matmul(tensor(a, { shape: [m, k] }), tensor(b, { shape: [k, n] })));
  const got = await product.data();
  product.dispose();
  let worst = 0;
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
      worst = Math.max(worst, Math.abs(got[i * n + j] - sum));
    }
  }
  const passed = worst < 1e-4;
  return { passed, detail: `matmul [${m},${k}] x [${k},${n}]: largest error ${worst.toExponential(1)}` };
}

/** Looks at everything; never throws. */
export async function diagnose(): Promise<Diagnosis> {
  const { versions, version, platform, arch } = process;
  const diagnosis: Diagnosis = {
    node: { version, abi: versions.modules, napi: versions.napi ?? '', platform, arch },
    addon: { loaded: false, error: '', compiler: '' },
    isa: { used: '', forced: process.env.GYRUS_ISA ?? '', available: [] },
    threads: 0,
    cpu: { model: cpus()[0]?.model ?? 'unknown', cores: cpus().length, features: [] },
    memory: { totalBytes: totalmem(), freeBytes: freemem() },
    devices: [],
    defaultDevice: defaultDevice(),
    cuda: { devices: [], status: 'not known: the native addon could not be loaded' },
    datasets: listDatasets(),
    selfTest: { passed: false, detail: 'not run: the native addon could not be loaded' },
  };
  try {
    const native = addon();
    diagnosis.addon = { loaded: true, error: '', compiler: native.compiler };
    diagnosis.isa = { used: native.isa, forced: native.forcedIsa, available: native.isas };
    diagnosis.threads = native.threads();
    diagnosis.cpu = {
      model: native.cpu.brand || diagnosis.cpu.model,
      cores: native.cpu.cores,
      features: native.cpu.features,
    };
    diagnosis.cuda = cudaDevices();
    diagnosis.devices = devices();
  } catch (error) {
    diagnosis.addon.error = (error as Error).message;
    return diagnosis;
  }
  try {
    diagnosis.selfTest = await selfTest();
  } catch (error) {
    diagnosis.selfTest = { passed: false, detail: (error as Error).message };
  }
  return diagnosis;
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function print(d: Diagnosis): string {
  const color = colorsFor(process.stdout);
  const good = color.green('ok');
  const bad = color.red('missing');
  const line = (name: string, text: string): string => `${color.bold(name.padEnd(14))}${text}`;
  const forced = d.isa.forced === '' ? 'not forced' : `forced by GYRUS_ISA=${d.isa.forced}`;
  const width = Math.max(...d.datasets.map(({ name }) => name.length));
  return [
    line('Node.js', `${d.node.version}, ABI ${d.node.abi}, Node-API ${d.node.napi}, ${d.node.platform} ${d.node.arch}`),
    line('Addon', d.addon.loaded ? `${good}, built by ${d.addon.compiler}` : `${bad}: ${d.addon.error}`),
    ...(d.addon.loaded
      ? [line('Instructions', `${d.isa.used} (${forced}; available: ${d.isa.available.join(', ')})`)]
      : []),
    ...(d.addon.loaded ? [line('Threads', `${d.threads} (GYRUS_THREADS sets it)`)] : []),
    line(
      'Processor',
      `${d.cpu.model}, ${d.cpu.cores} cores${d.cpu.features.length > 0 ? `, ${d.cpu.features.join(' ')}` : ''}`,
    ),
    line('Memory', `${gib(d.memory.totalBytes)}, ${gib(d.memory.freeBytes)} free`),
    line('Devices', `${d.devices.join(', ') || 'none'}; default: ${d.defaultDevice} (GYRUS_DEVICE sets it)`),
    ...(d.cuda.status === '' ? [] : [line('CUDA', `absent: ${d.cuda.status}`)]),
    ...d.cuda.devices.map(({ name, model, memory, capability, multiprocessors }) =>
      line(name, `${model}, ${gib(memory)}, compute capability ${capability}, ${multiprocessors} multiprocessors`),
    ),
    ...d.datasets.map(({ name, found, source, command }, i) =>
      line(
        i === 0 ? 'Data' : '',
        `${name.padEnd(width)}  ${found ? `${good}, ${source}` : `${bad}; bring it with: ${command}`}`,
      ),
    ),
    line('Self-test', `${d.selfTest.passed ? color.green('passed') : color.red('failed')}, ${d.selfTest.detail}`),
  ].join('\n');
}

const HELP = `
Exit code 0 when the addon works and at least one data set is there, 1 otherwise.

Examples:
  gyrus doctor
  gyrus doctor --json
  GYRUS_ISA=scalar gyrus doctor
`;

/** Adds `gyrus doctor`. */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('say what this machine has and what is missing')
    .option('--json', 'as JSON on stdout')
    .addHelpText('after', HELP)
    .action(async ({ json }: { json?: boolean }) => {
      const diagnosis = await diagnose();
      if (json) await writeJson('-', diagnosis);
      else process.stdout.write(`${print(diagnosis)}\n`);
      const healthy = diagnosis.selfTest.passed && diagnosis.datasets.some(({ found }) => found);
      if (!healthy) process.exitCode = EXIT.failure;
    });
}
