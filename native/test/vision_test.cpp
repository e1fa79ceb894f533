// Group norm, resize and augmentation against the naive kernels: odd sizes, layouts, and the values by hand.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {
constexpr DType kFloats[] = {DType::F32, DType::F64};
}

TEST_CASE("groupNorm and its gradient: sizes, groups, layouts, with and without affine") {
  struct Case {
    std::int64_t B, S, C, G;
  };
  const Case cases[] = {{1, 1, 2, 1},    {2, 7, 6, 3},     {3, 33, 12, 12}, {17, 9, 40, 5},
                        {1, 300, 66, 2}, {2, 65, 130, 10}, {0, 4, 6, 2},    {2, 600, 33, 1}};
  int turn = 0;
  for (const Case& c : cases)
    for (const DType d : kFloats)
      for (const double affine : {0.0, 1.0}) {
        const Layout layout = kLayouts[turn++ % 4];
        const double groups = static_cast<double>(c.G);
        const Tensor x = randomTensor(d, {c.B, c.S, c.C}, 1, -3, 5, layout);
        const Tensor g = randomTensor(d, {c.B, c.S, c.C}, 2, -1, 1, layout);
        const Tensor gamma = randomTensor(d, {c.C}, 3, 0.5, 2), beta = randomTensor(d, {c.C}, 4);
        std::vector<Tensor> in = {x};
        if (affine != 0) {
          in.push_back(gamma);
          in.push_back(beta);
        }
        const auto y = expectAgreement(
            Op::GroupNorm, {make(d, {c.B, c.S, c.C}, layout), make(d, {c.B, c.G}, layout), make(d, {c.B, c.G})}, in,
            {affine, groups, 1e-2}, {1e-4, 2e-5});
        std::vector<Tensor> out = {make(d, {c.B, c.S, c.C}, layout)};
        in = {g, x, y[1], y[2]};
        if (affine != 0) {
          out.push_back(make(d, {c.C}));
          out.push_back(make(d, {c.C}, Layout::Spread));
          in.push_back(gamma);
        }
        expectAgreement(Op::GroupNormGrad, out, in, {affine, groups}, {1e-4, 3e-4});
      }
}

TEST_CASE("groupNorm: a large mean doesn't spoil the variance; NaN stays in its group") {
  Tensor x = randomTensor(DType::F32, {2, 129, 8}, 1, 10000, 10001);
  x.set(5 * 8 + 1, NAN);
  const auto y = expectAgreement(Op::GroupNorm,
                                 {make(DType::F32, {2, 129, 8}), make(DType::F32, {2, 4}), make(DType::F32, {2, 4})},
                                 {x}, {0, 4, 1e-5}, {1e-3, 1e-2});
  CHECK(std::isnan(y[0].at(0)));
  CHECK(std::isfinite(y[0].at(2)));
  CHECK(std::isfinite(y[0].at(129 * 8)));
}

TEST_CASE("resizeBilinear and its gradient: larger, smaller, one pixel, layouts") {
  struct Case {
    std::int64_t B, H, W, C, h, w;
  };
  const Case cases[] = {{1, 1, 1, 1, 3, 4}, {2, 3, 5, 3, 6, 10}, {1, 8, 8, 17, 4, 4}, {2, 7, 9, 4, 3, 20},
                        {1, 5, 4, 2, 5, 4}, {1, 9, 2, 1, 1, 1},  {0, 2, 2, 3, 4, 4},  {3, 33, 31, 8, 40, 16}};
  int turn = 0;
  for (const Case& c : cases)
    for (const DType d : kFloats)
      for (int repeat = 0; repeat < 2; ++repeat) {
        const Layout layout = kLayouts[turn++ % 4];
        const Tensor x = randomTensor(d, {c.B, c.H, c.W, c.C}, 1, -3, 3, layout);
        const Tensor g = randomTensor(d, {c.B, c.h, c.w, c.C}, 2, -3, 3, layout);
        expectAgreement(Op::ResizeBilinear, {make(d, {c.B, c.h, c.w, c.C}, layout)}, {x}, {}, {1e-5, 1e-5});
        expectAgreement(Op::ResizeBilinearGrad, {make(d, {c.B, c.H, c.W, c.C}, layout)}, {g}, {}, {1e-4, 1e-4});
      }
}

TEST_CASE("resizeBilinear: pixels evenly apart without lying together") {
  const Tensor x = makeStrided(DType::F32, {2, 3, 4, 3}, {60, 20, 5, 1});
  std::memset(x.memory->data(), 0, x.memory->size());
  Tensor filled = x;
  for (std::int64_t i = 0; i < x.size(); ++i) filled.set(i, static_cast<double>(i % 7));
  expectAgreement(Op::ResizeBilinear, {makeStrided(DType::F32, {2, 5, 2, 3}, {60, 12, 4, 1})}, {filled}, {},
                  {1e-5, 1e-5});
  expectAgreement(Op::ResizeBilinearGrad, {makeStrided(DType::F32, {2, 6, 2, 3}, {60, 10, 5, 1})}, {filled}, {},
                  {1e-4, 1e-4});
}

TEST_CASE("resizeBilinear: twice as wide, by hand") {
  for (const KernelTable* table : allTables()) {
    const Tensor y = make(DType::F64, {1, 1, 4, 1});
    runKernel(*table, Op::ResizeBilinear, {y}, {of(DType::F64, {1, 1, 2, 1}, {0, 4})}, {});
    CHECK(y.at(0) == 0);
    CHECK(y.at(1) == doctest::Approx(1));
    CHECK(y.at(2) == doctest::Approx(3));
    CHECK(y.at(3) == 4);
  }
}

TEST_CASE("augment: bits the same everywhere, bytes and floats, layouts") {
  int turn = 0;
  for (const DType d : {DType::U8, DType::F32})
    for (const std::int64_t C : {1, 3, 10})
      for (const double padding : {0.0, 2.0, 40.0})
        for (const double flip : {0.0, 0.5, 1.0}) {
          const Tensor x = randomTensor(d, {5, 9, 7, C}, 1, -3, 3, kLayouts[turn++ % 4]);
          const Tensor scale = randomTensor(DType::F32, {C}, 2), shift = randomTensor(DType::F32, {C}, 3);
          const auto y =
              expectAgreement(Op::Augment, {make(DType::F32, {5, 9, 7, C}), of(DType::I32, {4}, {7, 0, 11, 0})},
                              {x, scale, shift}, {padding, flip});
          CHECK(y[1].at(2) == 16);
        }
}

TEST_CASE("augment: one picture, and pictures of several thousand numbers") {
  for (const Shape& shape : {Shape{1, 9, 7, 3}, Shape{1, 50, 41, 3}, Shape{3, 50, 41, 3}, Shape{2, 0, 5, 3}}) {
    const Tensor scale = randomTensor(DType::F32, {3}, 2), shift = randomTensor(DType::F32, {3}, 3);
    expectAgreement(Op::Augment, {make(DType::F32, shape), of(DType::I32, {4}, {7, 0, -1, 0})},
                    {randomTensor(DType::U8, shape, 1), scale, shift}, {4, 0.5});
  }
}

TEST_CASE("augment: without padding and mirroring it is an affine map; always mirrored, columns are reversed") {
  for (const KernelTable* table : allTables())
    for (const double flip : {0.0, 1.0}) {
      const Tensor x = randomTensor(DType::U8, {2, 3, 4, 2}, 1), y = make(DType::F32, {2, 3, 4, 2});
      runKernel(*table, Op::Augment, {y, of(DType::I32, {4}, {1, 2, 3, 4})},
                {x, of(DType::F32, {2}, {0.5, 2}), of(DType::F32, {2}, {1, -1})}, {0, flip});
      for (std::int64_t i = 0; i < x.size(); ++i) {
        const std::int64_t c = i % 2, col = i / 2 % 4, from = i + (flip != 0 ? (3 - 2 * col) * 2 : 0);
        CHECK(y.at(i) == (c == 0 ? x.at(from) * 0.5 + 1 : x.at(from) * 2 - 1));
      }
    }
}

TEST_CASE("augment: every shift is drawn, about as often") {
  const std::int64_t n = 900;
  Tensor x = zeros(DType::F32, {n, 3, 3, 1});
  for (std::int64_t b = 0; b < n; ++b) x.set(b * 9 + 4, 1);
  const Tensor y = make(DType::F32, {n, 3, 3, 1});
  runKernel(naiveTable(), Op::Augment, {y, of(DType::I32, {4}, {1, 0, 0, 0})},
            {x, of(DType::F32, {1}, {1}), of(DType::F32, {1}, {0})}, {1, 0});
  for (std::int64_t at = 0; at < 9; ++at) {
    int seen = 0;
    for (std::int64_t b = 0; b < n; ++b) seen += y.at(b * 9 + at) == 1;
    CHECK(seen > 60);
    CHECK(seen < 140);
  }
}
