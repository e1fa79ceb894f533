// Naive neuron scores: per unit from its weights, per unit and class from activation and gradient.
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/families.h"
#include "cpu/naive/gate.h"
#include "cpu/naive/rows.h"
#include "kernels/counts.h"
#include "kernels/labels.h"

namespace gyrus::cpu::naive {

template <class T>
void accumulateGate(const char* op, const View& stats, const View& av, const View& gv, const View& lv, double scale,
                    std::int64_t positions) {
  const Rows<float> s(stats);
  const Rows<T> a(av), g(gv);
  const Line<std::int32_t> labels(lv);
  const std::int64_t classes = s.rows - 4;
  for (std::int64_t n = 0; n < labels.n; ++n)
    if (labels[n] < 0 || labels[n] >= classes) throwLabelOutOfRange(op, labels[n], n, classes);
  std::vector<double> sum(static_cast<std::size_t>(s.rows));
  for (std::int64_t k = 0; k < s.cols; ++k) {
    sum.assign(sum.size(), 0.0);
    double* total = sum.data() + classes;
    for (std::int64_t n = 0; n < labels.n; ++n) {
      double score = 0;
      for (std::int64_t m = n * positions; m < (n + 1) * positions; ++m) {
        const double x = a(m, k);
        score += x * g(m, k) * scale;
        total[0] += std::fabs(x) / double(positions);
        total[1] += x / double(positions);
        total[2] += (x == 0) / double(positions);
      }
      sum[static_cast<std::size_t>(labels[n])] += std::fabs(score);
      total[3] += score * score;
    }
    for (std::int64_t c = 0; c < s.rows; ++c) s(c, k) = float(s(c, k) + sum[static_cast<std::size_t>(c)]);
  }
}

template void accumulateGate<float>(const char*, const View&, const View&, const View&, const View&, double,
                                    std::int64_t);
template void accumulateGate<double>(const char*, const View&, const View&, const View&, const View&, double,
                                     std::int64_t);

namespace {

// s [U] (L2Taylor: [2, U]) <- w [U, F] (+ g [U, F])
template <class T>
struct UnitScore {
  static void run(const Args& args) {
    const auto kind = static_cast<ScoreKind>(static_cast<int>(args.as<UnitScoreParams>().kind));
    const Rows<T> w(args.in[0]), g(args.in[args.inputs > 1 ? 1 : 0]);
    const Rows<T> s(args.out[0]);
    for (std::int64_t u = 0; u < s.cols; ++u) {
      double sum = 0, second = 0;
      for (std::int64_t f = 0; f < w.cols; ++f) {
        const double x = w(u, f), xg = x * g(u, f);
        switch (kind) {
          case ScoreKind::L1:
            sum += std::fabs(x);
            break;
          case ScoreKind::L2:
            sum += x * x;
            break;
          case ScoreKind::TaylorWeight:
            sum += xg * xg;
            break;
          case ScoreKind::L2Taylor:
            sum += x * x;
            second += xg * xg;
            break;
          case ScoreKind::TaylorAbsSum:
            sum += xg;
            break;
          default:
            sum += std::fabs(xg);
        }
      }
      if (kind == ScoreKind::L2 || kind == ScoreKind::L2Taylor) sum = std::sqrt(sum);
      if (kind == ScoreKind::TaylorAbsSum) sum = std::fabs(sum);
      s(0, u) = T(sum);
      if (kind == ScoreKind::L2Taylor) s(1, u) = T(second);
    }
  }
};

// score [K], u, age [K] <- activity, outgoing [K]
template <class T>
struct UnitUtility {
  static void run(const Args& args) {
    const double decay = args.as<UnitUtilityParams>().decay;
    const Line<T> score(args.out[0]), u(args.out[1]), age(args.out[2]), activity(args.in[0]), outgoing(args.in[1]);
    for (std::int64_t k = 0; k < u.n; ++k) {
      u[k] = T(decay * u[k] + (1 - decay) * activity[k] * outgoing[k]);
      age[k] += 1;
      score[k] = T(u[k] / (1 - std::pow(decay, double(age[k]))));
    }
  }
};

// stats f32 [C + 4, K] <- a, g [M, K], labels [M / positions]
void gateStats(const Args& args) {
  const auto& p = args.as<GateStatsParams>();
  const ActiveUnits units(args);
  const auto positions = static_cast<std::int64_t>(p.positions);
  if (args.in[0].dtype == DType::F64)
    accumulateGate<double>("gateStats", units.stats, units.a, units.g, args.in[2], p.scale, positions);
  else
    accumulateGate<float>("gateStats", units.stats, units.a, units.g, args.in[2], p.scale, positions);
}

}  // namespace

void registerNeurons(KernelTable& t) {
  t.set(Op::UnitScore, byType<UnitScore>);
  t.set(Op::UnitUtility, byType<UnitUtility>);
  t.set(Op::GateStats, gateStats);
}

}  // namespace gyrus::cpu::naive
