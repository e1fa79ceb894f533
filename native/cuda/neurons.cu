// Neuron scores: of a unit from its weights, and the running utility. (Gate scores: gate.cu)
#include <cmath>

#include "cuda/families.h"
#include "cuda/rows.cuh"

namespace gyrus::cuda {
namespace {

// What a weight adds to the first and second sum of a kind.
template <class T>
struct ScoreTerm {
  ScoreKind kind;
  bool taylor;

  __device__ void operator()(T w, T g, T& first, T& second) const {
    const T wg = w * g;
    switch (kind) {
      case ScoreKind::L1:
        first += fabs(w);
        return;
      case ScoreKind::L2:
        first = fma(w, w, first);
        return;
      case ScoreKind::TaylorWeight:
        first = fma(wg, wg, first);
        return;
      case ScoreKind::L2Taylor:
        first = fma(w, w, first);
        second = fma(wg, wg, second);
        return;
      case ScoreKind::TaylorAbsSum:
        first += wg;
        return;
      default:  // TaylorSumAbs
        first += fabs(wg);
    }
  }
};

// s [U] (L2Taylor: [2, U]) <- w [U, F], g [U, F] or w again
template <class T, class Team, int V>
__global__ void __launch_bounds__(kRowBlock) unitScoreKernel(T* s, std::int64_t unitStep, std::int64_t kindStep,
                                                             const T* w, const T* g, RowSet<2> set, ScoreTerm<T> term) {
  eachRow<Team>(set.rows, set.cols, [&](std::int64_t row, std::int64_t cols) {
    std::int64_t at[2];
    set.start.offsets(row, at);
    T first = 0, second = 0;
    eachPack<Team, V, 0>(cols, [&](int, std::int64_t c) {
      const Pack<T, V> x = loadPack<V>(w + at[0], c, set.stride[0]);
      Pack<T, V> y = x;
      if (term.taylor) y = loadPack<V>(g + at[1], c, set.stride[1]);
#pragma unroll
      for (int v = 0; v < V; ++v) term(x.v[v], y.v[v], first, second);
    });
    first = Team::reduce(first, Sum{});
    second = Team::reduce(second, Sum{});
    if (Team::rank() != 0 || cols < set.cols) return;
    if (term.kind == ScoreKind::L2 || term.kind == ScoreKind::L2Taylor) first = sqrt(first);
    if (term.kind == ScoreKind::TaylorAbsSum) first = fabs(first);
    s[row * unitStep] = first;
    if (term.kind == ScoreKind::L2Taylor) s[row * unitStep + kindStep] = second;
  });
}

template <class T>
void unitScoreOf(const Args& args, ScoreKind kind) {
  const View &s = args.out[0], &w = args.in[0], &g = args.in[args.inputs > 1 ? 1 : 0];
  const View* const v[2] = {&w, &g};
  const RowSet<2> set(v);
  if (set.rows == 0) return;
  const ScoreTerm<T> term{kind, args.inputs > 1};
  const std::int64_t unitStep = s.stride[s.rank - 1], kindStep = s.rank > 1 ? s.stride[0] : 0;
  set.template byTeam<T>([&]<class Team, int V, int>() {
    GYRUS_LAUNCH(set.template blocks<Team>(), kRowBlock, 0, (unitScoreKernel<T, Team, V>), s.as<T>(), unitStep,
                 kindStep, w.as<T>(), g.as<T>(), set, term);
  });
}

// s [U] (L2Taylor: [2, U]) <- w [U, F] (+ g [U, F])
void unitScore(const Args& args) {
  const auto kind = static_cast<ScoreKind>(static_cast<int>(args.as<UnitScoreParams>().kind));
  byFloat(args.out[0].dtype, [&]<class T>() { unitScoreOf<T>(args, kind); });
}

// In f64 throughout: there is one number to a neuron.
template <class T>
__global__ void __launch_bounds__(kRowBlock)
    unitUtilityKernel(Line<T> score, Line<T> utility, Line<T> age, Line<T> activity, Line<T> outgoing, std::int64_t n,
                      double decay, double logDecay) {
  for (std::int64_t k = std::int64_t{blockIdx.x} * kRowBlock + threadIdx.x; k < n;
       k += std::int64_t{gridDim.x} * kRowBlock) {
    const double u = static_cast<double>(utility[k]), a = static_cast<double>(activity[k]);
    const T next = static_cast<T>(decay * u + (1 - decay) * a * static_cast<double>(outgoing[k]));
    const T t = age[k] + T(1);
    utility[k] = next;
    age[k] = t;
    // 1 - decay^t, which loses nothing where the power is near 1
    score[k] = static_cast<T>(static_cast<double>(next) / -expm1(static_cast<double>(t) * logDecay));
  }
}

// score [K], u, age [K] <- activity, outgoing [K]
void unitUtility(const Args& args) {
  const double decay = args.as<UnitUtilityParams>().decay;
  const std::int64_t n = args.out[0].shape[0];
  if (n == 0) return;
  byFloat(args.out[0].dtype, [&]<class T>() {
    GYRUS_LAUNCH(blocksFor(n, kRowBlock), kRowBlock, 0, unitUtilityKernel<T>, Line<T>(args.out[0]),
                 Line<T>(args.out[1]), Line<T>(args.out[2]), Line<T>(args.in[0]), Line<T>(args.in[1]), n, decay,
                 std::log(decay));
  });
}

}  // namespace

void registerNeurons(KernelTable& t) {
  t.set(Op::UnitScore, unitScore);
  t.set(Op::UnitUtility, unitUtility);
}

}  // namespace gyrus::cuda
