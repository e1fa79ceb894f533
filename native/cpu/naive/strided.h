// Element access for the naive movement, elementwise and reduction kernels: any dtype goes through double, which holds
// every f32, i32, u8 and bool exactly. Slow and plain on purpose: these kernels are the oracle of the tests.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/view.h"
#include "kernels/contract.h"

namespace gyrus::cpu::naive {

// Truncates towards zero and saturates; NaN gives 0.
inline double toInteger(double x, double lo, double hi) {
  if (std::isnan(x)) return 0;
  return x <= lo ? lo : x >= hi ? hi : std::trunc(x);
}

inline double fetch(const View& v, std::int64_t offset) {
  switch (v.dtype) {
    case DType::F32:
      return v.as<float>()[offset];
    case DType::F64:
      return v.as<double>()[offset];
    case DType::I32:
      return v.as<std::int32_t>()[offset];
    case DType::U8:
      return v.as<std::uint8_t>()[offset];
    default:
      return v.as<std::uint8_t>()[offset] != 0;
  }
}

// Stores x as the view's dtype, with the casts of CopyParams.
inline void put(const View& v, std::int64_t offset, double x) {
  switch (v.dtype) {
    case DType::F32:
      v.as<float>()[offset] = static_cast<float>(x);
      break;
    case DType::F64:
      v.as<double>()[offset] = x;
      break;
    case DType::I32:
      v.as<std::int32_t>()[offset] = static_cast<std::int32_t>(toInteger(x, -2147483648.0, 2147483647.0));
      break;
    case DType::U8:
      v.as<std::uint8_t>()[offset] = static_cast<std::uint8_t>(toInteger(x, 0, 255));
      break;
    default:
      v.as<std::uint8_t>()[offset] = x != 0;
  }
}

// int32 arithmetic wraps.
inline std::int32_t wrap(std::int64_t x) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(x)); }

// A position that walks through a shape in row-major order and knows its coordinates.
class Walk {
 public:
  explicit Walk(const View& shape) : v_(shape), left_(shape.size()) {}
  bool done() const { return left_ == 0; }
  void next() {
    --left_;
    for (int d = v_.rank - 1; d >= 0; --d) {
      if (++at[d] < v_.shape[d]) return;
      at[d] = 0;
    }
  }
  // Element offset of this position in another view; coordinates `from..to` only (all of them by default).
  std::int64_t in(const View& v, int from = 0, int to = kMaxRank) const {
    std::int64_t offset = 0;
    for (int d = from; d < v.rank && d < to; ++d) offset += at[d] * v.stride[d];
    return offset;
  }

  std::int64_t at[kMaxRank] = {};

 private:
  View v_;
  std::int64_t left_;
};

// y f32 [B, F] <- x, index (data.cpp)
void gatherRows(const Args& args);

}  // namespace gyrus::cpu::naive
