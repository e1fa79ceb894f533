// Attention against the naive kernels: odd sizes, several blocks of queries and keys, layouts, slices of one
// projection, causal order, what doesn't count, infinities.
#include <array>

#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr Tolerance kForward = {1e-4, 2e-5}, kBackward = {1e-3, 2e-4};

struct Case {
  std::int64_t B, Q, K, H, D;
};

void both(DType d, const Case& c, double causal, Layout layout) {
  const Tensor q = randomTensor(d, {c.B, c.Q, c.H, c.D}, 1, -2, 2, layout);
  const Tensor k = randomTensor(d, {c.B, c.K, c.H, c.D}, 2, -2, 2, layout);
  const Tensor v = randomTensor(d, {c.B, c.K, c.H, c.D}, 3, -2, 2, layout);
  const Tensor g = randomTensor(d, {c.B, c.Q, c.H, c.D}, 4, -1, 1, layout);
  const std::vector<double> record = {causal, 0.4};
  const auto y = expectAgreement(Op::Attention, {make(d, {c.B, c.Q, c.H, c.D}), make(d, {c.B, c.H, c.Q})}, {q, k, v},
                                 record, kForward);
  expectAgreement(Op::AttentionGrad,
                  {make(d, {c.B, c.Q, c.H, c.D}, layout), make(d, {c.B, c.K, c.H, c.D}, layout),
                   make(d, {c.B, c.K, c.H, c.D}, layout)},
                  {g, y[0], y[1], q, k, v}, record, kBackward);
}

}  // namespace

TEST_CASE("attention and its gradient: sizes, layouts, causal") {
  const Case cases[] = {{1, 1, 1, 1, 1},    {2, 5, 5, 3, 8},     {1, 17, 33, 2, 16},   {3, 65, 65, 2, 32},
                        {1, 7, 130, 1, 5},  {1, 140, 9, 2, 3},   {1, 150, 260, 1, 24}, {17, 49, 3, 2, 4},
                        {0, 4, 4, 2, 8},    {2, 0, 4, 2, 8},     {2, 4, 0, 2, 8},      {2, 4, 4, 0, 8},
                        {1, 13, 12, 4, 64}, {1, 129, 131, 1, 40}};
  int turn = 0;
  for (const Case& c : cases)
    for (const DType d : {DType::F32, DType::F64})
      for (const double causal : {0.0, 1.0}) both(d, c, causal, kLayouts[turn++ % 4]);
}

TEST_CASE("attention: long heads, and many heads at a time") {
  int turn = 0;
  const Case cases[] = {{1, 35, 70, 1, 130}, {1, 33, 40, 1, 256}, {1, 3, 9, 1, 300}};
  for (const Case& c : cases)
    for (const double causal : {0.0, 1.0}) both(DType::F32, c, causal, kLayouts[turn++ % 2]);
  for (const std::int64_t D : {8, 40, 72}) {
    const DType d = DType::F32;
    const Tensor q = randomTensor(d, {33, 64, 8, D}, 1, -2, 2), k = randomTensor(d, {33, 5, 8, D}, 2, -2, 2);
    const Tensor v = randomTensor(d, {33, 5, 8, D}, 3, -2, 2);
    expectAgreement(Op::Attention, {make(d, {33, 64, 8, D}), make(d, {33, 8, 64})}, {q, k, v},
                    {D == 8 ? 1.0 : 0.0, 0.2}, kForward);
  }
}

TEST_CASE("attention: slices of one projection, gradients written into slices") {
  const std::int64_t B = 2, T = 37, H = 3, D = 16;
  const Tensor all = randomTensor(DType::F32, {B, T, H, 3, D}, 1), grads = make(DType::F32, {B, T, H, 3, D});
  const auto part = [&](Tensor t, int i) {
    t.view.rank = 4;
    t.view.data = t.view.as<float>() + i * D;
    t.view.shape[3] = D;
    t.view.stride[3] = 1;
    return t;
  };
  const Tensor q = part(all, 0), k = part(all, 1), v = part(all, 2);
  const auto y = expectAgreement(Op::Attention, {make(DType::F32, {B, T, H, D}), make(DType::F32, {B, H, T})},
                                 {q, k, v}, {1, 0.25}, kForward);
  const Tensor g = randomTensor(DType::F32, {B, T, H, D}, 2);
  expectAgreement(Op::AttentionGrad, {part(grads, 0), part(grads, 1), part(grads, 2)}, {g, y[0], y[1], q, k, v},
                  {1, 0.25}, kBackward);
}

TEST_CASE("attention: scores too large for exp, and a NaN ahead of a causal query") {
  const DType d = DType::F32;
  const Tensor q = randomTensor(d, {1, 140, 1, 8}, 1, -60, 60), k = randomTensor(d, {1, 140, 1, 8}, 2, -60, 60);
  Tensor v = randomTensor(d, {1, 140, 1, 8}, 3);
  expectAgreement(Op::Attention, {make(d, {1, 140, 1, 8}), make(d, {1, 1, 140})}, {q, k, v}, {0, 1}, {1e-2, 1e-2});
  v.set(100 * 8 + 3, NAN);
  const auto y =
      expectAgreement(Op::Attention, {make(d, {1, 140, 1, 8}), make(d, {1, 1, 140})}, {q, k, v}, {1, 0.01}, kForward);
  CHECK(std::isfinite(y[0].at(99 * 8 + 3)));
  CHECK(std::isnan(y[0].at(100 * 8 + 3)));
}

TEST_CASE("attention: infinite and NaN scores") {
  const DType d = DType::F32;
  Tensor q = randomTensor(d, {1, 9, 1, 4}, 1, 0.5, 1), k = randomTensor(d, {1, 20, 1, 4}, 2, 0.5, 1);
  const Tensor v = randomTensor(d, {1, 20, 1, 4}, 3);
  k.set(5 * 4, -INFINITY);  // this key weighs nothing
  q.set(3 * 4 + 1, NAN);
  const auto y =
      expectAgreement(Op::Attention, {make(d, {1, 9, 1, 4}), make(d, {1, 1, 9})}, {q, k, v}, {0, 1}, kForward);
  CHECK(std::isfinite(y[0].at(0)));
  CHECK(std::isnan(y[0].at(3 * 4)));
  for (std::int64_t j = 0; j < 20; ++j) k.set(j * 4, -INFINITY);
  expectAgreement(Op::Attention, {make(d, {1, 9, 1, 4}), make(d, {1, 1, 9})}, {q, k, v}, {0, 1}, kForward);
}

TEST_CASE("attentionGrad: a NaN in a key, a query or a gradient reaches only what sees it") {
  const std::int64_t D = 8;
  // One block; several on the path of whole heads; several on the path of pieces.
  for (const auto& [T, H, at] : {std::array<std::int64_t, 3>{9, 1, 7}, {150, 9, 131}, {150, 1, 100}, {290, 1, 140}})
    for (const DType d : {DType::F32, DType::F64})
      for (int which = 0; which < 3; ++which) {
        Tensor t[] = {randomTensor(d, {1, T, H, D}, 1), randomTensor(d, {1, T, H, D}, 2),
                      randomTensor(d, {1, T, H, D}, 3)};  // q, k, g
        const Tensor v = randomTensor(d, {1, T, H, D}, 4);
        t[which].set(at * H * D + 2, NAN);
        const std::vector<double> record = {1, 0.3};
        const auto y = expectAgreement(Op::Attention, {make(d, {1, T, H, D}), make(d, {1, H, T})}, {t[0], t[1], v},
                                       record, kForward);
        const auto grads =
            expectAgreement(Op::AttentionGrad, {make(d, {1, T, H, D}), make(d, {1, T, H, D}), make(d, {1, T, H, D})},
                            {t[2], y[0], y[1], t[0], t[1], v}, record, kBackward);
        // Before the key: its queries. Behind the query or its gradient: the keys it doesn't see.
        if (which == 1)
          for (std::int64_t i = 0; i < at * H * D; ++i) CHECK(std::isfinite(grads[0].at(i)));
        else
          for (std::int64_t i = (at + 1) * H * D; i < T * H * D; ++i) CHECK(std::isfinite(grads[2].at(i)));
      }
}

TEST_CASE("attentionGrad: a NaN ahead of a causal query stays ahead") {
  for (const DType d : {DType::F32, DType::F64}) {
    const Tensor q = randomTensor(d, {1, 4, 1, 8}, 1), k = randomTensor(d, {1, 4, 1, 8}, 2);
    Tensor v = randomTensor(d, {1, 4, 1, 8}, 3);
    v.set(3 * 8 + 2, NAN);
    const std::vector<double> record = {1, 0.4};
    const auto y =
        expectAgreement(Op::Attention, {make(d, {1, 4, 1, 8}), make(d, {1, 1, 4})}, {q, k, v}, record, kForward);
    const Tensor g = randomTensor(d, {1, 4, 1, 8}, 4);
    const auto grads =
        expectAgreement(Op::AttentionGrad, {make(d, {1, 4, 1, 8}), make(d, {1, 4, 1, 8}), make(d, {1, 4, 1, 8})},
                        {g, y[0], y[1], q, k, v}, record, kBackward);
    for (std::int64_t i = 0; i < 3 * 8; ++i) CHECK(!std::isnan(grads[0].at(i)));
  }
}
