/** Puts the roofline's predictions (roofline.mjs) for the GPU of this machine beside what was measured. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cudaDevices } from '../../dist/index.js';
import { DEVICE } from '../device.mjs';
import { OURS } from '../format.mjs';
import { readCsv } from './csv.mjs';
import { GPUS } from './roofline.mjs';

const TABLE = join(dirname(fileURLToPath(import.meta.url)), '..', 'results', 'cuda-predictions.csv');
const IN_UNITS_OF = { 'TFLOP/s': 1000, '1000 calls/s': 1000, 'GB/s': 1, 'steps/s': 1 };

/** The GPU of GPUS that a model's name means: 'NVIDIA H100 80GB HBM3' is the 'H100 SXM'. */
const gpuOf = (model) => Object.keys(GPUS).find((name) => model.includes(name.replace(/ SXM$/, '')));

const plain = (name) =>
  name
    .replace(/, (tf32|bf16)$/, '')
    .replace('prefix, ', 'prefix ')
    .replace(' of ', ' ')
    .replace('SGD with momentum', 'sgd')
    .replace('Adam', 'adam');

/** Adds `predicted` to the detail of our entries that the table has, in the entry's unit. */
export function addPredictions(entries) {
  const model = cudaDevices().devices.find(({ name }) => name === DEVICE)?.model ?? '';
  const rows = (readCsv(TABLE) ?? []).filter(({ gpu }) => gpu === gpuOf(model));
  for (const entry of entries.filter(({ engine, value }) => engine === OURS && value !== null)) {
    const precision = /, (tf32|bf16)$/.exec(entry.case)?.[1] ?? 'f32';
    const row = rows.find((r) => r.suite === entry.suite && r.case === plain(entry.case) && r.precision === precision);
    if (row) entry.detail.predicted = Number(row.value) * IN_UNITS_OF[row.unit];
  }
}
