// Casts between the dtypes, with the rules of CopyParams: float to integer truncates and saturates, NaN gives 0, and a
// bool is x != 0.
#pragma once
#include "core/dtype.h"
#include "cpu/loops.h"

namespace gyrus::cpu::GYRUS_ISA {

struct Boolean {
  uint8_t v;
};

template <class To>
struct Cast {
  template <class From>
  static GYRUS_INLINE To from(From x) {
    return static_cast<To>(x);
  }
  static GYRUS_INLINE To from(Boolean x) { return static_cast<To>(x.v != 0); }
};
template <>
struct Cast<int32_t> {
  static GYRUS_INLINE int32_t from(double x) {
    return x != x ? 0 : x <= -2147483648.0 ? INT32_MIN : x >= 2147483647.0 ? INT32_MAX : static_cast<int32_t>(x);
  }
  static GYRUS_INLINE int32_t from(float x) { return from(static_cast<double>(x)); }
  static GYRUS_INLINE int32_t from(int32_t x) { return x; }
  static GYRUS_INLINE int32_t from(uint8_t x) { return x; }
  static GYRUS_INLINE int32_t from(Boolean x) { return x.v != 0; }
};
template <>
struct Cast<uint8_t> {
  template <class From>
  static GYRUS_INLINE uint8_t from(From x) {
    return x > From(0) ? x < From(255) ? static_cast<uint8_t>(x) : uint8_t{255} : uint8_t{0};
  }
  static GYRUS_INLINE uint8_t from(Boolean x) { return x.v != 0; }
};
template <>
struct Cast<Boolean> {
  template <class From>
  static GYRUS_INLINE Boolean from(From x) {
    return {static_cast<uint8_t>(x != From(0))};
  }
  static GYRUS_INLINE Boolean from(Boolean x) { return {static_cast<uint8_t>(x.v != 0)}; }
};

template <class To, class From>
inline void castBlock(void* y, const void* x, int64_t n) {
  To* out = static_cast<To*>(y);
  const From* in = static_cast<const From*>(x);
  for (int64_t i = 0; i < n; ++i) out[i] = Cast<To>::from(in[i]);
}

using CastFn = void (*)(void*, const void*, int64_t);

template <class To>
inline CastFn castTo(DType from) {
  switch (from) {
    case DType::F32:
      return castBlock<To, float>;
    case DType::F64:
      return castBlock<To, double>;
    case DType::I32:
      return castBlock<To, int32_t>;
    case DType::U8:
      return castBlock<To, uint8_t>;
    default:
      return castBlock<To, Boolean>;
  }
}

inline CastFn castFn(DType to, DType from) {
  switch (to) {
    case DType::F32:
      return castTo<float>(from);
    case DType::F64:
      return castTo<double>(from);
    case DType::I32:
      return castTo<int32_t>(from);
    case DType::U8:
      return castTo<uint8_t>(from);
    default:
      return castTo<Boolean>(from);
  }
}

}  // namespace gyrus::cpu::GYRUS_ISA
