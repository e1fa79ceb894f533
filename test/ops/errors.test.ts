/**
 * Typed errors of every family: the class, and a message that names the op, what was expected and what came.
 */
import { expect, test } from 'vitest';
import '../../src/autograd/index.js';
import { AutogradError, ConfigError, DTypeError, GyrusError, ShapeError } from '../../src/device/index.js';
import * as ops from '../../src/ops/index.js';
import { tensor, type Tensor, tidy } from '../../src/tensor/index.js';

const z = (...shape: number[]): Tensor => ops.zeros(shape);
const i = (...data: number[]): Tensor => tensor(Int32Array.from(data));

const cases: [string, () => unknown, new (message: string) => Error, RegExp | string][] = [
  [
    'matmul shapes',
    () => ops.matmul(z(128, 784), z(512, 784)),
    ShapeError,
    'matmul: inner dimensions differ: [128,784] x [512,784]',
  ],
  ['matmul dtype', () => ops.matmul(i(1), i(1)), DTypeError, 'matmul: expected dtype f32 or f64, got i32'],
  [
    'matmul batch',
    () => ops.matmul(z(2, 3, 4), z(3, 4, 5)),
    ShapeError,
    /matmul: shapes can't be broadcast together: \[2\] and \[3\]/,
  ],
  ['add shapes', () => ops.add(z(2, 3), z(4)), ShapeError, "add: shapes can't be broadcast together: [2,3] and [4]"],
  [
    'add dtypes',
    () => ops.add(z(2), ops.zeros([2], { dtype: 'f64' })),
    DTypeError,
    'add: expected operands of one dtype, got f32 and f64',
  ],
  ['add bool', () => ops.add(tensor([true]), tensor([true])), DTypeError, /add: expected dtype/],
  [
    'add a fraction to i32',
    () => ops.add(i(1), 0.5),
    DTypeError,
    'add: expected a whole number for dtype i32, got 0.5',
  ],
  ['add a string', () => ops.add(z(1), 'x' as unknown as number), ConfigError, 'add: expected a tensor, got string'],
  ['add nothing', () => ops.add(1, 2), ConfigError, /add: expected at least one tensor/],
  ['exp of i32', () => ops.exp(i(1)), DTypeError, 'exp: expected dtype f32 or f64, got i32'],
  ['exp of an array', () => ops.exp([1] as unknown as Tensor), ConfigError, 'exp: expected a tensor, got an array'],
  ['clamp', () => ops.clamp(z(1), 2, 1), ConfigError, 'clamp: expected lo <= hi, got 2 and 1'],
  ['leakyRelu', () => ops.leakyRelu(z(1), -1), ConfigError, /slope >= 0, got -1/],
  ['where', () => ops.where(z(1), z(1), z(1)), DTypeError, 'where: expected dtype bool, got f32'],
  ['sum axis', () => ops.sum(z(2, 3), 2), ShapeError, 'sum: expected an axis in -2..1, got 2'],
  ['sum axes', () => ops.sum(z(2, 3), [0, -2]), ShapeError, /sum: expected distinct axes/],
  [
    'max of nothing',
    () => ops.max(z(2, 0), 1),
    ShapeError,
    'max: expected at least one element to reduce, got shape [2,0]',
  ],
  ['argmax of nothing', () => ops.argmax(z(0)), ShapeError, /argmax: expected at least one element/],
  ['any', () => ops.any(z(2)), DTypeError, 'any: expected dtype bool, got f32'],
  [
    'reshape',
    () => ops.reshape(z(2, 3), [4, 2]),
    ShapeError,
    'reshape: expected a shape of 6 elements as [2,3] has, got [4,2]',
  ],
  ['reshape -1', () => ops.reshape(z(2, 3), [4, -1]), ShapeError, /reshape: expected \[4,-1\] to fit the 6 elements/],
  [
    'transpose',
    () => ops.transpose(z(2, 3), [0, 0]),
    ShapeError,
    'transpose: expected each of the 2 axes once, got [0,0]',
  ],
  [
    'expand',
    () => ops.expand(z(2, 3), [2, 4]),
    ShapeError,
    /expand: expected a shape that \[2,3\] can be stretched to/,
  ],
  ['slice', () => ops.slice(z(4), [1], [6]), ShapeError, 'slice: expected bounds within shape [4], got [1]..[6]'],
  ['narrow', () => ops.narrow(z(4), 0, 3, 2), ShapeError, 'narrow: expected a range within 0..4, got 3..5'],
  ['squeeze', () => ops.squeeze(z(2), 0), ShapeError, /squeeze: expected extent 1/],
  ['split', () => ops.split(z(5), 2), ShapeError, 'split: expected a number of parts that divides 5, got 2'],
  ['pad', () => ops.pad(z(2), [[1, -1]]), ShapeError, 'pad: expected 1 pairs of whole numbers >= 0, got [[1,-1]]'],
  [
    'concat',
    () => ops.concat([z(2, 3), z(2, 4)], 0),
    ShapeError,
    'concat: shapes differ beside axis 0: [2,3] and [2,4]',
  ],
  ['concat dtypes', () => ops.concat([z(2), i(1)]), DTypeError, 'concat: expected one dtype, got f32 and i32'],
  ['stack', () => ops.stack([]), ConfigError, /stack: expected a list/],
  ['rank', () => ops.zeros([1, 1, 1, 1, 1, 1, 1, 1, 1]), ShapeError, /at most 8 axes/],
  ['gather', () => ops.gather(z(2, 3), 0, tensor([[0]])), DTypeError, 'gather: expected dtype i32, got f32'],
  [
    'gather shape',
    () => ops.gather(z(2, 3), 0, i(0)),
    ShapeError,
    /gather: expected an index that agrees with \[2,3\] except along axis 0, got \[1\]/,
  ],
  [
    'indexAdd',
    () => ops.indexAdd(z(2, 3), i(0), z(2, 3)),
    ShapeError,
    'indexAdd: expected a source of shape [1,3], got [2,3]',
  ],
  ['oneHot', () => ops.oneHot(i(0), -1), ConfigError, 'oneHot: expected a whole depth >= 0, got -1'],
  [
    'linear',
    () => ops.linear(z(2, 3), z(4, 5)),
    ShapeError,
    'linear: expected x [...,K] and weights [N,K], got [2,3] and [4,5]',
  ],
  [
    'linear bias',
    () => ops.linear(z(2, 3), z(4, 3), z(3)),
    ShapeError,
    'linear: expected a bias of shape [4], got [3]',
  ],
  [
    'linear activation',
    () => ops.linear(z(2, 3), z(4, 3), null, { activation: 'x' as 'relu' }),
    ConfigError,
    /activation none, relu/,
  ],
  [
    'linear outputs',
    () => ops.linear(z(2, 3), z(4, 3), null, { outputs: i(0, 1, 2, 3, 3) }),
    ShapeError,
    'linear: expected outputs to be a list of at most 4 indices, got [5]',
  ],
  [
    'linear inputs',
    () => ops.linear(z(2, 3), z(4, 3), null, { inputs: z(3) }),
    DTypeError,
    'linear: expected dtype i32, got f32',
  ],
  [
    'linear listed columns',
    () => ops.linear(z(2, 3), z(4, 3), null, { inputs: i(0, 1) }),
    ShapeError,
    /of which 2 columns are listed/,
  ],
  [
    'linear list out of order',
    () => ops.linear(z(2, 3), z(4, 3), null, { outputs: i(1, 1) }).dataSync(),
    ShapeError,
    'linear: outputs: expected strictly ascending indices, got one that is not at 1',
  ],
  [
    'linear residual',
    () => ops.linear(z(2, 3), z(4, 3), null, { residual: z(2, 3) }),
    ShapeError,
    'linear: expected a residual of shape [2,4], got [2,3]',
  ],
  ['softmax', () => ops.softmax(z()), ShapeError, 'softmax: expected at least one axis, got []'],
  [
    'crossEntropy labels',
    () => ops.crossEntropy(z(2, 3), z(2)),
    DTypeError,
    'crossEntropy: expected labels of dtype i32, got f32',
  ],
  [
    'crossEntropy shapes',
    () => ops.crossEntropy(z(2, 3), i(0)),
    ShapeError,
    'crossEntropy: expected logits [...,C] and labels [...], got [2,3] and [1]',
  ],
  [
    'crossEntropy weights',
    () => ops.crossEntropy(z(2, 3), i(0, 1), { classWeights: z(2) }),
    ShapeError,
    /classWeights of shape \[3\]/,
  ],
  [
    'crossEntropy grads',
    () => ops.crossEntropy(z(2, 3), i(0, 1), { offsets: ops.zeros([3], { requiresGrad: true }) }),
    AutogradError,
    /offsets that need no gradient/,
  ],
  [
    'crossEntropy smoothing',
    () => ops.crossEntropy(z(2, 3), i(0, 1), { labelSmoothing: 2 }),
    ConfigError,
    /labelSmoothing in 0..1, got 2/,
  ],
  ['layerNorm', () => ops.layerNorm(z(2, 3), z(2)), ShapeError, 'layerNorm: expected gamma of shape [3], got [2]'],
  [
    'batchNorm',
    () => ops.batchNorm(z(1, 3), z(3), z(3), z(3), z(3), { training: true }),
    ShapeError,
    /batchNorm: expected at least two rows in training, got shape \[1,3\]/,
  ],
  [
    'batchNorm residual',
    () => ops.batchNorm(z(2, 3), z(3), z(3), z(3), z(3), { training: true, residual: z(3, 2) }),
    ShapeError,
    'batchNorm: expected residual of shape [2,3], got [3,2]',
  ],
  [
    'full',
    () => ops.full([2], 0.5, { dtype: 'i32' }),
    DTypeError,
    'full: expected a whole number for dtype i32, got 0.5',
  ],
  [
    'full dtype',
    () => ops.full([2], 1, { dtype: 'f16' as 'f32' }),
    ConfigError,
    /full: expected dtype f32, f64, i32, u8, bool, got f16/,
  ],
  ['full shape', () => ops.full([2.5], 1), ShapeError, /whole numbers >= 0, got \[2.5\]/],
  ['arange', () => ops.arange(0, 5, 0), ConfigError, /arange: expected finite bounds and a step other than 0/],
  ['cast', () => ops.cast(z(1), 'x' as 'f32'), ConfigError, /cast: expected dtype/],
];

test.each(cases)('%s', (_, run, Class, message) => {
  tidy(() => {
    let thrown: unknown;
    try {
      run();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(Class);
    expect(thrown).toBeInstanceOf(GyrusError);
    if (typeof message === 'string') expect((thrown as Error).message).toBe(message);
    else expect((thrown as Error).message).toMatch(message);
  });
});

test('values out of range are thrown where something is next read, once', () => {
  tidy(() => {
    const bad: [() => Tensor, RegExp][] = [
      [() => ops.crossEntropy(z(2, 3), i(0, 3)), /crossEntropy/],
      [() => ops.gather(z(2, 3), 0, tensor([[2, 0, 0]], { dtype: 'i32' })), /gather/],
      [() => ops.indexSelect(z(2, 3), i(-2)), /indexSelect/],
      [() => ops.indexAdd(z(2, 3), i(2), z(1, 3)), /indexAdd/],
      [() => ops.scatterAdd(z(2, 3), 0, tensor([[-1, 0, 0]], { dtype: 'i32' }), z(1, 3)), /scatterAdd/],
      [() => ops.oneHot(i(4), 4), /oneHot/],
    ];
    for (const [run, name] of bad) {
      const out = run();
      expect(() => out.dataSync()).toThrow(GyrusError);
      const again = run();
      expect(() => again.dataSync()).toThrow(name);
      expect(ops.add(z(1), 1).itemSync()).toBe(1);
    }
  });
});

test('creation', () => {
  tidy(() => {
    expect([...ops.arange(5).dataSync()]).toEqual([0, 1, 2, 3, 4]);
    expect([...ops.arange(5, 0, -2, { dtype: 'i32' }).dataSync()]).toEqual([5, 3, 1]);
    expect([...ops.linspace(0, 1, 5).dataSync()]).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect([...ops.eye(2, 3).dataSync()]).toEqual([1, 0, 0, 0, 1, 0]);
    expect(ops.full([2], true).dtype).toBe('bool');
    expect([...ops.onesLike(i(4, 5)).dataSync()]).toEqual([1, 1]);
    expect(ops.zeros([], { requiresGrad: true }).requiresGrad).toBe(true);
    expect(() => ops.zeros([1], { dtype: 'i32', requiresGrad: true })).toThrow(DTypeError);
  });
});

test('ops are methods of tensors', () => {
  tidy(() => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect([...x.add(1).mul(x).dataSync()]).toEqual([2, 6, 12, 20]);
    expect(x.sum(0, { keepDims: true }).shape).toEqual([1, 2]);
    expect([...x.indexSelect(i(-1), 1, { fill: 9 }).dataSync()]).toEqual([9, 9]);
    expect(x.transpose().contiguous).toBe(false);
    expect(x.transpose().asContiguous().contiguous).toBe(true);
    expect(Object.keys(x)).not.toContain('add');
  });
});
