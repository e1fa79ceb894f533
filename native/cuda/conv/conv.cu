// The three ops of a convolution: which kernels a call becomes.
#include "cuda/conv/depthwise.cuh"
#include "cuda/conv/gradweight.cuh"
#include "cuda/conv/implicit.cuh"
#include "cuda/conv/prepare.cuh"
#include "cuda/families.h"
#include "cuda/gate.cuh"
#include "cuda/gemm/column_sums.cuh"
#include "cuda/gemm/dense.cuh"
#include "cuda/map.cuh"

namespace gyrus::cuda {
namespace {

// The optional inputs behind the first two, taken one after the other.
struct Inputs {
  const Args& args;
  int next = 2;
  const View* take(bool flag) { return flag ? &args.in[next++] : nullptr; }
};

Lists takeLists(Op op, Inputs& inputs, const Conv2dShapeParams& p, const View& w) {
  const View *outputs = inputs.take(p.outputs != 0), *channels = inputs.take(p.inputs != 0);
  return readLists(op, inputs.args, neuronsOf(p.outputs), outputs, w.shape[0], neuronsOf(p.inputs), channels,
                   w.shape[3]);
}

// [N, H, W, C] as [pixels, C]; false where the pixels don't lie at one distance from each other.
bool asRows(const View& v, View& rows) {
  rows = v;
  rows.rank = 2;
  rows.shape[0] = v.shape[0] * v.shape[1] * v.shape[2];
  rows.shape[1] = v.shape[3];
  rows.stride[0] = 0;
  rows.stride[1] = v.stride[3];
  if (v.size() == 0) return true;
  std::int64_t pixels = 1;
  for (int d = 2; d >= 0; pixels *= v.shape[d--]) {
    if (v.shape[d] == 1) continue;
    if (pixels == 1) rows.stride[0] = v.stride[d];
    if (v.stride[d] != rows.stride[0] * pixels) return false;
  }
  return true;
}
// [F, 1, 1, C] as [F, C].
View asMatrix(const View& w) {
  View matrix = w;
  matrix.rank = 2;
  matrix.shape[1] = w.shape[3];
  matrix.stride[1] = w.stride[3];
  return matrix;
}

template <class U>
struct Same {
  __device__ U operator()(U x) const { return x; }
};

// What the convolution and the gradient of its input have in common: the product of all pixels, as many samples at a
// time as can be counted.
template <class T>
void multiplyPixels(const char* op, const Windows& windows, bool backward, const View& source,
                    const DepthRows<T>& weight, const View& out, Implicit<T> p) {
  const int sourceChannels = backward ? windows.F : windows.C;
  p.h = windows.h;
  p.w = windows.w;
  p.backward = backward;
  p.source = Pixels<const T>(source);
  p.depth = sourceChannels / windows.groups;
  p.weight = weight;
  p.out = out.as<T>();
  p.channels = backward ? windows.C : windows.F;
  p.columns = p.channels / windows.groups;
  p.storeQuads = p.columns % 4 == 0 && aligned(p.out, 16);
  p.residualQuads = p.epilogue.residual && p.storeQuads && p.residual.quads();
  const bool quads = p.depth % 4 == 0 && p.source.quads();
  const std::int64_t picture = out.shape[1] * out.shape[2];
  const int atOnce = samplesAtOnce(op, windows.samples, static_cast<double>(picture));
  for (int first = 0; first < windows.samples; first += atOnce) {
    p.samples = std::min(atOnce, windows.samples - first);
    launchImplicit(p, quads, windows.groups);
    p.source.data += atOnce * p.source.n;
    p.out += atOnce * picture * p.channels;
    p.residual.data += atOnce * p.residual.n;
  }
}

// y <- x, w, (lists), (bias), (scale, shift), (residual)
template <class T>
void conv2d(const Args& args) {
  const auto& p = args.as<Conv2dParams>();
  const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
  const Windows windows("conv2d", p.shape, x, y, w);
  Inputs inputs{args};
  const Lists lists = takeLists(Op::Conv2d, inputs, p.shape, w);
  const View *bias = inputs.take(p.bias != 0), *scale = inputs.take(p.affine != 0), *shift = inputs.take(p.affine != 0);
  const View* residual = inputs.take(p.residual != 0);
  if (y.size() == 0) return;
  Implicit<T> product{};
  Epilogue<T>& epilogue = product.epilogue;
  if (bias) epilogue.bias = {bias->as<T>(), bias->stride[0]};
  if (scale) epilogue.scale = {scale->as<T>(), scale->stride[0]};
  if (shift) epilogue.shift = {shift->as<T>(), shift->stride[0]};
  epilogue.list = lists.outputs;
  product.depthCount = lists.inputCount;
  product.columnCount = lists.outputCount;
  epilogue.activation = p.activation != 0 ? ActivationKind::Relu : ActivationKind::None;
  epilogue.residualFirst = true;
  if (residual) {
    epilogue.residual = residual->as<T>();
    product.residual = Pixels<const T>(*residual);
  }
  View pixels, results;
  if (windows.pointwise() && asRows(x, pixels) && asRows(y, results) && (!residual || residual->contiguous()))
    return denseProduct<T>(args, results, pixels, asMatrix(w), lists, epilogue);
  const Weights<T> weights(w, windows, lists);
  if (windows.depthwise()) return launchDepthwise<T>(args, "conv2d", windows, false, x, weights, y, epilogue, residual);
  const DepthRows<T> weight = weightsByOutput(args, weights, windows);
  multiplyPixels<T>("conv2d", windows, false, x, weight, y, product);
}

// dx (+ stats) <- g, w, (lists), (a, labels)
template <class T>
void conv2dGradInput(const Args& args) {
  const auto& p = args.as<Conv2dGradInputParams>();
  const View &dx = args.out[0], &g = args.in[0], &w = args.in[1];
  const Windows windows("conv2dGradInput", p.shape, dx, g, w);
  Inputs inputs{args};
  const Lists lists = takeLists(Op::Conv2dGradInput, inputs, p.shape, w);
  const Weights<T> weights(w, windows, lists);
  View pixels, results;
  if (windows.depthwise()) {
    launchDepthwise<T>(args, "conv2dGradInput", windows, true, g, weights, dx, Epilogue<T>{}, nullptr);
  } else if (windows.pointwise() && asRows(g, pixels) && asRows(dx, results)) {
    denseGradInput<T>(args, results, pixels, asMatrix(w), lists);
  } else if (dx.size() > 0) {
    const DepthRows<T> weight = weightsByChannel(args, weights, windows);
    Implicit<T> product{};
    product.depthCount = lists.outputCount;
    product.columnCount = lists.inputCount;
    multiplyPixels<T>("conv2dGradInput", windows, true, g, weight, dx, product);
  }
  if (p.score == 0) return;
  const View *a = inputs.take(true), *labels = inputs.take(true);
  const Gate gate{Op::Conv2dGradInput, args.out[1], *a, *labels, p.scale, lists.inputCount};
  accumulateGate(args, gate, dx, dx.shape[1] * dx.shape[2]);
}

// The sums over all pixels of g [N, OH, OW, F].
template <class T>
void sumPixels(const Args& args, const View& g, const View& db, const Lists& lists) {
  View flat;
  if (!asRows(g, flat)) {
    // A copy with one distance between all pixels.
    View copy = g;
    copy.data = args.scratch->array<T>(g.size());
    std::int64_t step = 1;
    for (int d = 3; d >= 0; step *= g.shape[d--]) copy.stride[d] = step;
    const View* const v[2] = {&copy, &g};
    mapAny<T, T>(copy, g, Nest<2>(v), Same<T>{});
    asRows(copy, flat);
  }
  columnSums<T>(args, {flat.as<T>(), flat.shape[0], flat.shape[1], flat.stride[0], flat.stride[1], lists.outputCount},
                db, lists.outputs, lists.outputs != nullptr);
}

// dw (+ db) <- g, x, (lists)
template <class T>
void conv2dGradWeight(const Args& args) {
  const auto& p = args.as<Conv2dGradWeightParams>();
  const View &dw = args.out[0], &g = args.in[0], &x = args.in[1];
  const Windows windows("conv2dGradWeight", p.shape, x, g, dw);
  Inputs inputs{args};
  const Lists lists = takeLists(Op::Conv2dGradWeight, inputs, p.shape, dw);
  View rows, pixels;
  if (windows.depthwise())
    launchDepthwiseGradWeight<T>(args, dw, windows, g, x, lists);
  else if (windows.pointwise() && asRows(g, rows) && asRows(x, pixels))
    denseGradWeight<T>(args, asMatrix(dw), rows, pixels, lists);
  else
    launchGradWeight<T>(args, dw, windows, g, x, lists);
  if (p.bias != 0) sumPixels<T>(args, g, args.out[1], lists);
}

}  // namespace

void registerConv(KernelTable& t) {
  t.set(Op::Conv2d,
        [](const Args& args) { args.out[0].dtype == DType::F64 ? conv2d<double>(args) : conv2d<float>(args); });
  t.set(Op::Conv2dGradInput, [](const Args& args) {
    args.out[0].dtype == DType::F64 ? conv2dGradInput<double>(args) : conv2dGradInput<float>(args);
  });
  t.set(Op::Conv2dGradWeight, [](const Args& args) {
    args.out[0].dtype == DType::F64 ? conv2dGradWeight<double>(args) : conv2dGradWeight<float>(args);
  });
}

}  // namespace gyrus::cuda
