// The list of ops every device implements, and the kinds within a family. Order is the wire number; the addon
// exports the names and src/device/ops.ts checks them at load, so the two sides can't drift apart.
#pragma once

// clang-format off
// X(Enum, "name")
#define GYRUS_OPS(X)                                                                                   \
  /* movement */                                                                                       \
  X(Fill, "fill") X(Arange, "arange") X(Copy, "copy") X(Gather, "gather") X(ScatterAdd, "scatterAdd")   \
  X(IndexSelect, "indexSelect") X(IndexAdd, "indexAdd") X(OneHot, "oneHot")                             \
  /* elementwise */                                                                                    \
  X(Unary, "unary") X(Binary, "binary") X(Where, "where")                                              \
  /* reductions */                                                                                     \
  X(Reduce, "reduce") X(ArgReduce, "argReduce")                                                        \
  /* linear algebra */                                                                                 \
  X(Matmul, "matmul") X(Linear, "linear") X(LinearGradInput, "linearGradInput")                        \
  X(LinearGradWeight, "linearGradWeight")                                                              \
  /* convolution and pooling */                                                                        \
  X(Conv2d, "conv2d") X(Conv2dGradInput, "conv2dGradInput") X(Conv2dGradWeight, "conv2dGradWeight")     \
  X(Pool2d, "pool2d") X(Pool2dGrad, "pool2dGrad")                                                      \
  /* softmax and losses */                                                                             \
  X(Softmax, "softmax") X(SoftmaxGrad, "softmaxGrad") X(CrossEntropy, "crossEntropy")                  \
  X(CrossEntropyGrad, "crossEntropyGrad")                                                              \
  /* norms */                                                                                          \
  X(LayerNorm, "layerNorm") X(LayerNormGrad, "layerNormGrad") X(BatchNorm, "batchNorm")                \
  X(BatchNormGrad, "batchNormGrad") X(BatchNormEval, "batchNormEval")                                  \
  /* random */                                                                                         \
  X(Random, "random") X(Permutation, "permutation") X(Categorical, "categorical")                      \
  /* optimisers */                                                                                     \
  X(SgdStep, "sgdStep") X(AdamStep, "adamStep") X(GradNorm, "gradNorm") X(ClipGrads, "clipGrads")       \
  /* neurons */                                                                                        \
  X(UnitScore, "unitScore") X(GateStats, "gateStats") X(UnitUtility, "unitUtility")                    \
  /* data */                                                                                           \
  X(GatherRows, "gatherRows")                                                                          \
  /* attention and vision */                                                                           \
  X(Attention, "attention") X(AttentionGrad, "attentionGrad") X(GroupNorm, "groupNorm")                 \
  X(GroupNormGrad, "groupNormGrad") X(ResizeBilinear, "resizeBilinear")                                 \
  X(ResizeBilinearGrad, "resizeBilinearGrad") X(Augment, "augment")

#define GYRUS_UNARY_KINDS(X)                                                                           \
  X(Neg, "neg") X(Abs, "abs") X(Sign, "sign") X(Exp, "exp") X(Expm1, "expm1") X(Log, "log")             \
  X(Log1p, "log1p") X(Sqrt, "sqrt") X(Rsqrt, "rsqrt") X(Square, "square") X(Reciprocal, "reciprocal")   \
  X(Sin, "sin") X(Cos, "cos") X(Tanh, "tanh") X(Sigmoid, "sigmoid") X(Softplus, "softplus")             \
  X(Relu, "relu") X(LeakyRelu, "leakyRelu") X(Elu, "elu") X(Gelu, "gelu") X(Silu, "silu") X(Erf, "erf") \
  X(Floor, "floor") X(Ceil, "ceil") X(Round, "round") X(Clamp, "clamp") X(Affine, "affine")             \
  X(PowScalar, "powScalar") X(IsNaN, "isNaN") X(IsFinite, "isFinite") X(IsInf, "isInf")                 \
  X(LogicalNot, "logicalNot")

#define GYRUS_BINARY_KINDS(X)                                                                          \
  X(Add, "add") X(Sub, "sub") X(Mul, "mul") X(Div, "div") X(Pow, "pow") X(Maximum, "maximum")           \
  X(Minimum, "minimum") X(Equal, "equal") X(NotEqual, "notEqual") X(Less, "less")                       \
  X(LessEqual, "lessEqual") X(Greater, "greater") X(GreaterEqual, "greaterEqual")                       \
  X(LogicalAnd, "logicalAnd") X(LogicalOr, "logicalOr") X(LogicalXor, "logicalXor")                     \
  X(ReluGrad, "reluGrad") X(TanhGrad, "tanhGrad") X(SigmoidGrad, "sigmoidGrad") X(GeluGrad, "geluGrad") \
  X(SiluGrad, "siluGrad")

#define GYRUS_REDUCE_KINDS(X)                                                                          \
  X(Sum, "sum") X(Mean, "mean") X(Max, "max") X(Min, "min") X(Prod, "prod") X(Any, "any") X(All, "all") \
  X(Variance, "variance")

#define GYRUS_ARG_KINDS(X) X(ArgMax, "argmax") X(ArgMin, "argmin")

#define GYRUS_ACTIVATION_KINDS(X)                                                                      \
  X(None, "none") X(Relu, "relu") X(Tanh, "tanh") X(Sigmoid, "sigmoid") X(Gelu, "gelu") X(Silu, "silu")

#define GYRUS_POOL_KINDS(X) X(Max, "max") X(Avg, "avg")

#define GYRUS_RANDOM_KINDS(X) X(Uniform, "uniform") X(Normal, "normal") X(Bernoulli, "bernoulli")

#define GYRUS_SCORE_KINDS(X)                                                                           \
  X(L1, "l1") X(L2, "l2") X(TaylorWeight, "taylor-weight") X(TaylorAbsSum, "taylor-abs-sum")            \
  X(TaylorSumAbs, "taylor-sum-abs") X(L2Taylor, "l2-taylor")
// clang-format on

namespace gyrus {

#define GYRUS_ENUM_ENTRY(id, name) id,
#define GYRUS_NAME_ENTRY(id, name) name,
#define GYRUS_DECLARE_ENUM(Type, LIST)                                      \
  enum class Type : int { LIST(GYRUS_ENUM_ENTRY) Count };                   \
  inline constexpr const char* k##Type##Names[] = {LIST(GYRUS_NAME_ENTRY)}; \
  constexpr int k##Type##Count = static_cast<int>(Type::Count);             \
  constexpr const char* nameOf(Type v) { return k##Type##Names[static_cast<int>(v)]; }

GYRUS_DECLARE_ENUM(Op, GYRUS_OPS)
GYRUS_DECLARE_ENUM(UnaryKind, GYRUS_UNARY_KINDS)
GYRUS_DECLARE_ENUM(BinaryKind, GYRUS_BINARY_KINDS)
GYRUS_DECLARE_ENUM(ReduceKind, GYRUS_REDUCE_KINDS)
GYRUS_DECLARE_ENUM(ArgKind, GYRUS_ARG_KINDS)
GYRUS_DECLARE_ENUM(ActivationKind, GYRUS_ACTIVATION_KINDS)
GYRUS_DECLARE_ENUM(PoolKind, GYRUS_POOL_KINDS)
GYRUS_DECLARE_ENUM(RandomKind, GYRUS_RANDOM_KINDS)
GYRUS_DECLARE_ENUM(ScoreKind, GYRUS_SCORE_KINDS)

}  // namespace gyrus
