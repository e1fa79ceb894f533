// Layer normalisation against the naive kernels: odd sizes, layouts, large means.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};
constexpr std::int64_t kSizes[] = {1, 2, 7, 15, 16, 17, 31, 33, 65, 129, 300};
constexpr Tolerance kClose = {1e-4, 2e-5};

}  // namespace

TEST_CASE("layerNorm and its gradient: sizes, layouts, with and without affine") {
  for (const DType d : kFloats)
    for (const std::int64_t C : kSizes)
      for (const double affine : {0.0, 1.0})
        for (const std::int64_t R : {0, 1, 17, 300}) {
          const Layout layout = kLayouts[(C + R) % 4];
          const Tensor x = randomTensor(d, {R, C}, 1, -3, 5, layout), g = randomTensor(d, {R, C}, 2, -1, 1, layout);
          const Tensor gamma = randomTensor(d, {C}, 3, 0.5, 2), beta = randomTensor(d, {C}, 4);
          std::vector<Tensor> in = {x};
          if (affine != 0) in.insert(in.end(), {gamma, beta});
          const auto y =
              expectAgreement(Op::LayerNorm, {make(d, {R, C}), make(d, {R}), make(d, {R})}, in, {affine, 1e-2}, kClose);
          std::vector<Tensor> out = {make(d, {R, C})};
          in = {g, x, y[1], y[2]};
          if (affine != 0) {
            out.insert(out.end(), {make(d, {C}), make(d, {C})});
            in.push_back(gamma);
          }
          expectAgreement(Op::LayerNormGrad, out, in, {affine}, {1e-4, 2e-4});
        }
}

TEST_CASE("layerNorm and its gradient: long rows, and rows further apart than they are long") {
  for (const DType d : kFloats)
    for (const std::int64_t C : {513, 1000, 1300, 2048, 4097, 4100}) {
      Tensor x = makeStrided(d, {6, C}, {C + (C % 4 == 0 ? 8 : 0), 1});
      std::memset(x.memory->data(), 0, x.memory->size());
      for (std::int64_t i = 0; i < x.size(); ++i) x.set(i, static_cast<double>(i * 7919 % 4001) / 1000 - 1);
      const Tensor g = randomTensor(d, {6, C}, 2, -1, 1), gamma = randomTensor(d, {C}, 3, 0.5, 2);
      const auto y = expectAgreement(Op::LayerNorm, {make(d, {6, C}), make(d, {6}), make(d, {6})},
                                     {x, gamma, randomTensor(d, {C}, 4)}, {1, 1e-2}, kClose);
      expectAgreement(Op::LayerNormGrad, {make(d, {6, C}), make(d, {C}), make(d, {C})}, {g, x, y[1], y[2], gamma}, {1},
                      {1e-4, 2e-4});
    }
}

TEST_CASE("layerNorm: a large mean doesn't spoil the variance; NaN stays in its row") {
  Tensor x = randomTensor(DType::F32, {9, 129}, 1, 10000, 10001);
  x.set(4 * 129 + 7, NAN);
  const auto y =
      expectAgreement(Op::LayerNorm, {make(DType::F32, {9, 129}), make(DType::F32, {9}), make(DType::F32, {9})}, {x},
                      {0, 1e-5}, {1e-3, 1e-2});
  CHECK(std::isnan(y[0].at(4 * 129)));
  CHECK(std::isfinite(y[0].at(5 * 129)));
}
