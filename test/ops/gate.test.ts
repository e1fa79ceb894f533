/**
 * Gates: the sums of importance that backward collects, by the epilogue of linear and by the op of its own.
 */
import { expect, test } from 'vitest';
import { gradients } from '../../src/autograd/index.js';
import { DTypeError, ShapeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const rows = 5;
const units = 7;
const classes = 3;
const labelList = [0, 2, 1, 2, 0];

function setUp(): { a: Tensor; w: Tensor; gate: ops.Gate } {
  const generator = new ops.Generator(9);
  const a = ops.relu(ops.normal([rows, units], { generator }));
  a.requiresGrad = true;
  const w = ops.normal([4, units], { generator, requiresGrad: true });
  generator.dispose();
  const gate = {
    active: true,
    labels: tensor(Int32Array.from(labelList)),
    stats: ops.zeros([classes + 4, units]),
    scale: rows,
  };
  return { a, w, gate };
}

function expected(a: Tensor, g: Tensor): number[] {
  const [x, d] = [a.dataSync(), g.dataSync()];
  const out = new Array<number>((classes + 4) * units).fill(0);
  for (let m = 0; m < rows; m++) {
    for (let k = 0; k < units; k++) {
      const value = x[m * units + k];
      out[labelList[m] * units + k] += Math.abs(value * d[m * units + k] * rows);
      out[classes * units + k] += Math.abs(value);
      out[(classes + 1) * units + k] += value;
      out[(classes + 2) * units + k] += +(value === 0);
      out[(classes + 3) * units + k] += (value * d[m * units + k] * rows) ** 2;
    }
  }
  return out;
}

function check(gate: ops.Gate, want: number[]): void {
  const got = (gate.stats as Tensor).dataSync();
  want.forEach((value, i) => expect(got[i], `stats ${i}`).toBeCloseTo(value, 4));
}

test('the epilogue of linear and the op collect the same', () => {
  tidy(() => {
    for (const fused of [true, false]) {
      const { a, w, gate } = setUp();
      const y = fused ? ops.linear(a, w, undefined, { gate }) : ops.linear(ops.gate(a, gate), w);
      const [g] = gradients(ops.mean(ops.square(y)), [a]) as Tensor[];
      check(gate, expected(a, g));
    }
  });
});

test('it adds up over steps, and rests when inactive or without labels', () => {
  tidy(() => {
    const { a, w, gate } = setUp();
    const step = (): Tensor => (gradients(ops.sum(ops.linear(a, w, undefined, { gate })), [a]) as Tensor[])[0];
    gate.active = false;
    step();
    const { labels } = gate;
    gate.active = true;
    gate.labels = undefined;
    step();
    check(gate, new Array<number>((classes + 4) * units).fill(0));
    gate.labels = labels;
    const g = step();
    step();
    check(
      gate,
      expected(a, g).map((value) => 2 * value),
    );
  });
});

test('labels and sums that do not fit are refused', () => {
  tidy(() => {
    const { a, w, gate } = setUp();
    const run = (): unknown => gradients(ops.sum(ops.linear(a, w, undefined, { gate })), [a]);
    gate.labels = tensor(Int32Array.of(1));
    expect(run).toThrow(ShapeError);
    gate.labels = tensor([0, 1, 2, 0, 1]);
    expect(run).toThrow(DTypeError);
    gate.labels = tensor(Int32Array.from(labelList));
    gate.stats = ops.zeros([classes + 4, units + 1]);
    expect(run).toThrow(ShapeError);
  });
});
