#include "kernels/counts.h"

namespace gyrus {

Args activeGradients(const Args& args) {
  Args cut = args;
  cut.inputs = gradientsOf(args);
  if (args.numbers == 0) return cut;
  View* const in = args.scratch->array<View>(cut.inputs);
  for (int j = 0; j < cut.inputs; ++j) {
    in[j] = args.in[j];
    for (int axis = 0; axis < 2; ++axis) {
      const auto number = static_cast<int>(args.record[2 * j + axis]);
      const int along = axis == 0 ? 0 : in[j].rank - 1;
      if (number > 0) in[j] = leadingBlock(in[j], along, activeCount(args.in[number], in[j].shape[along]));
    }
  }
  cut.in = in;
  return cut;
}

}  // namespace gyrus
