// Pooling against the naive kernels.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};

std::int64_t extent(std::int64_t n, std::int64_t k, std::int64_t s, std::int64_t p) {
  return n + 2 * p < k ? 0 : (n + 2 * p - k) / s + 1;
}

void expectPool(DType d, const Shape& x, std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                Layout layout = Layout::Contiguous) {
  const Shape y = {x[0], extent(x[1], kernel, stride, pad), extent(x[2], kernel, stride, pad), x[3]};
  const Tensor in = randomTensor(d, x, 1, -3, 3, layout), g = randomTensor(d, y, 2, -1, 1, layout);
  Tensor ties = in.clone();
  for (std::int64_t i = 0; i < ties.size(); ++i) ties.set(i, std::floor(ties.at(i)));
  for (const double kind : {0.0, 1.0})
    for (const double count : {0.0, 1.0}) {
      const double k = double(kernel), s = double(stride), p = double(pad);
      const std::vector<double> record = {kind, k, k, s, s, p, p, count, 0};
      expectAgreement(Op::Pool2d, {make(d, y)}, {in}, record, {1e-6, 1e-6});
      if (kind == 0)
        expectAgreement(Op::Pool2d, {make(d, y)}, {ties, in}, {kind, k, k, s, s, p, p, count, 1}, {1e-6, 1e-6});
      std::vector<Tensor> inputs = {g};
      if (kind == 0) inputs.push_back(ties);
      expectAgreement(Op::Pool2dGrad, {make(d, x)}, inputs, record, {1e-5, 1e-6});
    }
}

}  // namespace

TEST_CASE("pool: kernels, strides, paddings, channels and layouts") {
  for (const DType d : kFloats) {
    for (const std::int64_t kernel : {1, 2, 3})
      for (const std::int64_t stride : {1, 2, 3})
        for (const std::int64_t pad : {0, 1})
          for (const std::int64_t C : {1, 7, 16, 37, 70}) expectPool(d, {2, 7, 6, C}, kernel, stride, pad);
    for (const Layout layout : kLayouts) expectPool(d, {2, 6, 6, 9}, 2, 2, 0, layout);
    expectPool(d, {3, 8, 8, 64}, 8, 1, 0);
    expectPool(d, {0, 4, 4, 3}, 2, 2, 0);
    expectPool(d, {2, 4, 4, 0}, 2, 2, 0);
    expectPool(d, {2, 3, 3, 4}, 2, 2, 3);  // windows with no element inside
  }
  expectPool(DType::F32, {8, 32, 32, 16}, 2, 2, 0);
}

TEST_CASE("pool: the first of the largest gets the gradient, and NaN counts as the largest") {
  for (const KernelTable* table : allTables()) {
    const Tensor x = of(DType::F32, {1, 2, 4, 1}, {1, 5, NAN, 7, 5, 5, NAN, 9});
    const Tensor g = of(DType::F32, {1, 1, 2, 1}, {10, 20}), dx = make(DType::F32, {1, 2, 4, 1});
    const Tensor y = make(DType::F32, {1, 1, 2, 1});
    const std::vector<double> record = {0, 2, 2, 2, 2, 0, 0, 0, 0};
    runKernel(*table, Op::Pool2d, {y}, {x}, record);
    CHECK(mismatch(y, of(DType::F32, {1, 1, 2, 1}, {5, NAN})).empty());
    runKernel(*table, Op::Pool2dGrad, {dx}, {g, x}, record);
    CHECK(mismatch(dx, of(DType::F32, {1, 2, 4, 1}, {0, 10, 20, 0, 0, 0, 0, 0})).empty());
  }
}
