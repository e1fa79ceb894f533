#include "kernels/active.h"

#include <algorithm>

namespace gyrus {

std::int64_t activeCount(const View& count, std::int64_t size) {
  return std::clamp<std::int64_t>(*count.as<std::int32_t>(), 0, size);
}

View leadingBlock(View v, int axis, std::int64_t n) {
  v.shape[axis] = n;
  return v;
}

Args activeBlocks(const Args& args, int fixed, int per) {
  const int count = static_cast<int>(args.record[0]);
  if (args.numbers == fixed + count) return args;
  View* const out = args.scratch->array<View>(args.outputs);
  View* const in = args.scratch->array<View>(args.inputs);
  std::copy_n(args.out, args.outputs, out);
  std::copy_n(args.in, args.inputs, in);
  const double* const counted = args.record + fixed + count;
  for (int j = 0; j < count; ++j)
    for (int axis = 0; axis < 2; ++axis) {
      const auto number = static_cast<int>(counted[2 * j + axis]);
      if (number == 0) continue;
      View* const own = out + j * per;
      const int along = axis == 0 ? 0 : own->rank - 1;
      const std::int64_t n = activeCount(args.in[number], own->shape[along]);
      for (int k = 0; k < per - 2; ++k) own[k] = leadingBlock(own[k], along, n);
      in[1 + j] = leadingBlock(in[1 + j], along, n);
      View& steps = own[per - 2 + axis];
      steps = leadingBlock(steps, 0, n);
    }
  Args cut = args;
  cut.out = out;
  cut.in = in;
  return cut;
}

Args activeColumns(const Args& args) {
  View* const out = args.scratch->array<View>(args.outputs);
  View* const in = args.scratch->array<View>(args.inputs);
  const View& x = args.out[0];
  const std::int64_t n = activeCount(args.in[args.inputs - 1], x.shape[x.rank - 1]);
  for (int i = 0; i < args.outputs; ++i) out[i] = leadingBlock(args.out[i], args.out[i].rank - 1, n);
  for (int i = 0; i + 1 < args.inputs; ++i) in[i] = leadingBlock(args.in[i], args.in[i].rank - 1, n);
  Args cut = args;
  cut.out = out;
  cut.in = in;
  --cut.inputs;
  return cut;
}

}  // namespace gyrus
