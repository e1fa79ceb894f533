/**
 * The op list and the parameter records, in the wire order of native/kernels/ops.h and params.h.
 * `checkOps` compares the names with what the addon reports when it is loaded: a missing or moved op is refused at start-up.
 */
export const OPS = [
  'fill',
  'arange',
  'copy',
  'gather',
  'scatterAdd',
  'indexSelect',
  'indexAdd',
  'oneHot',
  'unary',
  'binary',
  'where',
  'reduce',
  'argReduce',
  'matmul',
  'linear',
  'linearGradInput',
  'linearGradWeight',
  'conv2d',
  'conv2dGradInput',
  'conv2dGradWeight',
  'pool2d',
  'pool2dGrad',
  'softmax',
  'softmaxGrad',
  'crossEntropy',
  'crossEntropyGrad',
  'layerNorm',
  'layerNormGrad',
  'batchNorm',
  'batchNormGrad',
  'batchNormEval',
  'random',
  'permutation',
  'categorical',
  'sgdStep',
  'adamStep',
  'gradNorm',
  'clipGrads',
  'unitScore',
  'gateStats',
  'unitUtility',
  'gatherRows',
  'attention',
  'attentionGrad',
  'groupNorm',
  'groupNormGrad',
  'resizeBilinear',
  'resizeBilinearGrad',
  'augment',
] as const;
export type OpName = (typeof OPS)[number];

export const KINDS = {
  unary: [
    'neg',
    'abs',
    'sign',
    'exp',
    'expm1',
    'log',
    'log1p',
    'sqrt',
    'rsqrt',
    'square',
    'reciprocal',
    'sin',
    'cos',
    'tanh',
    'sigmoid',
    'softplus',
    'relu',
    'leakyRelu',
    'elu',
    'gelu',
    'silu',
    'erf',
    'floor',
    'ceil',
    'round',
    'clamp',
    'affine',
    'powScalar',
    'isNaN',
    'isFinite',
    'isInf',
    'logicalNot',
  ],
  binary: [
    'add',
    'sub',
    'mul',
    'div',
    'pow',
    'maximum',
    'minimum',
    'equal',
    'notEqual',
    'less',
    'lessEqual',
    'greater',
    'greaterEqual',
    'logicalAnd',
    'logicalOr',
    'logicalXor',
    'reluGrad',
    'tanhGrad',
    'sigmoidGrad',
    'geluGrad',
    'siluGrad',
  ],
  reduce: ['sum', 'mean', 'max', 'min', 'prod', 'any', 'all', 'variance'],
  arg: ['argmax', 'argmin'],
  activation: ['none', 'relu', 'tanh', 'sigmoid', 'gelu', 'silu'],
  pool: ['max', 'avg'],
  random: ['uniform', 'normal', 'bernoulli'],
  score: ['l1', 'l2', 'taylor-weight', 'taylor-abs-sum', 'taylor-sum-abs', 'l2-taylor'],
} as const;
export type UnaryKind = (typeof KINDS.unary)[number];
export type BinaryKind = (typeof KINDS.binary)[number];
export type ReduceKind = (typeof KINDS.reduce)[number];
export type ArgKind = (typeof KINDS.arg)[number];
export type ActivationKind = (typeof KINDS.activation)[number];
export type PoolKind = (typeof KINDS.pool)[number];
export type RandomKind = (typeof KINDS.random)[number];
export type ScoreKind = (typeof KINDS.score)[number];

/** Wire number of an op. */
export const OP_CODE = Object.fromEntries(OPS.map((name, i) => [name, i])) as Record<OpName, number>;

/** Wire number of a kind within its family. */
export const KIND_CODE = Object.fromEntries(
  Object.entries(KINDS).map(([family, names]) => [family, Object.fromEntries(names.map((name, i) => [name, i]))]),
) as { [F in keyof typeof KINDS]: Record<(typeof KINDS)[F][number], number> };

/** A sentence naming the first difference between this file and the addon, or undefined when they agree. */
export function checkOps(ops: readonly string[], kinds: Record<string, readonly string[]>): string | undefined {
  const compare = (what: string, ours: readonly string[], theirs: readonly string[] = []): string | undefined => {
    const at = ours.findIndex((name, i) => theirs[i] !== name);
    if (at >= 0) return `${what} ${at} is '${ours[at]}' here and '${theirs[at] ?? 'missing'}' in the addon`;
    return theirs.length > ours.length ? `the addon has a further ${what} '${theirs[ours.length]}'` : undefined;
  };
  return (
    compare('op', OPS, ops) ??
    Object.entries(KINDS)
      .map(([family, names]) => compare(`${family} kind`, names, kinds[family]))
      .find((problem) => problem !== undefined)
  );
}
