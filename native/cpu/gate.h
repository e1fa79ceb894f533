// Gate scores: sums over the samples m of |a g| per class and of |a|, a, (a == 0), per unit k. Used by gateStats and as
// the epilogue of linearGradInput, so that both give the same bits.
#pragma once
#include "cpu/rows.h"
#include "kernels/labels.h"

namespace gyrus::cpu::GYRUS_ISA {

// Columns [k, k + V * N) of stats [C + 3, K], a, g [M, K]; V vectors in registers, the order over m is fixed.
template <int V>
GYRUS_INLINE void gateColumns(const Rows<float>& stats, const Rows<float>& a, const Rows<float>& g,
                              const int32_t* labels, int64_t label_step, VecF scale, int64_t k) {
  VecF absolute[V], sum[V], zeros[V];
  for (int j = 0; j < V; ++j) absolute[j] = sum[j] = zeros[j] = VecF::zero();
  const VecF one = VecF::broadcast(1.0f);
  for (int64_t m = 0; m < a.rows; ++m) {
    const float* am = a.row(m) + k;
    const float* gm = g.row(m) + k;
    float* of_class = stats.row(labels[m * label_step]) + k;
    for (int j = 0; j < V; ++j) {
      const VecF x = VecF::load(am + j * VecF::N);
      const VecF score = abs(x * (VecF::load(gm + j * VecF::N) * scale));
      (VecF::load(of_class + j * VecF::N) + score).store(of_class + j * VecF::N);
      absolute[j] = absolute[j] + abs(x);
      sum[j] = sum[j] + x;
      zeros[j] = zeros[j] + select(x == VecF::zero(), one, VecF::zero());
    }
  }
  const VecF* totals[3] = {absolute, sum, zeros};
  for (int i = 0; i < 3; ++i) {
    float* total = stats.row(stats.rows - 3 + i) + k;
    for (int j = 0; j < V; ++j) (VecF::load(total + j * VecF::N) + totals[i][j]).store(total + j * VecF::N);
  }
}

// One column, one number at a time: the tail of f32, and f64.
template <class T>
GYRUS_INLINE void gateColumn(const Rows<float>& stats, const Rows<T>& a, const Rows<T>& g, const int32_t* labels,
                             int64_t label_step, T scale, int64_t k) {
  T absolute = 0, sum = 0, zeros = 0;
  for (int64_t m = 0; m < a.rows; ++m) {
    const T x = a.row(m)[k], score = x * (g.row(m)[k] * scale);
    stats.row(labels[m * label_step])[k] += static_cast<float>(score < 0 ? -score : score);
    absolute += x < 0 ? -x : x;
    sum += x;
    zeros += x == 0;
  }
  float* total = stats.row(stats.rows - 3) + k;
  total[0] += static_cast<float>(absolute);
  total[stats.ld] += static_cast<float>(sum);
  total[2 * stats.ld] += static_cast<float>(zeros);
}

// stats f32 [C + 3, K] <- a, g [M, K], labels i32 [M]. A label out of range throws before anything is written.
template <class T>
void accumulateGate(const char* op, const Args& args, const View& stats_view, const View& a_view, const View& g_view,
                    const View& labels_view, double scale) {
  const Rows<float> stats = readRows<float>(args, stats_view);
  const Rows<T> a = readRows<T>(args, a_view), g = readRows<T>(args, g_view);
  const int32_t* labels = labels_view.as<int32_t>();
  const int64_t step = labels_view.rank > 0 ? labels_view.stride[0] : 0, classes = stats.rows - 3;
  for (int64_t m = 0; m < a.rows; ++m)
    if (labels[m * step] < 0 || labels[m * step] >= classes) throwLabelOutOfRange(op, labels[m * step], m, classes);

  constexpr int64_t block = 64;  // columns of a piece of work; a multiple of every vector
  parallelRange(divUp(stats.cols, block), a.rows * block * 4, [&](int64_t from, int64_t to) {
    const int64_t end = least(stats.cols, to * block);
    int64_t k = from * block;
    if constexpr (sizeof(T) == 4) {
      const VecF s = VecF::broadcast(static_cast<float>(scale));
      for (; k + 4 * VecF::N <= end; k += 4 * VecF::N) gateColumns<4>(stats, a, g, labels, step, s, k);
      for (; k + VecF::N <= end; k += VecF::N) gateColumns<1>(stats, a, g, labels, step, s, k);
    }
    for (; k < end; ++k) gateColumn<T>(stats, a, g, labels, step, static_cast<T>(scale), k);
  });
  stats.flush();
}

}  // namespace gyrus::cpu::GYRUS_ISA
