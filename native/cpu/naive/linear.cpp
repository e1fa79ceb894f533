// Naive matrix products: three loops, any strides, sums in double.
#include <cmath>
#include <cstdint>

#include "cpu/families.h"
#include "cpu/naive/gate.h"
#include "cpu/naive/lists.h"
#include "cpu/naive/rows.h"

namespace gyrus::cpu::naive {
namespace {

double activate(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::Relu:
      return x < 0 ? 0 : x;
    case ActivationKind::Tanh:
      return std::tanh(x);
    case ActivationKind::Sigmoid:
      return 1 / (1 + std::exp(-x));
    case ActivationKind::Gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ActivationKind::Silu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}

// c [batch..., M, N] <- a [batch..., M, K], b [batch..., K, N]
template <class T>
struct Matmul {
  static void run(const Args& args) {
    const View& cv = args.out[0];
    const View& av = args.in[0];
    const View& bv = args.in[1];
    const int row = cv.rank - 2, col = cv.rank - 1;
    const std::int64_t M = cv.shape[row], N = cv.shape[col], K = av.shape[col];
    std::int64_t batch = 1;
    for (int i = 0; i < row; ++i) batch *= cv.shape[i];
    for (std::int64_t n = 0; n < batch; ++n) {
      std::int64_t rest = n, ca = 0, aa = 0, ba = 0;
      for (int i = row - 1; i >= 0; --i) {
        const std::int64_t at = rest % cv.shape[i];
        rest /= cv.shape[i];
        ca += at * cv.stride[i];
        aa += at * av.stride[i];
        ba += at * bv.stride[i];
      }
      T* c = cv.as<T>() + ca;
      const T* a = av.as<T>() + aa;
      const T* b = bv.as<T>() + ba;
      for (std::int64_t i = 0; i < M; ++i)
        for (std::int64_t j = 0; j < N; ++j) {
          double sum = 0;
          for (std::int64_t k = 0; k < K; ++k)
            sum += double(a[i * av.stride[row] + k * av.stride[col]]) * b[k * bv.stride[row] + j * bv.stride[col]];
          c[i * cv.stride[row] + j * cv.stride[col]] = T(sum);
        }
    }
  }
};

// y [M, n] <- x [M, k], w [N, K] (+ bias [N], residual [M, n])
template <class T>
struct Linear {
  static void run(const Args& args) {
    const auto& p = args.as<LinearParams>();
    const Rows<T> y(args.out[0]), x(args.in[0]), w(args.in[1]);
    int next = 2;
    const View* bias = p.bias != 0 ? &args.in[next++] : nullptr;
    const View* residual = p.residual != 0 ? &args.in[next++] : nullptr;
    const List outputs("linear", "outputs", p.outputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.outputs), w.rows);
    const List inputs("linear", "inputs", p.inputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.inputs), w.cols);
    for (std::int64_t m = 0; m < y.rows; ++m)
      for (std::int64_t n = 0; n < y.cols; ++n) {
        if (n >= outputs.count) {
          y(m, n) = T(0);
          continue;
        }
        double sum = bias ? double(Line<T>(*bias)[outputs[n]]) : 0;
        for (std::int64_t k = 0; k < inputs.count; ++k) sum += double(x(m, k)) * w(outputs[n], inputs[k]);
        sum = activate(static_cast<ActivationKind>(static_cast<int>(p.activation)), sum);
        y(m, n) = T(residual ? sum + Rows<T>(*residual)(m, n) : sum);
      }
  }
};

// dx [M, k] (+ stats [C + 4, k]) <- g [M, n], w [N, K] (+ a [M, k], labels [M])
template <class T>
struct LinearGradInput {
  static void run(const Args& args) {
    const auto& p = args.as<LinearGradInputParams>();
    const Rows<T> dx(args.out[0]), g(args.in[0]), w(args.in[1]);
    int next = p.score != 0 ? 4 : 2;
    const List outputs("linearGradInput", "outputs", p.outputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.outputs),
                       w.rows);
    const List inputs("linearGradInput", "inputs", p.inputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.inputs),
                      w.cols);
    for (std::int64_t m = 0; m < dx.rows; ++m)
      for (std::int64_t k = 0; k < dx.cols; ++k) {
        double sum = 0;
        for (std::int64_t n = 0; n < outputs.count && k < inputs.count; ++n)
          sum += double(g(m, n)) * w(outputs[n], inputs[k]);
        dx(m, k) = T(sum);
      }
    if (p.score == 0) return;
    const auto active = [&](const View& v) { return leadingBlock(v, 1, inputs.count); };
    accumulateGate<T>("linearGradInput", active(args.out[1]), active(args.in[2]), active(args.out[0]), args.in[3],
                      p.scale);
  }
};

// dw [N, K] (+ db [N]) <- g [M, n], x [M, k]
template <class T>
struct LinearGradWeight {
  static void run(const Args& args) {
    const auto& p = args.as<LinearGradWeightParams>();
    const Rows<T> dw(args.out[0]), g(args.in[0]), x(args.in[1]);
    int next = 2;
    const List outputs("linearGradWeight", "outputs", p.outputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.outputs),
                       dw.rows);
    const List inputs("linearGradWeight", "inputs", p.inputs != 0 ? &args.in[next++] : nullptr, neuronsOf(p.inputs),
                      dw.cols);
    for (std::int64_t n = 0; n < dw.rows; ++n)
      for (std::int64_t k = 0; k < dw.cols; ++k) dw(n, k) = T(0);
    for (std::int64_t n = 0; n < outputs.count; ++n)
      for (std::int64_t k = 0; k < inputs.count; ++k) {
        double sum = 0;
        for (std::int64_t m = 0; m < g.rows; ++m) sum += double(g(m, n)) * x(m, k);
        dw(outputs[n], inputs[k]) = T(sum);
      }
    if (p.bias == 0) return;
    const Line<T> db(args.out[1]);
    for (std::int64_t n = 0; n < db.n; ++n) db[n] = T(0);
    for (std::int64_t n = 0; n < outputs.count; ++n) {
      double sum = 0;
      for (std::int64_t m = 0; m < g.rows; ++m) sum += g(m, n);
      db[outputs[n]] = T(sum);
    }
  }
};

}  // namespace

void registerLinear(KernelTable& t) {
  t.set(Op::Matmul, byType<Matmul>);
  t.set(Op::Linear, byType<Linear>);
  t.set(Op::LinearGradInput, byType<LinearGradInput>);
  t.set(Op::LinearGradWeight, byType<LinearGradWeight>);
}

}  // namespace gyrus::cpu::naive
