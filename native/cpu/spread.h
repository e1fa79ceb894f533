// Lines of the active neurons' numbers, spread out to where a list says with zeros in between. Each vector of the
// compact line owns a stretch of the full one, which is written as whole vectors: its lanes in their new places, zeros
// elsewhere. Since a list ascends, no stretch but the last can be shorter than a vector.
#pragma once
#include "cpu/lists.h"

namespace gyrus::cpu::GYRUS_ISA {

template <class T>
class Spread {
 public:
  static constexpr int VN = Vec<T>::N;

  // Of nothing where there is no list.
  Spread(const Args& args, const Active& active) {
    if (!active.list) return;
    const int64_t vectors = ceilDiv(active.count, VN);
    first_ = take<int32_t>(args, vectors + 1);
    steps_ = take<Step>(args, active.size / VN + 2 * vectors);
    int32_t n = 0;
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t begin = v * VN, end = minOf(active.count, begin + VN);
      const int64_t from = v == 0 ? 0 : active.list[begin], to = end < active.count ? active.list[end] : active.size;
      first_[v] = n;
      for (int64_t p = from; p < to; p += VN) {
        // The last vector reaches back into the stretch rather than beyond it.
        const int64_t at = maxOf(from, minOf(p, to - VN));
        Step& step = steps_[n++];
        step.at = at;
        step.width = static_cast<int>(minOf(VN, to - at));
        for (int i = 0; i < VN; ++i) step.source[i] = -1;
        for (int64_t i = begin; i < end; ++i)
          if (active.list[i] >= at && active.list[i] < at + step.width)
            step.source[active.list[i] - at] = static_cast<int32_t>(i - begin);
      }
    }
    first_[vectors] = n;
  }

  // Vector v of some compact lines, at `compact` and `ld` apart, to its stretch of the full lines: line(i) of the i-th.
  template <class Line>
  GYRUS_INLINE void store(int64_t v, int lines, const T* compact, int64_t ld, Line&& line) const {
    for (int32_t s = first_[v]; s < first_[v + 1]; ++s) {
      const Step& step = steps_[s];
      for (int i = 0; i < lines; ++i) GYRUS_ISA::store(moved(compact + i * ld, step), line(i) + step.at, step.width);
    }
  }

 private:
  struct Step {
    int64_t at;
    int width;
    int32_t source[VN];  // lane of the compact vector that comes to each lane, -1 for a zero
  };
  int32_t* first_ = nullptr;  // step of each vector
  Step* steps_ = nullptr;

  static GYRUS_INLINE Vec<T> moved(const T* from, const Step& step) {
#if GYRUS_VEC_AVX2
    if constexpr (sizeof(T) == 4) {
      const __m256i source = Vec<int32_t>::load(step.source).v;
      const __m256 kept = _mm256_castsi256_ps(_mm256_cmpgt_epi32(source, _mm256_set1_epi32(-1)));
      return {_mm256_and_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(from), source), kept)};
    }
#elif GYRUS_VEC_AVX512
    if constexpr (sizeof(T) == 4) {
      const __m512i source = Vec<int32_t>::load(step.source).v;
      const __mmask16 kept = _mm512_cmpgt_epi32_mask(source, _mm512_set1_epi32(-1));
      return {_mm512_maskz_permutexvar_ps(kept, source, _mm512_loadu_ps(from))};
    }
#endif
    T to[VN];
    for (int i = 0; i < VN; ++i) to[i] = step.source[i] < 0 ? T(0) : from[step.source[i]];
    return Vec<T>::load(to);
  }
};

}  // namespace gyrus::cpu::GYRUS_ISA
