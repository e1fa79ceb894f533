// Gate scores: sums over the samples m of |a g| per class and of |a|, a, (a == 0), per unit k. Used by gateStats and as
// the epilogue of linearGradInput and conv2dGradInput, so that all give the same bits.
#pragma once
#include "cpu/rows.h"
#include "kernels/labels.h"

namespace gyrus::cpu::GYRUS_ISA {

// Columns [k, k + cols) of stats [C + 3, K], a, g [M, K], cols a multiple of N. Rows stream through two at a time and
// the sums stay in L1; the order over m is fixed.
GYRUS_INLINE void gateColumns(const Rows<float>& stats, const Rows<float>& a, const Rows<float>& g,
                              const int32_t* labels, int64_t label_step, VecF scale, int64_t k, int64_t cols) {
  const VecF one = VecF::broadcast(1.0f), zero = VecF::zero();
  float *absolute = stats.row(stats.rows - 3) + k, *sum = absolute + stats.ld, *zeros = sum + stats.ld;
  const auto addTo = [](float* p, VecF v) { (VecF::load(p) + v).store(p); };
  int64_t m = 0;
  for (; m + 2 <= a.rows; m += 2) {
    const float *a0 = a.row(m) + k, *a1 = a.row(m + 1) + k, *g0 = g.row(m) + k, *g1 = g.row(m + 1) + k;
    float *class0 = stats.row(labels[m * label_step]) + k, *class1 = stats.row(labels[(m + 1) * label_step]) + k;
    for (int64_t c = 0; c < cols; c += VecF::N) {
      const VecF x = VecF::load(a0 + c), y = VecF::load(a1 + c);
      addTo(class0 + c, abs(x * (VecF::load(g0 + c) * scale)));
      addTo(class1 + c, abs(y * (VecF::load(g1 + c) * scale)));
      addTo(absolute + c, abs(x) + abs(y));
      addTo(sum + c, x + y);
      addTo(zeros + c, select(x == zero, one, zero) + select(y == zero, one, zero));
    }
  }
  if (m == a.rows) return;
  const float *am = a.row(m) + k, *gm = g.row(m) + k;
  float* of_class = stats.row(labels[m * label_step]) + k;
  for (int64_t c = 0; c < cols; c += VecF::N) {
    const VecF x = VecF::load(am + c);
    addTo(of_class + c, abs(x * (VecF::load(gm + c) * scale)));
    addTo(absolute + c, abs(x));
    addTo(sum + c, x);
    addTo(zeros + c, select(x == zero, one, zero));
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

  constexpr int64_t block = 256;  // columns of a piece of work; a multiple of every vector
  parallelRange(divUp(stats.cols, block), a.rows * block * 4, [&](int64_t from, int64_t to) {
    const int64_t end = least(stats.cols, to * block);
    int64_t k = from * block;
    if constexpr (sizeof(T) == 4) {
      const VecF s = VecF::broadcast(static_cast<float>(scale));
      const int64_t whole = (end - k) / VecF::N * VecF::N;
      gateColumns(stats, a, g, labels, step, s, k, whole);
      k += whole;
    }
    for (; k < end; ++k) gateColumn<T>(stats, a, g, labels, step, static_cast<T>(scale), k);
  });
  stats.flush();
}

// Samples of several rows each (the pixels of an image): first the sums of every sample on their own, which a kernel
// can do as soon as it has stored one, then those over the samples in their order.
template <class T>
class SampleGate {
 public:
  // stats f32 [C + 3, K], a, g [N * positions, K], labels i32 [N]. A label out of range throws.
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
    const int64_t classes = stats_.rows - 3;
    for (int64_t n = 0; n < samples_; ++n)
      if (label(n) < 0 || label(n) >= classes) throwLabelOutOfRange(op, label(n), n, classes);
    sums_ = take<T>(args, samples_ * 4 * a_.cols);
  }

  // g's rows must be final.
  void samples(int64_t from, int64_t to) const {
    for (int64_t n = from; n < to; ++n) {
      int64_t k = 0;
      for (; k + 2 * V::N <= a_.cols; k += 2 * V::N) columns<2>(n, k, V::N);
      for (; k < a_.cols; k += V::N) columns<1>(n, k, static_cast<int>(least(V::N, a_.cols - k)));
    }
  }
  void allSamples() const {
    parallelRange(samples_, positions_ * a_.cols * 4, [&](int64_t from, int64_t to) { samples(from, to); });
  }
  void finish() const {
    parallelRange(a_.cols, samples_ * 8, [&](int64_t from, int64_t to) {
      const T part = T(1) / static_cast<T>(positions_);
      for (int64_t k = from; k < to; ++k) {
        T total[3] = {0, 0, 0};
        for (int64_t n = 0; n < samples_; ++n) {
          const T* sum = sums_ + n * 4 * a_.cols + k;
          stats_.row(label(n))[k] += static_cast<float>(sum[0] < 0 ? -sum[0] : sum[0]);
          for (int i = 0; i < 3; ++i) total[i] += sum[(i + 1) * a_.cols] * part;
        }
        for (int i = 0; i < 3; ++i) stats_.row(stats_.rows - 3 + i)[k] += static_cast<float>(total[i]);
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
