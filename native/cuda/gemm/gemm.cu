// The ops that are matrix products: matmul (batched, any strides) and the three of a linear layer.
#include "cuda/families.h"
#include "cuda/gemm/column_sums.cuh"
#include "cuda/gemm/dense.cuh"
#include "cuda/gemm/product.cuh"

namespace gyrus::cuda {
namespace {

using gemm::multiply;
using gemm::Operand;
using gemm::Product;

// True when one product of M*batch rows does the same: b is shared by all of the batch, and a's rows go on from one
// item to the next at the same distance.
bool flattens(const View& a, const View& b) {
  const int row = a.rank - 2;
  std::int64_t expected = a.stride[row] * a.shape[row];
  for (int i = row - 1; i >= 0; --i) {
    if (a.shape[i] == 1) continue;
    if (b.stride[i] != 0 || a.stride[i] != expected) return false;
    expected *= a.shape[i];
  }
  return true;
}

// c [batch..., M, N] <- a [batch..., M, K], b [batch..., K, N]
template <class T>
void matmul(const Args& args) {
  const View &c = args.out[0], &a = args.in[0], &b = args.in[1];
  const int row = c.rank - 2, col = c.rank - 1;
  Product<T> p;
  p.M = c.shape[row];
  p.N = c.shape[col];
  p.K = a.shape[col];
  p.a = {a.as<T>(), a.stride[row], a.stride[col]};
  p.b = {b.as<T>(), b.stride[col], b.stride[row]};
  p.c.data = c.as<T>();
  p.c.ld = p.N;
  for (int i = 0; i < row; ++i) p.batch *= c.shape[i];
  if (p.batch > 1 && flattens(a, b)) {
    p.M *= p.batch;
    p.batch = 1;
  }
  if (p.batch > 1)
    for (int i = 0; i < row; ++i) {
      auto& m = p.batches;
      if (c.shape[i] == 1) continue;
      m.shape[m.rank] = Divisor64(c.shape[i]);
      m.stride[0][m.rank] = a.stride[i];
      m.stride[1][m.rank++] = b.stride[i];
    }
  multiply(args, p, Epilogue<T>{});
}

// Before sums are scattered among zeros. `to` is aligned to 4 bytes, or to 16.
__global__ void __launch_bounds__(256) zeroBytes(unsigned char* to, std::int64_t bytes) {
  const std::int64_t first = std::int64_t{blockIdx.x} * 256 + threadIdx.x, step = std::int64_t{gridDim.x} * 256;
  const std::int64_t fours = reinterpret_cast<std::uintptr_t>(to) % 16 == 0 ? bytes / 16 : 0;
  for (std::int64_t i = first; i < fours; i += step) reinterpret_cast<uint4*>(to)[i] = make_uint4(0, 0, 0, 0);
  for (std::int64_t i = fours * 4 + first; i < bytes / 4; i += step) reinterpret_cast<unsigned*>(to)[i] = 0;
}

}  // namespace

template <class T>
void denseProduct(const Args& args, const View& y, const View& x, const View& w, const Lists& lists,
                  const Epilogue<T>& epilogue) {
  Product<T> p;
  p.M = y.shape[0];
  p.N = y.shape[1];
  p.K = x.shape[1];
  p.activeN = lists.outputCount;
  p.activeK = lists.inputCount;
  p.a = {x.as<T>(), x.stride[0], x.stride[1]};
  p.b = {w.as<T>(), w.stride[0], w.stride[1], lists.outputs, lists.inputs};
  p.c.data = y.as<T>();
  p.c.ld = p.N;
  multiply(args, p, epilogue);
}

template <class T>
void denseGradInput(const Args& args, const View& dx, const View& g, const View& w, const Lists& lists,
                    const Gate* gate) {
  Product<T> p;
  p.M = dx.shape[0];
  p.N = dx.shape[1];
  p.K = g.shape[1];
  p.activeN = lists.inputCount;
  p.activeK = lists.outputCount;
  p.a = {g.as<T>(), g.stride[0], g.stride[1]};
  p.b = {w.as<T>(), w.stride[1], w.stride[0], lists.inputs, lists.outputs};
  p.c.data = dx.as<T>();
  p.c.ld = p.N;
  if (!multiply(args, p, Epilogue<T>{}, gate) && gate) accumulateGate(args, *gate, dx, 1);
}

template <class T>
void denseGradWeight(const Args& args, const View& dw, const View& g, const View& x, const Lists& lists) {
  Product<T> p;
  p.M = g.shape[1];
  p.N = x.shape[1];
  p.K = g.shape[0];
  p.activeM = lists.outputCount;
  p.activeN = lists.inputCount;
  p.a = {g.as<T>(), g.stride[1], g.stride[0]};
  p.b = {x.as<T>(), x.stride[1], x.stride[0]};
  p.c.data = dw.as<T>();
  p.c.ld = dw.shape[1];
  p.c.rows = lists.outputs;
  p.c.cols = lists.inputs;
  if (dw.size() > 0 && (p.M < dw.shape[0] || p.N < dw.shape[1])) {
    const std::int64_t bytes = dw.size() * static_cast<std::int64_t>(sizeof(T));
    GYRUS_LAUNCH(blocksFor(bytes, 16 * 256), 256, 0, zeroBytes, dw.as<unsigned char>(), bytes);
  }
  multiply(args, p, Epilogue<T>{});
}

#define GYRUS_INSTANTIATE(T)                                                                                           \
  template void denseProduct<T>(const Args&, const View&, const View&, const View&, const Lists&, const Epilogue<T>&); \
  template void denseGradInput<T>(const Args&, const View&, const View&, const View&, const Lists&, const Gate*);      \
  template void denseGradWeight<T>(const Args&, const View&, const View&, const View&, const Lists&);
GYRUS_INSTANTIATE(float)
GYRUS_INSTANTIATE(double)
#undef GYRUS_INSTANTIATE

namespace {

// The optional inputs of a dense layer's op, taken one after the other.
struct Inputs {
  const Args& args;
  int next;
  const View* take(bool flag) { return flag ? &args.in[next++] : nullptr; }
};

// y [M, n] = act(x [M, k] w^T + bias) + residual, w [N, K]
template <class T>
void linear(const Args& args) {
  const auto& p = args.as<LinearParams>();
  const View &y = args.out[0], &x = args.in[0], &w = args.in[1];
  Inputs more{args, 2};
  const View *bias = more.take(p.bias != 0), *residual = more.take(p.residual != 0);
  const View *outputs = more.take(p.outputs != 0), *inputs = more.take(p.inputs != 0);
  const Lists lists =
      readLists(Op::Linear, args, neuronsOf(p.outputs), outputs, w.shape[0], neuronsOf(p.inputs), inputs, w.shape[1]);
  Epilogue<T> epilogue;
  if (bias) epilogue.bias = {bias->as<T>(), bias->stride[0]};
  epilogue.list = lists.outputs;
  if (residual) epilogue.residual = residual->as<T>();
  epilogue.activation = static_cast<ActivationKind>(static_cast<int>(p.activation));
  denseProduct<T>(args, y, x, w, lists, epilogue);
}

// dx [M, k] = g [M, n] w (+ stats [C + 4, k] <- a [M, k], labels [M])
template <class T>
void linearGradInput(const Args& args) {
  const auto& p = args.as<LinearGradInputParams>();
  const View &dx = args.out[0], &g = args.in[0], &w = args.in[1];
  Inputs more{args, p.score != 0 ? 4 : 2};
  const View *outputs = more.take(p.outputs != 0), *inputs = more.take(p.inputs != 0);
  const Lists lists = readLists(Op::LinearGradInput, args, neuronsOf(p.outputs), outputs, w.shape[0],
                                neuronsOf(p.inputs), inputs, w.shape[1]);
  if (p.score == 0) return denseGradInput<T>(args, dx, g, w, lists);
  const Gate gate{Op::LinearGradInput, args.out[1], args.in[2], args.in[3], p.scale, lists.inputCount};
  denseGradInput<T>(args, dx, g, w, lists, &gate);
}

// dw [N, K] = g^T x (+ db [N] = column sums of g), g [M, n], x [M, k]
template <class T>
void linearGradWeight(const Args& args) {
  const auto& p = args.as<LinearGradWeightParams>();
  const View &dw = args.out[0], &g = args.in[0], &x = args.in[1];
  Inputs more{args, 2};
  const View *outputs = more.take(p.outputs != 0), *inputs = more.take(p.inputs != 0);
  const Lists lists = readLists(Op::LinearGradWeight, args, neuronsOf(p.outputs), outputs, dw.shape[0],
                                neuronsOf(p.inputs), inputs, dw.shape[1]);
  denseGradWeight<T>(args, dw, g, x, lists);
  if (p.bias != 0)
    columnSums<T>(args, {g.as<T>(), g.shape[0], g.shape[1], g.stride[0], g.stride[1], lists.outputCount}, args.out[1],
                  lists.outputs, neuronsOf(p.outputs) == Neurons::Listed);
}

#define GYRUS_BY_FLOAT(f) [](const Args& args) { args.out[0].dtype == DType::F64 ? f<double>(args) : f<float>(args); }

}  // namespace

void registerGemm(KernelTable& t) {
  t.set(Op::Matmul, GYRUS_BY_FLOAT(matmul));
  t.set(Op::Linear, GYRUS_BY_FLOAT(linear));
  t.set(Op::LinearGradInput, GYRUS_BY_FLOAT(linearGradInput));
  t.set(Op::LinearGradWeight, GYRUS_BY_FLOAT(linearGradWeight));
}

}  // namespace gyrus::cuda
