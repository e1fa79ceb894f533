// The ops that are matrix products: matmul (batched, any strides) and the three of a linear layer.
#include "cpu/columns.h"
#include "cpu/families.h"
#include "cpu/gate.h"
#include "cpu/gemm/driver.h"
#include "cpu/lists.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

// True when one product of M*batch rows does the same: b is shared by all of the batch, and a's and c's rows go on
// from one item to the next at the same distance.
bool flattens(const View& a, const View& b) {
  const int row = a.rank - 2;
  int64_t expected = a.stride[row] * a.shape[row];
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
  const View &cv = args.out[0], &av = args.in[0], &bv = args.in[1];
  const int row = cv.rank - 2, col = cv.rank - 1;
  int64_t batch = 1;
  for (int i = 0; i < row; ++i) batch *= cv.shape[i];
  Gemm<T> g{cv.shape[row], cv.shape[col],  av.shape[col],  av.as<T>(), av.stride[row], av.stride[col],
            bv.as<T>(),    bv.stride[row], bv.stride[col], cv.as<T>(), cv.shape[col]};
  if (batch * g.M * g.N == 0) return;
  if (batch > 1 && flattens(av, bv)) {
    g.M *= batch;
    batch = 1;
  }
  if (batch == 1) {
    g.run(take<T>(args, g.scratchSize()));
    return;
  }

  const auto item = [&](int64_t n, T* packed) {
    Gemm<T> one = g;
    one.c += n * g.M * g.N;
    for (int i = row - 1; i >= 0; --i) {
      const int64_t at = n % cv.shape[i];
      n /= cv.shape[i];
      one.a += at * av.stride[i];
      one.b += at * bv.stride[i];
    }
    one.run(packed);
  };
  // Small items: each piece of work takes some of them, with packing space of its own. Large ones are split inside.
  const int64_t size = g.scratchSize(), flops = 2 * g.M * g.N * maxOf(g.K, 1);
  if (size > 32768 || flops > (int64_t{1} << 24)) {
    T* packed = take<T>(args, size);
    for (int64_t n = 0; n < batch; ++n) item(n, packed);
    return;
  }
  const int64_t step = maxOf(ceilDiv(batch, 64), ceilDiv(int64_t{1} << 20, flops));
  const int64_t line = ceilDiv(maxOf(size, 1), 64) * 64;
  T* packed = take<T>(args, ceilDiv(batch, step) * line);
  parallelFor(ceilDiv(batch, step), [&](int64_t chunk) {
    for (int64_t n = chunk * step; n < minOf(batch, (chunk + 1) * step); ++n) item(n, packed + chunk * line);
  });
}

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
  Gemm<T> g{x.shape[0], y.shape[1],  x.shape[1],  x.as<T>(), x.stride[0], x.stride[1],
            w.as<T>(),  w.stride[1], w.stride[0], y.as<T>(), y.shape[1]};
  Inputs more{args, 2};
  const View *bias = more.take(p.bias != 0), *residual = more.take(p.residual != 0);
  const Active outputs =
      readActiveNeurons("linear", "outputs", args, neuronsOf(p.outputs), more.take(p.outputs != 0), w.shape[0]);
  const Active inputs =
      readActiveNeurons("linear", "inputs", args, neuronsOf(p.inputs), more.take(p.inputs != 0), w.shape[1]);
  g.N = outputs.count;
  g.K = inputs.count;
  g.b += outputs.first * g.b_col + inputs.first * g.b_row;
  g.listed.b_cols = outputs.list;
  g.listed.b_rows = inputs.list;
  if (bias) g.epilogue.bias = readActive<T>(args, *bias, outputs);
  if (residual) g.epilogue.residual = residual->as<T>();
  g.epilogue.activation = static_cast<ActivationKind>(static_cast<int>(p.activation));
  clearColumns<T>(y, g.N);
  g.run(take<T>(args, g.scratchSize()));
}

// dx [M, k] = g [M, n] w (+ stats [C + 4, k] <- a [M, k], labels [M])
template <class T>
void linearGradInput(const Args& args) {
  const auto& p = args.as<LinearGradInputParams>();
  const View &dx = args.out[0], &gv = args.in[0], &w = args.in[1];
  Gemm<T> g{gv.shape[0], dx.shape[1], gv.shape[1], gv.as<T>(), gv.stride[0], gv.stride[1],
            w.as<T>(),   w.stride[0], w.stride[1], dx.as<T>(), dx.shape[1]};
  Inputs more{args, p.score != 0 ? 4 : 2};
  const Active outputs = readActiveNeurons("linearGradInput", "outputs", args, neuronsOf(p.outputs),
                                           more.take(p.outputs != 0), w.shape[0]);
  const Active inputs =
      readActiveNeurons("linearGradInput", "inputs", args, neuronsOf(p.inputs), more.take(p.inputs != 0), w.shape[1]);
  g.N = inputs.count;
  g.K = outputs.count;
  g.b += outputs.first * g.b_row + inputs.first * g.b_col;
  g.listed.b_rows = outputs.list;
  g.listed.b_cols = inputs.list;
  clearColumns<T>(dx, g.N);
  g.run(take<T>(args, g.scratchSize()));
  if (p.score == 0) return;
  const auto active = [&](const View& v) { return leadingBlock(v, 1, inputs.count); };
  accumulateGate<T>("linearGradInput", args, active(args.out[1]), active(args.in[2]), active(dx), args.in[3], p.scale);
}

// dw [N, K] = g^T x (+ db [N] = column sums of g), g [M, n], x [M, k]
template <class T>
void linearGradWeight(const Args& args) {
  const auto& p = args.as<LinearGradWeightParams>();
  const View &dw = args.out[0], &gv = args.in[0], &x = args.in[1];
  Gemm<T> g{gv.shape[1], x.shape[1],  gv.shape[0], gv.as<T>(), gv.stride[1], gv.stride[0],
            x.as<T>(),   x.stride[0], x.stride[1], dw.as<T>(), dw.shape[1]};
  Inputs more{args, 2};
  const Active outputs = readActiveNeurons("linearGradWeight", "outputs", args, neuronsOf(p.outputs),
                                           more.take(p.outputs != 0), dw.shape[0]);
  const Active inputs =
      readActiveNeurons("linearGradWeight", "inputs", args, neuronsOf(p.inputs), more.take(p.inputs != 0), dw.shape[1]);
  g.M = outputs.count;
  g.N = inputs.count;
  if (g.K == 0) {
    memset(g.c, 0, static_cast<size_t>(dw.size()) * sizeof(T));
  } else {
    if (!outputs.all() || !inputs.all()) clearInactive(g.c, outputs, inputs);
    g.c += outputs.first * g.ldc + inputs.first;
    g.listed.c_rows = outputs.list;
    g.listed.c_cols = inputs.list;
    const Spread<T> spread(args, inputs);
    g.spread = &spread;
    g.run(take<T>(args, g.scratchSize()));
  }
  if (p.bias == 0) return;
  using V = Vec<T>;
  const Rows<T> all = readRows<T>(args, leadingBlock(gv, 1, outputs.count));
  T *sums = take<T>(args, all.cols), *unused = take<T>(args, all.cols);
  sumColumns<T>(args, all.rows, all.cols, sums, unused,
                [&](int64_t m, int64_t n, int lanes, V& sum, V&) { sum = sum + load(all.row(m) + n, lanes); });
  writeActive(args, args.out[1], outputs, sums);
}

}  // namespace

void registerGemm(KernelTable& t) {
  t.set(Op::Matmul, GYRUS_BY_TYPE(matmul));
  t.set(Op::Linear, GYRUS_BY_TYPE(linear));
  t.set(Op::LinearGradInput, GYRUS_BY_TYPE(linearGradInput));
  t.set(Op::LinearGradWeight, GYRUS_BY_TYPE(linearGradWeight));
}

}  // namespace gyrus::cpu::GYRUS_ISA
