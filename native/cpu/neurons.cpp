// Neuron scores: from a unit's weights (unitScore), and per unit and class from activation and gradient (gateStats).
#include "cpu/families.h"
#include "cpu/gate.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

GYRUS_INLINE float rootOf(float x) { return ::sqrtf(x); }
GYRUS_INLINE double rootOf(double x) { return ::sqrt(x); }

// Sum over a unit's F weights of what `kind` asks for; the square root or the absolute value comes after.
template <ScoreKind kind, class T>
GYRUS_INLINE T sumOf(const T* w, const T* g, int64_t F) {
  using V = Vec<T>;
  V sum = V::zero();
  eachVector<T>(F, [&](int64_t f, int lanes) {
    V x = load(w + f, lanes);
    if constexpr (kind != ScoreKind::L1 && kind != ScoreKind::L2) x = x * load(g + f, lanes);
    if constexpr (kind == ScoreKind::L2 || kind == ScoreKind::TaylorWeight)
      sum = fma(x, x, sum);
    else
      sum = sum + (kind == ScoreKind::TaylorAbsSum ? x : abs(x));
  });
  return reduceAdd(sum);
}

// s [U] <- w [U, F] (+ g [U, F])
template <class T>
void unitScore(const Args& args) {
  const auto kind = static_cast<ScoreKind>(static_cast<int>(args.as<UnitScoreParams>().kind));
  const Rows<T> w = readRows<T>(args, args.in[0]), g = readRows<T>(args, args.in[args.inputs > 1 ? 1 : 0]);
  const Rows<T> s = writeRows<T>(args, args.out[0]);
  parallelRange(w.rows, w.cols, [&](int64_t from, int64_t to) {
    for (int64_t u = from; u < to; ++u) {
      T sum;
      switch (kind) {
        case ScoreKind::L1:
          sum = sumOf<ScoreKind::L1>(w.row(u), g.row(u), w.cols);
          break;
        case ScoreKind::L2:
          sum = rootOf(sumOf<ScoreKind::L2>(w.row(u), g.row(u), w.cols));
          break;
        case ScoreKind::TaylorWeight:
          sum = sumOf<ScoreKind::TaylorWeight>(w.row(u), g.row(u), w.cols);
          break;
        case ScoreKind::TaylorAbsSum:
          sum = sumOf<ScoreKind::TaylorAbsSum>(w.row(u), g.row(u), w.cols);
          sum = sum < 0 ? -sum : sum;
          break;
        default:
          sum = sumOf<ScoreKind::TaylorSumAbs>(w.row(u), g.row(u), w.cols);
      }
      s.data[u] = sum;
    }
  });
  s.flush();
}

// stats f32 [C + 3, K] <- a, g [M, K], labels i32 [M]
void gateStats(const Args& args) {
  const double scale = args.as<GateStatsParams>().scale;
  const auto run = args.in[0].dtype == DType::F64 ? accumulateGate<double> : accumulateGate<float>;
  run("gateStats", args, args.out[0], args.in[0], args.in[1], args.in[2], scale);
}

}  // namespace

void registerNeurons(KernelTable& t) {
  t.set(Op::UnitScore, GYRUS_BY_TYPE(unitScore));
  t.set(Op::GateStats, gateStats);
}

}  // namespace gyrus::cpu::GYRUS_ISA
