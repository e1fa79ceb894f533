#include "kernels/contract.h"

namespace gyrus {

std::string describeShape(const View& v) {
  std::string text = "[";
  for (int i = 0; i < v.rank; ++i) text += (i ? ", " : "") + std::to_string(v.shape[i]);
  return text + "]";
}

void check(Op, const Args&) {}

}  // namespace gyrus
