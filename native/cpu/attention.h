// What forward and backward attention share: heads as strided matrices, packing and the exponential of a score.
#pragma once
#include "cpu/math.h"
#include "cpu/product.h"
#include "cpu/slots.h"
#include "cpu/transpose.h"

namespace gyrus::cpu::GYRUS_ISA {

// [B, T, H, D] with unit stride along D. A view that hasn't got it is copied; an output of that kind comes back by
// flush().
template <class T>
struct Heads {
  T* data;
  int64_t sample, time, head;  // strides
  Rows<T> rows;

  Heads(const Args& args, const View& v, bool read)
      : data(v.as<T>()), sample(v.stride[0]), time(v.stride[1]), head(v.stride[2]), rows(lineOf(args, v, read)) {
    if (!rows.copied) return;
    data = rows.data;
    head = v.shape[3];
    time = v.shape[2] * head;
    sample = v.shape[1] * time;
  }
  GYRUS_INLINE T* at(int64_t b, int64_t h) const { return data + b * sample + h * head; }
  void flush() const { rows.flush(); }

 private:
  // Rows copies what doesn't collapse into a matrix, which is not needed here: only the last axis must be dense.
  static Rows<T> lineOf(const Args& args, const View& v, bool read) {
    if (v.stride[3] != 1 && v.shape[3] > 1) return Rows<T>(args, v, read);
    View line = v;
    line.rank = 1;
    line.shape[0] = v.shape[3];
    line.stride[0] = 1;
    return Rows<T>(args, line, false);
  }
};

template <class T>
GYRUS_INLINE int64_t padded(int64_t n) {
  return ceilDiv(n, Vec<T>::N) * Vec<T>::N;
}

// to [cols, ld] = factor * from^T, from [rows, cols]; columns rows..ld - 1 become 0.
template <class T>
inline void packTransposed(const T* from, int64_t stride, int64_t rows, int64_t cols, T factor, T* to, int64_t ld) {
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t r = rows; r < ld; ++r) to[c * ld + r] = 0;
  int64_t r = 0;
#if GYRUS_VEC_AVX2 || GYRUS_VEC_AVX512
  if constexpr (sizeof(T) == 4) {
    const auto scaled = [f = _mm256_set1_ps(factor)](__m256 v) GYRUS_INLINED { return _mm256_mul_ps(v, f); };
    for (; r + 8 <= rows; r += 8) {
      int64_t c = 0;
      for (; c + 8 <= cols; c += 8)
        Block<float, 8>::transpose(from + r * stride + c, stride, to + c * ld + r, ld, scaled);
      for (; c < cols; ++c)
        for (int64_t i = r; i < r + 8; ++i) to[c * ld + i] = from[i * stride + c] * factor;
    }
  }
#endif
  for (; r < rows; ++r)
    for (int64_t j = 0; j < cols; ++j) to[j * ld + r] = from[r * stride + j] * factor;
}

// Asks for the rows of a head ahead of their use: they are `stride` apart, which no prefetcher of the hardware follows.
template <class T>
GYRUS_INLINE void fetchRows(const T* from, int64_t stride, int64_t rows, int64_t cols) {
  constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; c += line) __builtin_prefetch(from + r * stride + c);
}

// to [rows, ld] = from [rows, cols]; columns cols..ld - 1 become 0.
template <class T>
inline void packRows(const T* from, int64_t stride, int64_t rows, int64_t cols, T* to, int64_t ld) {
  for (int64_t r = 0; r < rows; ++r)
    eachVector<T>(cols, [&](int64_t c, int lanes) { load(from + r * stride + c, lanes).store(to + r * ld + c); });
}

// exp(x) for x <= 88: a score less its row's maximum or logarithmic sum. What would be denormal is 0.
GYRUS_INLINE VecF expScore(VecF x) {
  const VecF y = expOfNormal(max(constant(-87.0f), x));  // the operand order hands NaN on
  return select(x < constant(-87.0f), VecF::zero(), y);
}
GYRUS_INLINE VecD expScore(VecD x) { return exp(x); }

GYRUS_INLINE float logOf(float x) { return ::logf(x); }
GYRUS_INLINE double logOf(double x) { return ::log(x); }
GYRUS_INLINE float expOf(float x) { return ::expf(x); }
GYRUS_INLINE double expOf(double x) { return ::exp(x); }

// Extent of the blocks that [0, n) is cut into: at most `limit`, about equal, whole multiples of `step`.
GYRUS_INLINE int64_t blockOf(int64_t n, int64_t limit, int64_t step) {
  const int64_t each = ceilDiv(n, maxOf(1, ceilDiv(n, limit)));
  return minOf(maxOf(1, n), ceilDiv(maxOf(1, each), step) * step);
}

}  // namespace gyrus::cpu::GYRUS_ISA
