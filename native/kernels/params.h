// The argument contract of every op: order of outputs and inputs, shapes, and the parameter record.
// A record is a struct of doubles only; it lies over the numbers TypeScript wrote, in the same order as the
// fields of OpParams in src/device/ops.ts. "inout" marks an output that is also read.
// T: f32 or f64, the same for all floating arguments of one call unless said otherwise. `any` is every dtype.
#pragma once

namespace gyrus {

// ---- movement ------------------------------------------------------------------------------------------
// out y any <- ;  y[...] = value (bool: value != 0)
struct FillParams {
  double value;
};
// out y (T|i32) [n] <- ;  y[i] = start + i*step
struct ArangeParams {
  double start, step;
};
// out y any <- in x any, same shape;  casts when the dtypes differ (float -> int truncates and saturates,
// NaN -> 0; to bool: x != 0). Either side may be strided; y never has a stride of 0 with shape > 1.
struct CopyParams {};
// out y any <- in x (dtype of y), index i32 (shape of y);  y[i..k..] = x[i..index[i..k..]..] along axis.
// Shapes agree except along axis. An index out of range is a sticky error (negative indices are refused).
struct GatherParams {
  double axis;
};
// inout y T|i32 <- in index i32, source (dtype of y, shape of index);  y[..index..] += source, in index order.
struct ScatterAddParams {
  double axis;
};
// out y any <- in x (dtype of y), index i32 [k];  y = slices of x along axis. index -1 gives the fill value.
struct IndexSelectParams {
  double axis, fill;
};
// inout y T|i32 <- in index i32 [k], source (dtype of y);  y[index[j]] += source[j] along axis; -1 is skipped.
struct IndexAddParams {
  double axis;
};
// out y any [..., depth] <- in index i32 [...];  on where the index points, off elsewhere. Out of range: sticky error.
struct OneHotParams {
  double on, off;
};

// ---- elementwise (broadcasting is done by stride 0: all views have the shape of y) -----------------------
// out y <- in x. Kinds: ops.h. y has x's dtype, except isNaN/isFinite/isInf/logicalNot: y is bool.
// i32 takes neg abs sign square relu clamp affine; bool takes logicalNot; the rest is T only.
// leakyRelu, elu: alpha. clamp: [alpha, beta]. affine: alpha*x + beta. powScalar: x^alpha. round: half to even.
// NaN passes through relu, clamp, sign, max and min.
struct UnaryParams {
  double kind, alpha, beta;
};
// out y <- in a, b (same dtype). Comparisons: any -> bool. logical*: bool -> bool. Arithmetic: T, i32 (no div, pow;
// i32 wraps). maximum/minimum hand NaN on. reluGrad(g, y) = y > 0 ? g : 0; tanhGrad(g, y) = g(1 - y^2);
// sigmoidGrad(g, y) = g y (1 - y); geluGrad(g, x) and siluGrad(g, x) take the input. T only.
struct BinaryParams {
  double kind;
};
// out y any <- in c bool, a, b (dtype of y);  y = c ? a : b
struct WhereParams {};

// ---- reductions ----------------------------------------------------------------------------------------
// out y [kept...] contiguous <- in x [kept..., reduced...] (any strides: TypeScript permutes the view).
// `axes` trailing axes of x are reduced. sum/max/min/prod: T, i32. mean/variance: T (variance: two passes or Welford,
// divisor n - correction). any/all: bool. Empty: sum 0, prod 1, mean NaN, any false, all true; max/min are refused
// by the check. max/min hand NaN on. The order of summation is fixed, pairwise or blocked, and doesn't depend
// on the thread count.
struct ReduceParams {
  double kind, axes, correction;
};
// out y i32 [kept...] <- in x (T|i32) [kept..., n], n > 0;  the first extreme wins; NaN counts as the extreme.
struct ArgReduceParams {
  double kind;
};

// ---- linear algebra ------------------------------------------------------------------------------------
// out c T [batch..., M, N] contiguous <- in a [batch..., M, K], b [batch..., K, N]; equal ranks 2..8, batch axes equal
// (stride 0 broadcasts). Any strides: a transpose costs nothing. K = 0 gives zeros.
struct MatmulParams {};
// Which neurons of an axis are active, in the flags `outputs` and `inputs`: all; those of a list, i32, strictly
// ascending, in which an index out of range or out of order is a sticky error; or the first ones, as many as a count
// i32 [1] says when the call runs, held to 0..extent.
enum class Neurons { All, Listed, Counted };
constexpr Neurons neuronsOf(double flag) { return static_cast<Neurons>(static_cast<int>(flag)); }
// The three ops of a dense layer: `outputs` [n] of the N rows of w, `inputs` [k] of its K columns. Activations hold the
// listed neurons only; without a list n = N, k = K. Where neurons are counted, activations and sums hold all of them:
// those beyond the count are not read, and written as 0, residual or not.
//
// out y T [M, n] contiguous <- in x [M, k], w [N, K], then as flagged bias [N], residual [M, n], outputs,
// inputs;
//   y = act(x w^T + bias) + residual
struct LinearParams {
  double bias, activation, residual, outputs, inputs;
};
// out dx T [M, k] contiguous (+ inout stats f32 [C + 4, k] when score != 0) <- in g [M, n], w [N, K], then as flagged
// a [M, k] and labels i32 [M] when score != 0, outputs, inputs;  dx = g w. The score epilogue adds, for c = labels[m]:
//   stats[c][k] += |a*dx|;  stats[C][k] += |a|;  stats[C+1][k] += a;  stats[C+2][k] += (a == 0);
//   stats[C+3][k] += (a*dx)^2
// `scale` multiplies dx in both scores (the batch size undoes the mean of the loss). Fixed order over m. Stats of
// inputs beyond their count stay as they are.
struct LinearGradInputParams {
  double score, scale, outputs, inputs;
};
// out dw T [N, K] contiguous (+ db [N] when bias != 0) <- in g [M, n], x [M, k], then as flagged outputs, inputs;
//   dw = g^T x, db = column sums of g; zero where nothing is active
struct LinearGradWeightParams {
  double bias, outputs, inputs;
};

// ---- convolution and pooling (NHWC) ----------------------------------------------------------------------
// How a window slides: output position (oh, ow) and tap (kh, kw) meet input position (oh*strideH - padTop +
// kh*dilationH, ow*strideW - padLeft + kw*dilationW); outside of the input there are zeros. The output's extents are
// its shape's, so padding below and on the right is whatever they ask for. Channels of x and of y fall into `groups`
// equal parts; a part of y sees the part of x of the same number. outputs, inputs: as in a dense layer, rows and
// channels of w. Lists i32 [F] and [C / groups] say which of them the channels of y and x are (and which entries of
// bias, scale and shift, which then have w's extent); without them F and C / groups are w's. Counts want groups = 1.
struct Conv2dShapeParams {
  double strideH, strideW, padTop, padLeft, dilationH, dilationW, groups, outputs, inputs;
};
// out y T [N, OH, OW, F] contiguous <- in x [N, H, W, C], w [F, KH, KW, C/groups], then, in this order and as flagged:
// outputs, inputs, bias [F], scale [F] and shift [F] (affine != 0), residual (shape of y)
//   y = act((conv(x, w) + bias) * scale + shift + residual), act none or relu
struct Conv2dParams {
  Conv2dShapeParams shape;
  double bias, affine, residual, activation;
};
// out dx T [N, H, W, C] contiguous (+ inout stats f32 [classes + 4, C] when score != 0) <- in g [N, OH, OW, F],
// w, (lists), (a [N, H, W, C], labels i32 [N] when score != 0). The score epilogue is gateStats with H*W positions.
struct Conv2dGradInputParams {
  Conv2dShapeParams shape;
  double score, scale;
};
// out dw T [F, KH, KW, C/groups] contiguous (+ db [F] when bias != 0) <- in g [N, OH, OW, F], x [N, H, W, C], (lists)
// With lists dw and db have the extents of the whole weight, and entries that aren't active become 0.
struct Conv2dGradWeightParams {
  Conv2dShapeParams shape;
  double bias;
};
// out y T [N, OH, OW, C] contiguous <- in x [N, H, W, C] (, values [N, H, W, C] when pick != 0); windows as above,
// without dilation. max: the largest element of the window that lies inside (NaN counts as the largest); a window with
// none gives -infinity. pick (max only): not the largest itself but `values` where the first of the largest is (none:
// 0). avg: the sum over kernelH*kernelW when countPad != 0, else over the elements inside (none: 0).
struct Pool2dParams {
  double kind, kernelH, kernelW, strideH, strideW, padTop, padLeft, countPad, pick;
};
// out dx T [N, H, W, C] contiguous <- in g [N, OH, OW, C], x (max only: the gradient goes to the first of the largest).
// pick is 0.
using Pool2dGradParams = Pool2dParams;

// ---- softmax and losses (over the last axis; rows R = product of the others) ----------------------------
// out y T <- in x;  softmax, or its logarithm when log != 0
struct SoftmaxParams {
  double log;
};
// out dx T <- in g, y (y as Softmax returned it)
struct SoftmaxGradParams {
  double log;
};
// out loss T [R] (+ dlogits [R, C] = dloss/dlogits, as a second output) <- in logits [R, C], labels i32 [R], then, in
// this order and as flagged: weights [C], offsets [C] (added to the logits), margins [C] (off the label's logit).
//   z = logits + offsets - margins[y] at y;  loss = w[y] * (-(1-s) log p_y - s/C * sum_c log p_c), s = smoothing
// A label outside 0..C-1 is a sticky error.
struct CrossEntropyParams {
  double weights, offsets, margins, smoothing;
};
// out dlogits T [R, C] <- in g [R], logits, labels, then the same optional inputs
using CrossEntropyGradParams = CrossEntropyParams;

// ---- norms (rows x channels) ---------------------------------------------------------------------------
// out y T [R, C], mean [R], rstd [R] <- in x [R, C] (+ gamma [C], beta [C] when affine != 0) (+ a count: counts.h)
struct LayerNormParams {
  double affine, eps;
};
// out dx [R, C] (+ dgamma [C], dbeta [C]) <- in g, x, mean, rstd (+ gamma when affine != 0) (+ a count: counts.h)
struct LayerNormGradParams {
  double affine;
};
// Training form. out y T [R, C], mean [C], rstd [C], inout runningMean [C], runningVar [C] <- in x [R, C], gamma [C],
// beta [C] (+ residual [R, C] when residual != 0) (+ a count i32 [1] when counted != 0);  y = gamma (x - mean) rstd +
// beta, then + residual, then max(0, y) when relu != 0
//   running = (1 - momentum) * running + momentum * batch; the variance stored is the unbiased one (R - 1), as
//   PyTorch's.
// R = 1 is refused by the check. Channels beyond the count, held to 0..C, are not read: their y, mean and rstd (dx,
// dgamma, dbeta, dresidual) become 0, their running statistics stay as they are.
struct BatchNormParams {
  double eps, momentum, relu, residual, counted;
};
// out dx [R, C], dgamma, dbeta [C] (+ dresidual [R, C] when residual != 0) <- in g, x, mean, rstd, gamma (+ y [R, C]
// when relu != 0: g counts where y > 0 only) (+ a count);  dresidual = that g
struct BatchNormGradParams {
  double relu, residual, counted;
};
// out y T [R, C] <- in x [R, C], gamma, beta, mean, var [C] (+ residual [R, C] when residual != 0) (+ a count);
//   y = gamma (x - mean) / sqrt(var + eps) + beta, then + residual, then max(0, y) when relu != 0
struct BatchNormEvalParams {
  double eps, relu, residual, counted;
};

// ---- random (Philox4x32-10; the generator's state lives on the device, so that captured graphs stay random) ----
// state i32 [4] = seed low, seed high, counter low, counter high. Element i of a call uses word i % 4 of block
// counter + i / 4; afterwards counter += ceil(n / 4). The values are the same for every ISA and thread count.
// out y T contiguous, inout state <- (a count);  uniform [a, b) | normal mean a, std b (Box-Muller: a block of 4 words
// gives 4 normals) | bernoulli: b with probability a, else 0. Counts: counts.h.
struct RandomParams {
  double kind, a, b;
};
// out y i32 [n], inout state <- ;  a random permutation of 0..n-1 (Fisher-Yates)
struct PermutationParams {};
// out y i32 [R, S], inout state <- in weights T [R, C];  S draws with replacement per row, by inverse CDF.
// A row that is negative, NaN or sums to 0 is a sticky error.
struct CategoricalParams {};

// ---- optimisers: one call for all parameters -----------------------------------------------------------
// hyper f64 [2] = {learning rate, scale on all gradients}: on the device, so that a captured step follows a schedule.
// Per parameter: p (active view, any strides), g (same shape), slots like p, and two step counters, f32:
// rowSteps [shape[0]] along the first axis and colSteps [last extent] along the last (rank 1: only colSteps varies,
// rowSteps [1]). A counter shared by a whole axis is a view of stride 0 over one number. Before use, each distinct
// counter is increased by 1. The step count of an element is min(rowSteps[r], colSteps[c]): a neuron born later gets
// its own bias correction. Weight decay is off for an element whose step count is <= young.
// Behind the weight decays of a record there may be two more numbers per parameter, which inputs (behind the gradients)
// are counts i32 [1] of its active rows and columns; 0: all are active. A parameter of rank 1 has columns only. A
// counted axis has step counters of its own. What lies beyond a count stays as it is.
//
// outputs per parameter: inout p, momentum buffer (when momentum != 0), rowSteps, colSteps; inputs: hyper, then g per
// parameter. record: SgdParams, then one double of weight decay per parameter.
//   g += wd*p;  v = momentum*v + (1 - dampening)*g (first step of an element: v = g);  p -= lr * (nesterov ? g +
//   momentum*v : v)
struct SgdParams {
  double count, momentum, dampening, nesterov, young;
};
// outputs per parameter: inout p, m, v, rowSteps, colSteps; inputs: hyper, then g per parameter.
// record: AdamParams, then weight decays. decoupled != 0: AdamW (p -= lr*wd*p), else wd is added to the gradient.
//   p -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
struct AdamParams {
  double count, beta1, beta2, eps, decoupled, young;
};
// out norm T [1] <- in g_0..g_{n-1} (, counts: counts.h);  global L2 norm, fixed order, accumulated in f64
struct GradNormParams {};
// inout g_0..g_{n-1} <- in norm [1];  g *= min(1, maxNorm / (norm + 1e-6))
struct ClipGradsParams {
  double maxNorm;
};

// ---- neurons -------------------------------------------------------------------------------------------
// out s T [U] <- in w [U, F] (+ g [U, F] for the taylor kinds);
//   l1 sum|w|; l2 sqrt(sum w^2); taylor-weight sum (w g)^2; taylor-abs-sum |sum w g|; taylor-sum-abs sum |w g|;
//   l2-taylor: s [2, U], both l2 and taylor-weight in one pass over memory
struct UnitScoreParams {
  double kind;
};
// inout stats f32 [C + 4, K] <- in a T [M, K], g T [M, K], labels i32 [M / positions];  the score epilogue of
// linearGradInput alone. Each sample is `positions` rows that follow each other (pixels, tokens): for class c of sample
// n
//   stats[c][k] += |sum over its positions of a*g*scale|;  stats[C][k], [C+1][k], [C+2][k] += mean of |a|, a, (a == 0)
//   stats[C+3][k] += (sum over its positions of a*g*scale)^2;  with a count (counts.h) for the units it counts only
struct GateStatsParams {
  double scale, positions;
};

// out s T [K], inout u T [K], age T [K] <- in activity T [K], outgoing T [K];  one step of a running utility:
//   u = decay*u + (1 - decay)*activity*outgoing;  age += 1;  s = u / (1 - decay^age). 0 <= decay < 1
struct UnitUtilityParams {
  double decay;
};

// ---- data ----------------------------------------------------------------------------------------------
// out y f32 [B, F] <- in x (u8|f32) [N, F], index i32 [B];  y[b] = x[index[b]] * scale + shift. Out of range: sticky
// error.
struct GatherRowsParams {
  double scale, shift;
};

// ---- attention and vision ------------------------------------------------------------------------------
// out y T [B, Q, H, D], lse T [B, H, Q], both contiguous <- in q [B, Q, H, D], k, v [B, K, H, D] (any strides: slices
// of one fused projection; what hasn't unit stride along D is copied first)
//   per sample and head: s = scale * q k^T;  y = softmax(s) v;  lse = log(sum(exp(s))) per query.
// causal != 0: query i sees the keys 0..i only. K = 0 gives y = 0 and lse = -inf.
struct AttentionParams {
  double causal, scale;
};
// out dq [B, Q, H, D], dk, dv [B, K, H, D] (any strides) <- in g, y [B, Q, H, D], lse [B, H, Q] contiguous, q, k, v;
// y and lse as Attention returned them for the same record
using AttentionGradParams = AttentionParams;
// Statistics per sample and group of C / groups neighbouring channels, over all S positions.
// out y T [B, S, C], mean [B, G], rstd [B, G] <- in x [B, S, C] (+ gamma [C], beta [C] when affine != 0)
struct GroupNormParams {
  double affine, groups, eps;
};
// out dx [B, S, C] (+ dgamma [C], dbeta [C]) <- in g, x, mean, rstd (+ gamma when affine != 0)
struct GroupNormGradParams {
  double affine, groups;
};
// out y T [B, h, w, C] <- in x [B, H, W, C], none of H, W, h, w 0. Output pixel i lies at (i + 1/2) H / h - 1/2 of the
// input ("half pixel", corners not aligned), held at the border.
struct ResizeBilinearParams {};
// out dx [B, H, W, C] <- in g [B, h, w, C]
struct ResizeBilinearGradParams {};
// out y f32 [B, H, W, C] contiguous, inout state <- in x (u8|f32) [B, H, W, C], scale f32 [C], shift f32 [C]
//   y = pixel * scale + shift, where the pixel of sample b comes from x shifted by a whole number of pixels in
//   -padding.. padding along each axis (0 where that is outside) and mirrored along W with probability flip: a random
//   crop out of the picture padded with zeros. Sample b uses block counter + b; afterwards counter += B. padding is
//   whole, 0..65535.
struct AugmentParams {
  double padding, flip;
};

}  // namespace gyrus
