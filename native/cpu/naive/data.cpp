// Naive data kernels: a batch gathered from a stored data set.
#include <cstdint>

#include "cpu/naive/strided.h"
#include "kernels/indices.h"

namespace gyrus::cpu::naive {

// y f32 [B, F] <- x (u8|f32) [N, F], index i32 [B];  y[b] = x[index[b]] * scale + shift
void gatherRows(const Args& args) {
  const auto& p = args.as<GatherRowsParams>();
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  for (std::int64_t b = 0; b < y.shape[0]; ++b) {
    const std::int32_t row = index.as<std::int32_t>()[b * index.stride[0]];
    if (row < 0 || row >= x.shape[0]) throwIndexOutOfRange("gatherRows", row, x.shape[0]);
    for (std::int64_t f = 0; f < y.shape[1]; ++f)
      put(y, b * y.stride[0] + f * y.stride[1], fetch(x, row * x.stride[0] + f * x.stride[1]) * p.scale + p.shift);
  }
}

}  // namespace gyrus::cpu::naive
