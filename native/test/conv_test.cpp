// Convolution against the naive kernels: classes of pixels, strides and dilations, groups, lists, padded weights.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};

Tolerance tolerance(DType d) { return d == DType::F32 ? Tolerance{2e-5, 2e-4} : Tolerance{1e-12, 1e-12}; }

struct Case {
  std::int64_t N, H, W, C, F, KH, KW;
  std::int64_t stride = 1, pad = 1, dilation = 1, groups = 1;
  std::int64_t strideW = 0;  // as stride when 0

  std::int64_t across() const { return strideW ? strideW : stride; }
  static std::int64_t out(std::int64_t n, std::int64_t k, std::int64_t s, std::int64_t p, std::int64_t d) {
    const std::int64_t span = n + 2 * p - (k - 1) * d - 1;
    return span < 0 ? 0 : span / s + 1;
  }
  Shape x() const { return {N, H, W, C}; }
  Shape y() const { return {N, out(H, KH, stride, pad, dilation), out(W, KW, across(), pad, dilation), F}; }
  Shape w() const { return {F, KH, KW, C / groups}; }
  std::vector<double> record(double outputs = 0, double inputs = 0) const {
    return {double(stride),   double(across()), double(pad), double(pad), double(dilation),
            double(dilation), double(groups),   outputs,     inputs};
  }
};

std::vector<double> with(std::vector<double> record, std::initializer_list<double> more) {
  record.insert(record.end(), more);
  return record;
}

// Forward and both gradients of one shape.
void expectConv(const Case& k, DType d, Layout layout = Layout::Padded, Layout activations = Layout::Contiguous) {
  CAPTURE(k.H);
  CAPTURE(k.C);
  CAPTURE(k.F);
  CAPTURE(k.stride);
  const Tensor x = randomTensor(d, k.x(), 1, -1, 1, activations), w = randomTensor(d, k.w(), 2, -1, 1, layout);
  const Tensor g = randomTensor(d, k.y(), 3, -1, 1, activations);
  expectAgreement(Op::Conv2d, {make(d, k.y())}, {x, w}, with(k.record(), {0, 0, 0, 0}), tolerance(d));
  expectAgreement(Op::Conv2dGradInput, {make(d, k.x())}, {g, w}, with(k.record(), {0, 1}), tolerance(d));
  expectAgreement(Op::Conv2dGradWeight, {make(d, k.w())}, {g, x}, with(k.record(), {0}), tolerance(d));
}

}  // namespace

TEST_CASE("conv: kernels, strides, paddings and dilations") {
  for (const DType d : kFloats) {
    for (const std::int64_t kernel : {1, 2, 3, 5})
      for (const std::int64_t stride : {1, 2, 3})
        for (const std::int64_t pad : {0, 1, 2})
          for (const std::int64_t dilation : {1, 2})
            expectConv({2, 9, 8, 3, 5, kernel, kernel, stride, pad, dilation}, d);
    expectConv({2, 7, 9, 4, 3, 1, 4, 2, 1, 1, 1, 3}, d);
    expectConv({1, 6, 11, 2, 7, 4, 1, 1, 2, 2, 1, 2}, d);
    expectConv({3, 2, 2, 5, 4, 3, 3}, d);
    expectConv({2, 1, 1, 6, 9, 3, 3}, d);
    expectConv({1, 4, 4, 2, 2, 7, 7, 1, 3}, d);
    expectConv({1, 5, 5, 2, 2, 3, 3, 5, 0}, d);
  }
}

TEST_CASE("conv: channels around the vectors and tiles, depth in several blocks") {
  for (const DType d : kFloats)
    for (const std::int64_t C : {1, 5, 8, 16, 33})
      for (const std::int64_t F : {1, 7, 16, 17, 31, 40}) expectConv({2, 6, 7, C, F, 3, 3}, d);
  expectConv({2, 5, 5, 130, 20, 3, 3}, DType::F32);
  expectConv({1, 3, 3, 600, 35, 1, 1, 1, 0}, DType::F32);
  expectConv({30, 4, 4, 70, 18, 3, 3}, DType::F32);
  expectConv({70, 2, 2, 20, 70, 3, 3}, DType::F32);
}

TEST_CASE("conv: sizes that several pieces of work share") {
  expectConv({3, 32, 32, 16, 16, 3, 3}, DType::F32);
  expectConv({4, 16, 16, 32, 64, 3, 3, 2, 1}, DType::F32);
  expectConv({1, 40, 41, 3, 16, 3, 3}, DType::F32);
  expectConv({9, 8, 8, 64, 48, 3, 3}, DType::F64);
  expectConv({2, 8, 8, 40, 160, 3, 3}, DType::F32);
  expectConv({5, 31, 33, 20, 70, 1, 1, 2, 0}, DType::F32);  // pixels that no tap reaches
  expectConv({3, 30, 31, 33, 24, 2, 1, 3, 1}, DType::F32);
  expectConv({5, 64, 64, 4, 72, 1, 1, 1, 0}, DType::F32);  // enough for the largest tiles
  expectConv({5, 64, 65, 72, 3, 1, 1, 1, 0}, DType::F32);
  expectConv({5, 64, 65, 3, 67, 1, 1, 1, 0}, DType::F32);
}

TEST_CASE("conv: every tile of the products") {
  expectConv({2, 12, 12, 16, 32, 3, 3}, DType::F32);
  expectConv({2, 12, 12, 32, 64, 3, 3}, DType::F32);
  expectConv({2, 9, 9, 32, 32, 3, 3, 2}, DType::F32);
  expectConv({2, 8, 8, 128, 132, 3, 3}, DType::F32);
  expectConv({10, 64, 64, 4, 40, 1, 1, 1, 1}, DType::F32);
  expectConv({5, 64, 64, 20, 72, 2, 1, 1, 1}, DType::F32);
  expectConv({5, 64, 64, 3, 67, 1, 1, 1, 1}, DType::F32);
}

TEST_CASE("conv: more taps along an axis than a mark has bits") {
  expectConv({2, 17, 5, 4, 8, 16, 1, 1, 3}, DType::F32);
  expectConv({2, 17, 5, 4, 8, 15, 1, 1, 3}, DType::F32);
}

TEST_CASE("conv: kernels larger than the image") {
  for (const DType d : kFloats) {
    expectConv({1, 9, 70, 2, 3, 3, 65, 1, 32}, d);
    expectConv({2, 4, 66, 4, 4, 1, 70, 1, 35, 1, 2}, d);
    expectConv({1, 20, 20, 1, 2, 20, 21, 2, 10}, d);
  }
}

TEST_CASE("conv: nothing to do") {
  for (const DType d : kFloats) {
    expectConv({0, 5, 5, 3, 4, 3, 3}, d);
    expectConv({2, 5, 5, 0, 4, 3, 3}, d);
    expectConv({2, 5, 5, 3, 0, 3, 3}, d);
    expectConv({2, 1, 1, 3, 4, 3, 3, 1, 0}, d);
    expectConv({2, 0, 5, 3, 4, 3, 3}, d);
    expectConv({2, 5, 5, 3, 4, 0, 3}, d);
  }
}

TEST_CASE("conv: every layout of weights and activations") {
  for (const DType d : kFloats)
    for (const Layout weights : kLayouts)
      for (const Layout activations : kLayouts) {
        expectConv({2, 5, 6, 9, 18, 3, 3}, d, weights, activations);
        expectConv({2, 5, 6, 9, 18, 1, 1, 1, 0}, d, weights, activations);
      }
}

TEST_CASE("conv: groups and depthwise") {
  for (const DType d : kFloats)
    for (const std::int64_t stride : {1, 2}) {
      expectConv({2, 6, 7, 12, 18, 3, 3, stride, 1, 1, 3}, d);
      expectConv({2, 6, 7, 37, 37, 3, 3, stride, 1, 1, 37}, d);
      expectConv({2, 6, 7, 6, 18, 3, 3, stride, 1, 1, 6}, d);
      expectConv({3, 12, 12, 40, 40, 5, 5, stride, 2, 1, 40}, d);
    }
}

namespace {

Case depthwise(std::int64_t N, std::int64_t H, std::int64_t W, std::int64_t C, std::int64_t KH, std::int64_t KW,
               std::int64_t stride = 1, std::int64_t pad = 1, std::int64_t dilation = 1, std::int64_t strideW = 0) {
  return {N, H, W, C, C, KH, KW, stride, pad, dilation, C, strideW};
}

}  // namespace

TEST_CASE("conv: depthwise kernels, strides, paddings and dilations") {
  for (const DType d : kFloats) {
    for (const std::int64_t kernel : {1, 2, 3, 4, 5})
      for (const std::int64_t stride : {1, 2, 3})
        for (const std::int64_t pad : {0, 1, 2})
          for (const std::int64_t dilation : {1, 2})
            expectConv(depthwise(2, 9, 8, 19, kernel, kernel, stride, pad, dilation), d);
    expectConv(depthwise(1, 12, 17, 9, 7, 3, 1, 1), d);
    expectConv(depthwise(2, 12, 17, 9, 7, 3, 2, 3, 2), d);
    expectConv(depthwise(2, 5, 23, 9, 1, 7, 1, 3), d);
    expectConv(depthwise(2, 7, 9, 6, 2, 4, 2, 1, 1, 3), d);
    expectConv(depthwise(1, 4, 4, 5, 7, 7, 1, 3), d);        // larger than the image
    expectConv(depthwise(1, 9, 40, 2, 3, 37, 1, 18), d);     // every pixel sees other taps
    expectConv(depthwise(2, 5, 5, 3, 3, 3, 5, 0), d);        // pixels that no tap reaches
    expectConv(depthwise(2, 6, 7, 5, 1, 1, 1, 2, 1, 3), d);  // pixels that reach none
  }
}

TEST_CASE("conv: depthwise channels around the vectors") {
  for (const DType d : kFloats)
    for (const std::int64_t C : {1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 70})
      for (const std::int64_t stride : {1, 2}) expectConv(depthwise(2, 6, 15, C, 3, 3, stride), d);
}

TEST_CASE("conv: depthwise sizes that several pieces of work share") {
  expectConv(depthwise(5, 32, 32, 64, 3, 3), DType::F32);
  expectConv(depthwise(5, 31, 33, 70, 3, 3, 2), DType::F32);
  expectConv(depthwise(3, 24, 25, 40, 5, 5, 1, 2), DType::F64);
}

TEST_CASE("conv: depthwise with nothing to do, and every layout") {
  for (const DType d : kFloats) {
    expectConv(depthwise(0, 5, 5, 9, 3, 3), d);
    expectConv(depthwise(2, 1, 1, 9, 3, 3, 1, 0), d);
    expectConv(depthwise(2, 0, 5, 9, 3, 3), d);
    expectConv(depthwise(2, 5, 5, 9, 0, 3), d);
    for (const Layout weights : kLayouts)
      for (const Layout activations : kLayouts) expectConv(depthwise(2, 5, 6, 11, 3, 3), d, weights, activations);
  }
}

TEST_CASE("conv: depthwise NaN and infinity stay where the kernel reaches") {
  for (const DType d : kFloats)
    for (const std::int64_t pad : {0, 1, 2}) {
      const Case k = depthwise(2, 6, 7, 11, 3, 3, 1, pad);
      // At the corners and edges, next to the margin.
      Tensor x = randomTensor(d, k.x(), 1, -1, 1), g = randomTensor(d, k.y(), 3, -1, 1);
      for (const Tensor* t : {&x, &g}) {
        Tensor to = *t;
        const std::int64_t C = k.C, W = to.view.shape[2];
        to.set(0, NAN);
        to.set((W - 1) * C + 1, INFINITY);
        to.set(2 * W * C + 9, -INFINITY);
        to.set(to.size() - 1, NAN);
      }
      const Tensor w = randomTensor(d, k.w(), 2, 0.5, 1);
      expectAgreement(Op::Conv2d, {make(d, k.y())}, {x, w}, with(k.record(), {0, 0, 0, 1}), tolerance(d));
      expectAgreement(Op::Conv2dGradInput, {make(d, k.x())}, {g, w}, with(k.record(), {0, 1}), tolerance(d));
      expectAgreement(Op::Conv2dGradWeight, {make(d, k.w())}, {randomTensor(d, k.y(), 4, 0.5, 1), x},
                      with(k.record(), {0}), tolerance(d));
    }
}

TEST_CASE("conv: depthwise lists, scores and the bias gradient") {
  for (const DType d : kFloats) {
    const Case k = depthwise(3, 6, 7, 11, 3, 3);
    const Tensor x = randomTensor(d, k.x(), 1, -1, 1), g = randomTensor(d, k.y(), 2, -1, 1);
    const Tensor rows = of(DType::I32, {11}, {0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12}), column = of(DType::I32, {1}, {2});
    const Tensor w = randomTensor(d, {13, 3, 3, 4}, 3, -1, 1, Layout::Padded), bias = randomTensor(d, {13}, 4);
    const std::vector<double> listed = k.record(1, 1);
    expectAgreement(Op::Conv2d, {make(d, k.y())}, {x, w, rows, column, bias}, with(listed, {1, 0, 0, 1}), tolerance(d));
    expectAgreement(Op::Conv2dGradInput, {make(d, k.x())}, {g, w, rows, column}, with(listed, {0, 1}), tolerance(d));
    expectAgreement(Op::Conv2dGradWeight, {make(d, {13, 3, 3, 4}), make(d, {13})}, {g, x, rows, column},
                    with(listed, {1}), tolerance(d));
    const Tensor labels = randomTensor(DType::I32, {k.N}, 5, 0, 4), stats = randomTensor(DType::F32, {8, k.C}, 6, 0, 1);
    expectAgreement(Op::Conv2dGradInput, {make(d, k.x()), stats}, {g, randomTensor(d, k.w(), 7, -1, 1), x, labels},
                    with(k.record(), {1, 7}), {1e-4, 1e-3});
  }
}

TEST_CASE("conv2d: bias, affine, residual and relu in the store") {
  struct {
    Case k;
    Layout residual;
  } const cases[] = {{{2, 6, 6, 70, 21, 3, 3}, Layout::Padded},
                     {{2, 6, 6, 70, 21, 1, 1, 1, 0}, Layout::Padded},
                     {{2, 6, 6, 70, 21, 1, 1, 1, 0}, Layout::Contiguous},
                     {depthwise(2, 6, 9, 21, 3, 3), Layout::Padded},
                     {depthwise(2, 9, 8, 21, 3, 3, 2), Layout::Padded}};
  for (const auto& [k, layout] : cases)
    for (const DType d : kFloats)
      for (int flags = 0; flags < 16; ++flags) {
        const bool bias = flags & 1, affine = flags & 2, residual = flags & 4, relu = flags & 8;
        std::vector<Tensor> in = {randomTensor(d, k.x(), 1, -1, 1), randomTensor(d, k.w(), 2, -1, 1, Layout::Padded)};
        if (bias) in.push_back(randomTensor(d, {k.F}, 3));
        if (affine) {
          in.push_back(randomTensor(d, {k.F}, 4, 0.5, 1.5, Layout::Spread));
          in.push_back(randomTensor(d, {k.F}, 5));
        }
        if (residual) in.push_back(randomTensor(d, k.y(), 6, -1, 1, layout));
        expectAgreement(Op::Conv2d, {make(d, k.y())}, in,
                        with(k.record(), {double(bias), double(affine), double(residual), double(relu)}), tolerance(d));
      }
}

TEST_CASE("conv2dGradWeight: the bias gradient") {
  for (const DType d : kFloats)
    for (const std::int64_t kernel : {1, 3}) {
      const auto expect = [&](const Case& k, const Tensor& g) {
        expectAgreement(Op::Conv2dGradWeight, {make(d, k.w()), make(d, {k.F})}, {g, randomTensor(d, k.x(), 2, -1, 1)},
                        with(k.record(), {1}), tolerance(d));
      };
      for (const std::int64_t N : {0, 1, 5}) {
        const Case k{N, 9, 9, 5, 19, kernel, kernel, 1, kernel / 2};
        expect(k, randomTensor(d, k.y(), 1, -1, 1));
      }
      // Gradients that are the same for all of an axis.
      const Case k{3, 4, 5, 2, 7, kernel, kernel, 1, kernel / 2};
      for (const int axis : {0, 1, 2, 3}) {
        Shape one = k.y();
        one[static_cast<std::size_t>(axis)] = 1;
        expect(k, broadcastAxis(randomTensor(d, one, 1, -1, 1), axis, k.y()[static_cast<std::size_t>(axis)]));
      }
      expect(k, broadcastAxis(broadcastAxis(randomTensor(d, {3, 1, 1, 7}, 1, -1, 1), 1, 4), 2, 5));
    }
}

TEST_CASE("conv: lists of channels are gathered and scattered") {
  const Case cases[] = {{2, 6, 6, 3, 4, 3, 3}, {2, 6, 6, 3, 4, 1, 1, 1, 0}};  // of weights [7, 3, 3, 5], [7, 1, 1, 5]
  for (const Case& k : cases)
    for (const DType d : kFloats)
      for (const int flags : {1, 2, 3, 5, 6, 7}) {
        const bool out = flags & 1, in = flags & 2, neighbours = flags & 4;
        const Tensor rows = neighbours ? of(DType::I32, {4}, {2, 3, 4, 5}) : of(DType::I32, {4}, {0, 2, 3, 6});
        const Tensor columns = neighbours ? of(DType::I32, {3}, {2, 3, 4}, Layout::Spread)
                                          : of(DType::I32, {3}, {0, 1, 4}, Layout::Spread);
        const Shape w = {out ? 7 : 4, k.KH, k.KW, in ? 5 : 3};
        const auto lists = [&](std::vector<Tensor> first) {
          if (out) first.push_back(rows);
          if (in) first.push_back(columns);
          return first;
        };
        const Tensor weights = randomTensor(d, w, 1, -1, 1, Layout::Padded), x = randomTensor(d, k.x(), 2, -1, 1);
        const Tensor g = randomTensor(d, k.y(), 3, -1, 1), bias = randomTensor(d, {w[0]}, 4);
        const std::vector<double> record = k.record(out, in);
        std::vector<Tensor> forward = lists({x, weights});
        forward.push_back(bias);
        expectAgreement(Op::Conv2d, {make(d, k.y())}, forward, with(record, {1, 0, 0, 1}), tolerance(d));
        expectAgreement(Op::Conv2dGradInput, {make(d, k.x())}, lists({g, weights}), with(record, {0, 1}), tolerance(d));
        const auto dw = expectAgreement(Op::Conv2dGradWeight, {make(d, w), make(d, {w[0]})}, lists({g, x}),
                                        with(record, {1}), tolerance(d));
        if (out) CHECK(dw[0].at(k.KH * k.KW * w[3]) == 0);  // row 1 isn't listed
      }
}

TEST_CASE("conv: a list with an index out of range or out of order is refused, and which it is") {
  const Case k{1, 4, 4, 3, 2, 3, 3};
  const Tensor x = randomTensor(DType::F32, k.x(), 1), w = randomTensor(DType::F32, {5, 3, 3, 3}, 2);
  const auto messageOf = [&](const KernelTable* table, double second) -> std::string {
    try {
      runKernel(*table, Op::Conv2d, {make(DType::F32, k.y())}, {x, w, of(DType::I32, {2}, {1, second})},
                with(k.record(1, 0), {0, 0, 0, 0}));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  for (const KernelTable* table : allTables()) {
    CHECK(messageOf(table, 5) == "conv2d: index 5 is outside 0..4");
    CHECK(messageOf(table, 1) == "conv2d: outputs: expected strictly ascending indices, got one that is not at 1");
  }
}

TEST_CASE("conv2dGradInput: scores are sums over a sample's positions, as gateStats gives them") {
  for (const DType d : kFloats)
    for (const std::int64_t C : {5, 16, 37})
      for (const Case& k :
           {Case{7, 6, 5, C, 11, 3, 3}, Case{7, 6, 5, C, 11, 3, 3, 2}, Case{7, 6, 5, C, 11, 1, 1, 1, 0}}) {
        const Tensor g = randomTensor(d, k.y(), 1, -1, 1), w = randomTensor(d, k.w(), 2, -1, 1, Layout::Padded);
        Tensor a = randomTensor(d, k.x(), 3, -1, 1);
        for (std::int64_t i = 0; i < a.size(); i += 3) a.set(i, 0);
        const Tensor labels = randomTensor(DType::I32, {k.N}, 4, 0, 4);
        const Tensor stats = randomTensor(DType::F32, {8, C}, 5, 0, 1, Layout::Padded);
        expectAgreement(Op::Conv2dGradInput, {make(d, k.x()), stats}, {g, w, a, labels}, with(k.record(), {1, 7}),
                        {1e-4, 1e-3});
        for (const KernelTable* table : allTables()) {
          const Tensor dx = make(d, k.x()), fused = stats.clone(), alone = stats.clone();
          runKernel(*table, Op::Conv2dGradInput, {dx, fused}, {g, w, a, labels}, with(k.record(), {1, 7}));
          Tensor flat = dx, flatA = a;
          for (Tensor* t : {&flat, &flatA}) {
            t->view.rank = 2;
            t->view.shape[0] = k.N * k.H * k.W;
            t->view.shape[1] = C;
            t->view.stride[0] = C;
            t->view.stride[1] = 1;
          }
          runKernel(*table, Op::GateStats, {alone}, {flatA, flat, labels}, {7, double(k.H * k.W)});
          const bool same = sameBytes(fused, alone);
          CHECK_MESSAGE(same, table->isa);
        }
      }
}

TEST_CASE("conv: NaN and infinity stay where the kernel reaches") {
  const Case k{2, 6, 6, 4, 18, 3, 3};
  for (const DType d : kFloats) {
    Tensor x = randomTensor(d, k.x(), 1, -1, 1);
    x.set(4 * (6 * 2 + 2), NAN);
    x.set(4 * (36 + 35) + 1, INFINITY);
    const Tensor w = randomTensor(d, k.w(), 2, 0.5, 1);
    expectAgreement(Op::Conv2d, {make(d, k.y())}, {x, w}, with(k.record(), {0, 0, 0, 1}), tolerance(d));
  }
}
