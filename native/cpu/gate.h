// Gate scores: sums over the samples m of |a g| per class and of |a|, a, (a == 0), (a g)^2, per unit k. Used by
// gateStats and as the epilogue of linearGradInput and conv2dGradInput, so that all give the same bits.
#pragma once
#include "cpu/rows.h"
#include "kernels/labels.h"

namespace gyrus::cpu::GYRUS_ISA {

// The rows of stats below those of the classes: |a|, a, (a == 0), (a g)^2.
constexpr int kGateTotals = 4;

constexpr int64_t kGateColumns = 256;  // taken at a time; a multiple of every vector

// Columns [k, k + cols) of stats [C + 4, K], a, g [M, K], cols a multiple of N, at most kGateColumns. Rows stream
// through four at a time and the sums stay in L1; the order over m is fixed. The totals are summed over the rows on
// their own and added to those in stats once, since small parts would be lost one by one in a large total.
template <int R>
GYRUS_INLINE void gateRows(const Rows<float>& stats, const Rows<float>& a, const Rows<float>& g, const int32_t* labels,
                           int64_t label_step, VecF scale, int64_t m, int64_t k, int64_t cols, float* totals) {
  const VecF one = VecF::broadcast(1.0f), zero = VecF::zero();
  const float *const am = a.row(m) + k, *const gm = g.row(m) + k;
  const int64_t lda = a.ld, ldg = g.ld;
  float* of_class[R];
  for (int r = 0; r < R; ++r) of_class[r] = stats.row(labels[(m + r) * label_step]) + k;
  for (int64_t c = 0; c < cols; c += VecF::N) {
    VecF absolute = zero, sum = zero, zeros = zero, squares = zero;
    for (int r = 0; r < R; ++r) {
      const VecF x = VecF::load(am + r * lda + c), score = x * (VecF::load(gm + r * ldg + c) * scale);
      float* const p = of_class[r] + c;
      (VecF::load(p) + abs(score)).store(p);
      absolute = absolute + abs(x);
      sum = sum + x;
      zeros = zeros + select(x == zero, one, zero);
      squares = fma(score, score, squares);
    }
    float* p = totals + c;
    for (const VecF add : {absolute, sum, zeros, squares}) {
      (VecF::load(p) + add).store(p);
      p += kGateColumns;
    }
  }
}
GYRUS_INLINE void gateColumns(const Rows<float>& stats, const Rows<float>& a, const Rows<float>& g,
                              const int32_t* labels, int64_t label_step, VecF scale, int64_t k, int64_t cols) {
  float totals[kGateTotals * kGateColumns] = {};
  int64_t m = 0;
  for (; m + 4 <= a.rows; m += 4) gateRows<4>(stats, a, g, labels, label_step, scale, m, k, cols, totals);
  for (; m < a.rows; ++m) gateRows<1>(stats, a, g, labels, label_step, scale, m, k, cols, totals);
  for (int i = 0; i < kGateTotals; ++i) {
    float* p = stats.row(stats.rows - kGateTotals + i) + k;
    for (int64_t c = 0; c < cols; c += VecF::N)
      (VecF::load(p + c) + VecF::load(totals + i * kGateColumns + c)).store(p + c);
  }
}

// One column, one number at a time: the tail of f32, and f64.
template <class T>
GYRUS_INLINE void gateColumn(const Rows<float>& stats, const Rows<T>& a, const Rows<T>& g, const int32_t* labels,
                             int64_t label_step, T scale, int64_t k) {
  T absolute = 0, sum = 0, zeros = 0, squares = 0;
  for (int64_t m = 0; m < a.rows; ++m) {
    const T x = a.row(m)[k], score = x * (g.row(m)[k] * scale);
    stats.row(labels[m * label_step])[k] += static_cast<float>(score < 0 ? -score : score);
    absolute += x < 0 ? -x : x;
    sum += x;
    zeros += x == 0;
    squares += score * score;
  }
  float* total = stats.row(stats.rows - kGateTotals) + k;
  for (const T add : {absolute, sum, zeros, squares}) {
    *total += static_cast<float>(add);
    total += stats.ld;
  }
}

// stats f32 [C + 4, K] <- a, g [M, K], labels i32 [M]. A label out of range throws before anything is written.
template <class T>
void accumulateGate(const char* op, const Args& args, const View& stats_view, const View& a_view, const View& g_view,
                    const View& labels_view, double scale) {
  const Rows<float> stats = readRows<float>(args, stats_view);
  const Rows<T> a = readRows<T>(args, a_view), g = readRows<T>(args, g_view);
  const int32_t* labels = labels_view.as<int32_t>();
  const int64_t step = labels_view.rank > 0 ? labels_view.stride[0] : 0, classes = stats.rows - kGateTotals;
  for (int64_t m = 0; m < a.rows; ++m)
    if (labels[m * step] < 0 || labels[m * step] >= classes) throwLabelOutOfRange(op, labels[m * step], m, classes);

  // Rows of stats that are 4 KiB apart fall on the same few places of L1: then the sums are kept in scratch, padded.
  const bool crowded = stats.ld % 1024 == 0 && stats.rows <= 64;
  Rows<float> sums = stats;
  if (crowded) {
    sums.ld = stats.cols + 16;
    sums.data = take<float>(args, stats.rows * sums.ld);
  }
  constexpr int64_t block = kGateColumns;
  parallelRange(ceilDiv(stats.cols, block), a.rows * block * 4, [&](int64_t from, int64_t to) {
    const int64_t end = minOf(stats.cols, to * block);
    int64_t k = from * block;
    if (crowded)
      for (int64_t r = 0; r < stats.rows; ++r)
        for (int64_t c = k; c < end; ++c) sums.row(r)[c] = stats.row(r)[c];
    if constexpr (sizeof(T) == 4) {
      const VecF s = VecF::broadcast(static_cast<float>(scale));
      const int64_t whole = (end - k) / VecF::N * VecF::N;
      for (const int64_t stop = k + whole; k < stop;) {
        const int64_t cols = minOf(block, stop - k);
        gateColumns(sums, a, g, labels, step, s, k, cols);
        k += cols;
      }
    }
    for (; k < end; ++k) gateColumn<T>(sums, a, g, labels, step, static_cast<T>(scale), k);
    if (crowded)
      for (int64_t r = 0; r < stats.rows; ++r)
        for (int64_t c = from * block; c < end; ++c) stats.row(r)[c] = sums.row(r)[c];
  });
  stats.flush();
}

// Samples of several rows each (the pixels of an image): first the sums of every sample on their own, which a kernel
// can do as soon as it has stored one, then those over the samples in their order.
template <class T>
class SampleGate {
 public:
  // stats f32 [C + 4, K], a, g [N * positions, K], labels i32 [N]. A label out of range throws.
  SampleGate(const char* op, const Args& args, const View& stats, const View& a, const View& g, const View& labels,
             double scale, int64_t positions)
      : stats_(readRows<float>(args, stats)),
        a_(readRows<T>(args, a)),
        g_(readRows<T>(args, g)),
        labels_(labels.as<int32_t>()),
        label_step_(labels.stride[0]),
        samples_(labels.shape[0]),
        positions_(positions),
        scale_(static_cast<T>(scale)) {
    const int64_t classes = stats_.rows - kGateTotals;
    for (int64_t n = 0; n < samples_; ++n)
      if (label(n) < 0 || label(n) >= classes) throwLabelOutOfRange(op, label(n), n, classes);
    sums_ = take<T>(args, samples_ * 4 * a_.cols);
  }

  // g's rows must be final.
  void samples(int64_t from, int64_t to) const {
    for (int64_t n = from; n < to; ++n) {
      int64_t k = 0;
      for (; k + 2 * V::N <= a_.cols; k += 2 * V::N) columns<2>(n, k, V::N);
      for (; k < a_.cols; k += V::N) columns<1>(n, k, static_cast<int>(minOf(V::N, a_.cols - k)));
    }
  }
  void allSamples() const {
    parallelRange(samples_, positions_ * a_.cols * 4, [&](int64_t from, int64_t to) { samples(from, to); });
  }
  void finish() const {
    if (positions_ == 0) return;
    parallelRange(a_.cols, samples_ * 8, [&](int64_t from, int64_t to) {
      const T part = T(1) / static_cast<T>(positions_);
      for (int64_t k = from; k < to; ++k) {
        T total[kGateTotals] = {};
        for (int64_t n = 0; n < samples_; ++n) {
          const T* sum = sums_ + n * 4 * a_.cols + k;
          stats_.row(label(n))[k] += static_cast<float>(sum[0] < 0 ? -sum[0] : sum[0]);
          for (int i = 0; i < 3; ++i) total[i] += sum[(i + 1) * a_.cols] * part;
          total[3] += sum[0] * sum[0];
        }
        for (int i = 0; i < kGateTotals; ++i)
          stats_.row(stats_.rows - kGateTotals + i)[k] += static_cast<float>(total[i]);
      }
    });
    stats_.flush();
  }

 private:
  using V = Vec<T>;
  int32_t label(int64_t n) const { return labels_[n * label_step_]; }

  // Sums over the positions of sample n, of W vectors of columns from k on.
  template <int W>
  GYRUS_INLINE void columns(int64_t n, int64_t k, int lanes) const {
    V sum[4][W];
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < W; ++j) sum[i][j] = V::zero();
    const V one = V::broadcast(T(1)), scale = V::broadcast(scale_);
    for (int64_t m = n * positions_; m < (n + 1) * positions_; ++m)
      for (int j = 0; j < W; ++j) {
        const V x = load(a_.row(m) + k + j * V::N, lanes), g = load(g_.row(m) + k + j * V::N, lanes);
        sum[0][j] = fma(x, g * scale, sum[0][j]);
        sum[1][j] = sum[1][j] + abs(x);
        sum[2][j] = sum[2][j] + x;
        sum[3][j] = sum[3][j] + select(x == V::zero(), one, V::zero());
      }
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < W; ++j) store(sum[i][j], sums_ + (n * 4 + i) * a_.cols + k + j * V::N, lanes);
  }

  Rows<float> stats_;
  Rows<T> a_, g_;
  const int32_t* labels_;
  int64_t label_step_, samples_, positions_;
  T scale_;
  T* sums_;
};

}  // namespace gyrus::cpu::GYRUS_ISA
