// Messages of the errors that movement and random kernels find in values (indices, weights). Compiled once, so that
// kernel files built per instruction set instantiate no std:: template themselves.
#pragma once
#include <cstdint>

namespace gyrus {

// Throws Error(Shape): "gather: index 7 is outside 0..4".
[[noreturn]] void throwIndexOutOfRange(const char* op, std::int64_t index, std::int64_t size);

// Throws Error(Shape): "linear: outputs: expected strictly ascending indices, got one that is not at 3".
[[noreturn]] void throwNotAscending(const char* op, const char* what, std::int64_t at);

// Throws Error(Config): "categorical: weights of row 3 must be finite, non-negative and not all zero".
[[noreturn]] void throwBadWeights(const char* op, std::int64_t row);

}  // namespace gyrus
