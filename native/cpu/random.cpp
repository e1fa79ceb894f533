// Random kernels, in parallel over ranges of the stream. The values come from code compiled once for all instruction
// sets (naive/random_block.h), so they are the same on each.
#include "cpu/families.h"
#include "cpu/loops.h"
#include "cpu/naive/random_block.h"
#include "kernels/indices.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

// A generated element costs about as much as eight loaded ones.
constexpr int64_t kCost = 8;
static_assert(kGrain / kCost % 4 == 0, "ranges begin at whole blocks of four words");

// y T contiguous, inout state (<- count)
template <class T>
void randomOf(const Args& args) {
  const auto& p = args.as<RandomParams>();
  T* const y = args.out[0].as<T>();
  const naive::ActiveDraw draw(args);
  const int64_t n = draw.rows * draw.active;
  const bool all = draw.active == draw.cols;
  T* const line = all ? y : args.scratch->template array<T>(maxOf(1, n));
  naive::Stream stream(args.out[1]);
  parallelRange(n, kCost, [&](int64_t from, int64_t to) { naive::randomRange(p, stream, line, from, to); });
  if (!all) parallelRange(draw.rows, draw.cols, [&](int64_t from, int64_t to) { draw.spread(line, y, from, to); });
  stream.advance(static_cast<uint64_t>(n));
}
void random(const Args& args) { args.out[0].dtype == DType::F64 ? randomOf<double>(args) : randomOf<float>(args); }

// Running sums of one row of weights; false where they make no distribution.
template <class T>
bool runningSums(const T* w, int64_t stride, int64_t n, double* cdf) {
  double sum = 0;
  for (int64_t c = 0; c < n; ++c) {
    if (!(w[c * stride] >= 0)) return false;
    cdf[c] = sum += static_cast<double>(w[c * stride]);
  }
  return sum > 0 && sum <= 1.7976931348623157e308;
}

// y i32 [R, S], inout state <- weights T [R, C]
void categorical(const Args& args) {
  const View &y = args.out[0], &w = args.in[0];
  const int64_t rows = y.shape[0], draws = y.shape[1], classes = w.shape[1];
  double* cdf = args.scratch->template array<double>(maxOf(1, rows * classes));
  naive::Stream stream(args.out[1]);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * w.stride[0];
    const bool good = w.dtype == DType::F64 ? runningSums(w.as<double>() + at, w.stride[1], classes, cdf + r * classes)
                                            : runningSums(w.as<float>() + at, w.stride[1], classes, cdf + r * classes);
    if (!good) throwBadWeights("categorical", r);
  }
  const int64_t piece = kGrain / 32, perRow = ceilDiv(draws, piece);
  parallelRange(rows * perRow, 32 * minOf(draws, piece), [&](int64_t from, int64_t to) {
    for (int64_t c = from; c < to; ++c) {
      const int64_t r = c / perRow, first = c % perRow * piece, last = minOf(draws, first + piece);
      naive::categoricalRange(stream, cdf + r * classes, classes,
                              y.as<int32_t>() + r * y.stride[0] + first * y.stride[1], y.stride[1], r * draws + first,
                              r * draws + last);
    }
  });
  stream.advance(static_cast<uint64_t>(rows * draws));
}

}  // namespace

void registerRandom(KernelTable& t) {
  t.set(Op::Random, random);
  t.set(Op::Categorical, categorical);
}

}  // namespace gyrus::cpu::GYRUS_ISA
