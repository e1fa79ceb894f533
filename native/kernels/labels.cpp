#include "kernels/labels.h"

#include <string>

#include "core/error.h"

namespace gyrus {

void throwLabelOutOfRange(const char* op, std::int64_t label, std::int64_t row, std::int64_t classes) {
  throw Error(Code::Shape, std::string(op) + ": label " + std::to_string(label) + " at row " + std::to_string(row) +
                               " is outside 0.." + std::to_string(classes - 1));
}

}  // namespace gyrus
