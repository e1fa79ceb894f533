// Batch normalisation against the naive kernels: odd sizes, layouts, ReLU and residual, large means, running
// statistics.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};
constexpr Tolerance kClose = {1e-4, 2e-5};

Tensor filled(DType d, std::int64_t C, double x) {
  return of(d, {C}, std::vector<double>(static_cast<std::size_t>(C), x));
}

// Training, its gradient and evaluation of one shape.
void expectBatchNorm(DType d, std::int64_t R, std::int64_t C, Layout layout, double relu, double residual) {
  const Tensor x = randomTensor(d, {R, C}, 1, -3, 5, layout), g = randomTensor(d, {R, C}, 2, -1, 1, layout);
  const Tensor gamma = randomTensor(d, {C}, 3, 0.5, 2), beta = randomTensor(d, {C}, 4);
  const Tensor mean = randomTensor(d, {C}, 5), var = randomTensor(d, {C}, 6, 0.5, 2);
  const Tensor side = randomTensor(d, {R, C}, 7, -2, 2, layout);
  std::vector<Tensor> in = {x, gamma, beta};
  if (residual != 0) in.insert(in.end(), {side});
  const auto y = expectAgreement(Op::BatchNorm, {make(d, {R, C}), make(d, {C}), make(d, {C}), mean, var}, in,
                                 {1e-2, 0.1, relu, residual, 0}, kClose);
  std::vector<Tensor> out = {make(d, {R, C}, layout), make(d, {C}), make(d, {C})};
  if (residual != 0) out.insert(out.end(), {make(d, {R, C}, layout)});
  in = {g, x, y[1], y[2], gamma};
  if (relu != 0) in.insert(in.end(), {y[0]});
  expectAgreement(Op::BatchNormGrad, out, in, {relu, residual, 0}, {1e-4, 3e-4});
  in = {x, gamma, beta, mean, var};
  if (residual != 0) in.insert(in.end(), {side});
  expectAgreement(Op::BatchNormEval, {make(d, {R, C}, layout)}, in, {1e-2, relu, residual, 0}, kClose);
}

}  // namespace

TEST_CASE("batchNorm, its gradient and evaluation: sizes, layouts, ReLU, residual") {
  int turn = 0;
  for (const DType d : kFloats)
    for (const std::int64_t C : {0, 1, 2, 3, 7, 15, 16, 17, 33, 64, 65, 129, 300})
      for (const std::int64_t R : {2, 3, 17, 300, 701}) {
        ++turn;
        expectBatchNorm(d, R, C, kLayouts[(C + R) % 4], turn & 1, turn >> 1 & 1);
      }
}

TEST_CASE("batchNorm: many blocks, folded or not") {
  for (const double relu : {0.0, 1.0})
    for (const double residual : {0.0, 1.0}) {
      expectBatchNorm(DType::F32, 10007, 16, Layout::Contiguous, relu, residual);
      expectBatchNorm(DType::F32, 5003, 16, Layout::Padded, relu, residual);
      expectBatchNorm(DType::F32, 300, 512, Layout::Contiguous, relu, residual);
      expectBatchNorm(DType::F32, 4, 512, Layout::Contiguous, relu, residual);
      expectBatchNorm(DType::F32, 2000, 5, Layout::Transposed, relu, residual);
    }
}

TEST_CASE("batchNorm: the running variance is the unbiased one") {
  for (const KernelTable* table : allTables()) {
    const Tensor mean = of(DType::F64, {1}, {1}), var = of(DType::F64, {1}, {1});
    runKernel(
        *table, Op::BatchNorm, {make(DType::F64, {3, 1}), make(DType::F64, {1}), make(DType::F64, {1}), mean, var},
        {of(DType::F64, {3, 1}, {1, 2, 6}), of(DType::F64, {1}, {1}), of(DType::F64, {1}, {0})}, {1e-5, 0.5, 0, 0, 0});
    CHECK(mean.at(0) == doctest::Approx(2.0));
    CHECK(var.at(0) == doctest::Approx(0.5 + 0.5 * 7));
  }
}

TEST_CASE("batchNorm: a large mean or one outlying row doesn't spoil the variance") {
  Tensor x = randomTensor(DType::F32, {6000, 17}, 1, 10000, 10001);
  for (std::int64_t c = 0; c < 17; ++c) x.set(c, 0);  // the first row, far from all others
  const Tensor gamma = randomTensor(DType::F32, {17}, 2, 1, 1.5), beta = zeros(DType::F32, {17});
  const auto run = [&](const Tensor& rows) {
    const Shape shape = {rows.view.shape[0], 17};
    return expectAgreement(Op::BatchNorm,
                           {make(DType::F32, shape), make(DType::F32, {17}), make(DType::F32, {17}),
                            zeros(DType::F32, {17}), zeros(DType::F32, {17})},
                           {rows, gamma, beta}, {1e-5, 0.1, 0, 0, 0}, {1e-3, 1e-2});
  };
  run(x);
  run(randomTensor(DType::F32, {300, 17}, 1, 10000, 10001));
}

TEST_CASE("batchNorm: NaN stays in its channel and passes the ReLU") {
  Tensor x = randomTensor(DType::F32, {40, 5}, 1);
  x.set(7 * 5 + 2, NAN);
  const auto y = expectAgreement(Op::BatchNorm,
                                 {make(DType::F32, {40, 5}), make(DType::F32, {5}), make(DType::F32, {5}),
                                  filled(DType::F32, 5, 0), filled(DType::F32, 5, 1)},
                                 {x, filled(DType::F32, 5, 1), filled(DType::F32, 5, 0)}, {1e-5, 0.1, 1, 0, 0}, kClose);
  CHECK(std::isnan(y[0].at(2)));
  CHECK(std::isfinite(y[0].at(3)));
}
