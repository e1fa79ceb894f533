// Element types. The numbers are part of the wire format between TypeScript and the native side
// (src/tensor/dtype.ts lists the same order).
#pragma once
#include <cstddef>
#include <cstdint>

namespace gyrus {

enum class DType : int { F32 = 0, F64 = 1, I32 = 2, U8 = 3, Bool = 4 };
constexpr int kDTypeCount = 5;

constexpr std::size_t sizeOf(DType d) {
  switch (d) {
    case DType::F32:
    case DType::I32:
      return 4;
    case DType::F64:
      return 8;
    default:
      return 1;
  }
}

constexpr const char* nameOf(DType d) {
  switch (d) {
    case DType::F32:
      return "f32";
    case DType::F64:
      return "f64";
    case DType::I32:
      return "i32";
    case DType::U8:
      return "u8";
    default:
      return "bool";
  }
}

constexpr bool isFloat(DType d) { return d == DType::F32 || d == DType::F64; }

}  // namespace gyrus
