// The one message for a label that is no class, thrown by every kernel that takes labels. Compiled once, so that kernel
// files built per instruction set instantiate no std:: template themselves.
#pragma once
#include <cstdint>

namespace gyrus {

// Throws Error(Shape): "crossEntropy: label 10 at row 3 is outside 0..9".
[[noreturn]] void throwLabelOutOfRange(const char* op, std::int64_t label, std::int64_t row, std::int64_t classes);

}  // namespace gyrus
