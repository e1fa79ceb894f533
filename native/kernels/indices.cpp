#include "kernels/indices.h"

#include <string>

#include "core/error.h"

namespace gyrus {

void throwIndexOutOfRange(const char* op, std::int64_t index, std::int64_t size) {
  throw Error(Code::Shape, std::string(op) + ": index " + std::to_string(index) +
                               (size > 0 ? " is outside 0.." + std::to_string(size - 1) : " into an empty axis"));
}

void throwNotAscending(const char* op, const char* what, std::int64_t at) {
  throw Error(Code::Shape, std::string(op) + ": " + what +
                               ": expected strictly ascending indices, got one that is not at " + std::to_string(at));
}

void throwBadWeights(const char* op, std::int64_t row) {
  throw Error(Code::Config, std::string(op) + ": weights of row " + std::to_string(row) +
                                " must be finite, non-negative and not all zero");
}

}  // namespace gyrus
