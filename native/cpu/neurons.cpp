// Neuron scores: from a unit's weights (unitScore), and per unit and class from activation and gradient (gateStats).
#include "cpu/families.h"
#include "cpu/gate.h"
#include "cpu/rows.h"
#include "kernels/counts.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

GYRUS_INLINE float rootOf(float x) { return ::sqrtf(x); }
GYRUS_INLINE double rootOf(double x) { return ::sqrt(x); }

// What one weight w with gradient g adds to the score of its unit; the square root or absolute value comes after.
template <ScoreKind kind, class T>
GYRUS_INLINE Vec<T> term(Vec<T> w, Vec<T> g, Vec<T> sum) {
  const Vec<T> x = kind == ScoreKind::L1 || kind == ScoreKind::L2 ? w : w * g;
  if constexpr (kind == ScoreKind::L2 || kind == ScoreKind::TaylorWeight)
    return fma(x, x, sum);
  else
    return sum + (kind == ScoreKind::TaylorAbsSum ? x : abs(x));
}

template <class T>
GYRUS_INLINE T finished(ScoreKind kind, T sum) {
  return kind == ScoreKind::L2 ? rootOf(sum) : kind == ScoreKind::TaylorAbsSum && sum < 0 ? -sum : sum;
}

// s[u] of a unit whose F weights follow each other, by four sums; two = both scores of L2Taylor.
template <ScoreKind kind, class T>
GYRUS_INLINE void unitRow(const T* w, const T* g, int64_t F, T* s, T* two) {
  using V = Vec<T>;
  constexpr bool both = kind == ScoreKind::L2Taylor;
  constexpr ScoreKind first = both ? ScoreKind::L2 : kind;
  constexpr int S = both ? 2 : 4;
  V a[S], b[S];
  for (int i = 0; i < S; ++i) a[i] = b[i] = V::zero();
  int64_t f = 0;
  for (; f + S * V::N <= F; f += S * V::N)
    for (int i = 0; i < S; ++i) {
      const V x = V::load(w + f + i * V::N), y = V::load(g + f + i * V::N);
      a[i] = term<first>(x, y, a[i]);
      if constexpr (both) b[i] = term<ScoreKind::TaylorWeight>(x, y, b[i]);
    }
  for (; f < F; f += V::N) {
    const int lanes = static_cast<int>(minOf(V::N, F - f));
    const V x = load(w + f, lanes), y = load(g + f, lanes);
    a[0] = term<first>(x, y, a[0]);
    if constexpr (both) b[0] = term<ScoreKind::TaylorWeight>(x, y, b[0]);
  }
  const auto total = [](const V(&v)[S]) {
    if constexpr (S == 2) return reduceAdd(v[0] + v[1]);
    return reduceAdd((v[0] + v[1]) + (v[S - 2] + v[S - 1]));
  };
  *s = finished(first, total(a));
  if constexpr (both) *two = total(b);
}

// The same of units that lie side by side: w [F, U] with rows ld apart. Rows stream through, the sums stay in L1.
template <ScoreKind kind, class T>
GYRUS_INLINE void unitColumns(const T* w, const T* g, int64_t ld_w, int64_t ld_g, int64_t F, int64_t U, T* s) {
  for (int64_t u = 0; u < U; ++u) s[u] = 0;
  for (int64_t f = 0; f < F; ++f)
    eachVector<T>(U, [&](int64_t u, int lanes) {
      store(term<kind>(load(w + f * ld_w + u, lanes), load(g + f * ld_g + u, lanes), load(s + u, lanes)), s + u, lanes);
    });
  for (int64_t u = 0; u < U; ++u) s[u] = finished(kind, s[u]);
}

template <ScoreKind kind, class T>
void unitScoreOf(const Args& args) {
  const View& wv = args.in[0];
  const View& gv = args.in[args.inputs > 1 ? 1 : 0];
  const int64_t U = wv.shape[0], F = wv.shape[1];
  const Rows<T> s = writeRows<T>(args, args.out[0]);
  if constexpr (kind != ScoreKind::L2Taylor)
    if (U > 1 && wv.stride[0] == 1 && wv.stride[1] != 1 && gv.stride[0] == 1) {
      constexpr int64_t strip = 256;
      parallelRange(ceilDiv(U, strip), F * strip, [&](int64_t from, int64_t to) {
        for (int64_t u = from * strip; u < minOf(U, to * strip); u += strip)
          unitColumns<kind>(wv.as<T>() + u, gv.as<T>() + u, wv.stride[1], gv.stride[1], F, minOf(strip, U - u),
                            s.data + u);
      });
      s.flush();
      return;
    }
  const Rows<T> w = readRows<T>(args, wv), g = readRows<T>(args, gv);
  parallelRange(U, F, [&](int64_t from, int64_t to) {
    for (int64_t u = from; u < to; ++u)
      unitRow<kind>(w.row(u), g.row(u), F, s.data + u, kind == ScoreKind::L2Taylor ? s.row(1) + u : nullptr);
  });
  s.flush();
}

// s [U] (L2Taylor: [2, U]) <- w [U, F] (+ g [U, F])
template <class T>
void unitScore(const Args& args) {
  switch (static_cast<ScoreKind>(static_cast<int>(args.as<UnitScoreParams>().kind))) {
    case ScoreKind::L1:
      return unitScoreOf<ScoreKind::L1, T>(args);
    case ScoreKind::L2:
      return unitScoreOf<ScoreKind::L2, T>(args);
    case ScoreKind::TaylorWeight:
      return unitScoreOf<ScoreKind::TaylorWeight, T>(args);
    case ScoreKind::TaylorAbsSum:
      return unitScoreOf<ScoreKind::TaylorAbsSum, T>(args);
    case ScoreKind::L2Taylor:
      return unitScoreOf<ScoreKind::L2Taylor, T>(args);
    default:
      return unitScoreOf<ScoreKind::TaylorSumAbs, T>(args);
  }
}

// u, age [K] <- activity, outgoing [K];  the running utility of continual backpropagation
template <class T>
void unitUtility(const Args& args) {
  using V = Vec<T>;
  const double decay = args.as<UnitUtilityParams>().decay;
  const Rows<T> score = writeRows<T>(args, args.out[0]);
  const Rows<T> u = readRows<T>(args, args.out[1]), age = readRows<T>(args, args.out[2]);
  const T *activity = readLine<T>(args, args.in[0]), *outgoing = readLine<T>(args, args.in[1]);
  const V d = V::broadcast(static_cast<T>(decay)), rest = V::broadcast(static_cast<T>(1 - decay));
  eachVector<T>(u.cols, [&](int64_t k, int lanes) {
    const V now = load(activity + k, lanes) * load(outgoing + k, lanes);
    store(fma(d, load(u.data + k, lanes), rest * now), u.data + k, lanes);
  });
  for (int64_t k = 0; k < u.cols; ++k) {
    age.data[k] += 1;
    score.data[k] = static_cast<T>(u.data[k] / (1 - ::pow(decay, static_cast<double>(age.data[k]))));
  }
  score.flush();
  u.flush();
  age.flush();
}

// stats f32 [C + 4, K] <- a, g [M, K], labels i32 [M / positions]
template <class T>
void gateStatsOf(const Args& args) {
  const auto& p = args.as<GateStatsParams>();
  const auto [stats, a, g] = ActiveUnits(args);
  const View& labels = args.in[2];
  if (p.positions == 1) return accumulateGate<T>("gateStats", args, stats, a, g, labels, p.scale);
  const SampleGate<T> gate("gateStats", args, stats, a, g, labels, p.scale, static_cast<int64_t>(p.positions));
  gate.allSamples();
  gate.finish();
}
void gateStats(const Args& args) {
  args.in[0].dtype == DType::F64 ? gateStatsOf<double>(args) : gateStatsOf<float>(args);
}

}  // namespace

void registerNeurons(KernelTable& t) {
  t.set(Op::UnitScore, GYRUS_BY_TYPE(unitScore));
  t.set(Op::UnitUtility, GYRUS_BY_TYPE(unitUtility));
  t.set(Op::GateStats, gateStats);
}

}  // namespace gyrus::cpu::GYRUS_ISA
