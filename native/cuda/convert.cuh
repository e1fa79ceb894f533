// Casts between the dtypes, with the rules of CopyParams: float to integer truncates and saturates, NaN gives 0, and a
// bool is x != 0.
#pragma once
#include <climits>

#include "core/dtype.h"
#include "cuda/runtime.h"

namespace gyrus::cuda {

struct Boolean {
  std::uint8_t v;
};

template <class To, class From>
__host__ __device__ __forceinline__ To convert(From x) {
  if constexpr (std::is_same_v<From, Boolean>) {
    return convert<To>(static_cast<std::uint8_t>(x.v != 0));
  } else if constexpr (std::is_same_v<To, Boolean>) {
    return {static_cast<std::uint8_t>(x != From(0))};
  } else if constexpr (std::is_same_v<To, std::uint8_t>) {
    return x > From(0) ? x < From(255) ? static_cast<std::uint8_t>(x) : std::uint8_t{255} : std::uint8_t{0};
  } else if constexpr (std::is_same_v<To, std::int32_t> && std::is_floating_point_v<From>) {
    // 2^31 is a float, 2^31 - 1 isn't.
    return x != x                     ? 0
           : x <= From(-2147483648.0) ? INT_MIN
           : x >= From(2147483648.0)  ? INT_MAX
                                      : static_cast<std::int32_t>(x);
  } else {
    return static_cast<To>(x);
  }
}

// f.template operator()<T>() for the type of a dtype's elements; bool: Boolean.
template <class F>
void byType(DType dtype, F f) {
  switch (dtype) {
    case DType::F32:
      return f.template operator()<float>();
    case DType::F64:
      return f.template operator()<double>();
    case DType::I32:
      return f.template operator()<std::int32_t>();
    case DType::U8:
      return f.template operator()<std::uint8_t>();
    default:
      return f.template operator()<Boolean>();
  }
}

}  // namespace gyrus::cuda
