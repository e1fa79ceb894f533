// Softmax and cross-entropy against the naive kernels; extreme logits, optional inputs, labels out of range.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};
constexpr std::int64_t kSizes[] = {0, 1, 2, 7, 15, 16, 17, 31, 33, 65, 129, 300};
constexpr Tolerance kClose = {2e-6, 2e-6};
const double kInf = INFINITY;

Tensor labelsFor(std::int64_t rows, std::int64_t classes) {
  return randomTensor(DType::I32, {rows}, 11, 0, static_cast<double>(classes));
}

}  // namespace

TEST_CASE("softmax and its gradient: sizes and layouts") {
  for (const DType d : kFloats)
    for (const double logarithm : {0.0, 1.0})
      for (const std::int64_t C : kSizes)
        for (const Layout layout : kLayouts) {
          const Shape shape = {3, 5, C};
          const Tensor x = randomTensor(d, shape, 1, -20, 20, layout);
          const std::vector<Tensor> y = expectAgreement(Op::Softmax, {make(d, shape)}, {x}, {logarithm}, kClose);
          expectAgreement(Op::SoftmaxGrad, {make(d, shape)}, {randomTensor(d, shape, 2, -1, 1, layout), y[0]},
                          {logarithm}, {1e-5, C > 100 ? 2e-4 : 2e-5});
        }
}

TEST_CASE("softmax: many rows, a strided output, rank 1") {
  for (const DType d : kFloats) {
    expectAgreement(Op::Softmax, {make(d, {3000, 33}, Layout::Transposed)}, {randomTensor(d, {3000, 33}, 1)}, {0},
                    kClose);
    expectAgreement(Op::Softmax, {make(d, {33})}, {randomTensor(d, {33}, 1)}, {1}, kClose);
  }
}

TEST_CASE("softmax and crossEntropy: long rows, and rows further apart than they are long") {
  for (const DType d : kFloats)
    for (const std::int64_t C : {513, 1000, 1300, 2048, 4097, 4100}) {
      const Shape shape = {3, C};
      Tensor x = makeStrided(d, shape, {C + (C % 4 == 0 ? 8 : 0), 1});
      std::memset(x.memory->data(), 0, x.memory->size());
      for (std::int64_t i = 0; i < x.size(); ++i) x.set(i, static_cast<double>(i * 7919 % 4001) / 100 - 20);
      for (const double logarithm : {0.0, 1.0}) {
        const auto y = expectAgreement(Op::Softmax, {make(d, shape)}, {x}, {logarithm}, kClose);
        expectAgreement(Op::SoftmaxGrad, {make(d, shape)}, {randomTensor(d, shape, 2, -1, 1), y[0]}, {logarithm},
                        {1e-5, 1e-3});
      }
      const Tensor labels = labelsFor(3, C), offsets = randomTensor(d, {C}, 3), margins = randomTensor(d, {C}, 4);
      const std::vector<double> record = {0, 1, 1, 0.1};
      const std::vector<Tensor> in = {x, labels, offsets, margins};
      expectAgreement(Op::CrossEntropy, {make(d, {3})}, in, record, {1e-5, 1e-5});
      expectAgreement(Op::CrossEntropy, {make(d, {3}), make(d, shape)}, in, record, {1e-5, 1e-5});
      x.set(C + 5, -kInf);
      x.set(2 * C + 7, NAN);
      for (std::int64_t i = 0; i < C; ++i) x.set(i, -kInf);
      expectAgreement(Op::Softmax, {make(d, shape)}, {x}, {0}, kClose);
      expectAgreement(Op::CrossEntropy, {make(d, {3}), make(d, shape)}, {x, labels}, {0, 0, 0, 0}, {1e-5, 1e-5});
    }
}

TEST_CASE("softmax: extreme logits") {
  for (const DType d : kFloats)
    for (const double logarithm : {0.0, 1.0}) {
      const Tensor x = of(d, {6, 3}, {1e4, -1e4, 0, -kInf, 0, 1, -kInf, -kInf, -kInf, NAN, 1, 2, kInf, 1, 2, 5, 5, 5});
      const std::vector<Tensor> y = expectAgreement(Op::Softmax, {make(d, {6, 3})}, {x}, {logarithm}, kClose);
      CHECK(y[0].at(0) == (logarithm != 0 ? 0.0 : 1.0));
      CHECK(std::isnan(y[0].at(6)));
    }
}

TEST_CASE("crossEntropy: optional inputs in all combinations") {
  for (const DType d : kFloats)
    for (int flags = 0; flags < 8; ++flags)
      for (const double smoothing : {0.0, 0.1})
        for (const std::int64_t C : {1, 2, 10, 16, 17, 129, 300}) {
          const std::int64_t R = 21;
          std::vector<Tensor> in = {randomTensor(d, {R, C}, 1, -9, 9, C == 17 ? Layout::Padded : Layout::Contiguous),
                                    labelsFor(R, C)};
          for (int i = 0; i < 3; ++i)
            if (flags >> i & 1) in.push_back(randomTensor(d, {C}, 2u + static_cast<unsigned>(i), 0.1, 2));
          const std::vector<double> record = {double(flags & 1), double(flags >> 1 & 1), double(flags >> 2 & 1),
                                              smoothing};
          expectAgreement(Op::CrossEntropy, {make(d, {R})}, in, record, {1e-5, 1e-5});
          expectAgreement(Op::CrossEntropy, {make(d, {R}), make(d, {R, C})}, in, record, {1e-5, 1e-5});
          in.insert(in.begin(), randomTensor(d, {R}, 9, -1, 1));
          expectAgreement(Op::CrossEntropyGrad, {make(d, {R, C})}, in, record, {1e-5, 1e-6});
        }
}

TEST_CASE("crossEntropy: extreme logits and many rows") {
  for (const DType d : kFloats) {
    const Tensor x = of(d, {5, 3}, {1e4, -1e4, 0, -kInf, 0, 1, -kInf, -kInf, -kInf, NAN, 1, 2, -kInf, 1e4, 1e4});
    const Tensor y = of(DType::I32, {5}, {1, 1, 0, 1, 0});
    const auto loss = expectAgreement(Op::CrossEntropy, {make(d, {5})}, {x, y}, {0, 0, 0, 0}, kClose);
    expectAgreement(Op::CrossEntropy, {make(d, {5}), make(d, {5, 3})}, {x, y}, {0, 0, 0, 0}, kClose);
    CHECK(loss[0].at(0) == 2e4);
    CHECK(std::isinf(loss[0].at(4)));
    expectAgreement(Op::CrossEntropyGrad, {make(d, {5, 3})}, {of(d, {5}, {1, 1, 1, 1, 1}), x, y}, {0, 0, 0, 0}, kClose);
    const Tensor many = randomTensor(d, {4000, 10}, 3), labels = labelsFor(4000, 10);
    expectAgreement(Op::CrossEntropy, {make(d, {4000})}, {many, labels}, {0, 0, 0, 0.1}, {1e-5, 1e-5});
    const Tensor shared = broadcastAxis(of(d, {1}, {0.25}), 0, 4000);
    expectAgreement(Op::CrossEntropyGrad, {make(d, {4000, 10})}, {shared, many, labels}, {0, 0, 0, 0}, {1e-5, 1e-6});
  }
}

TEST_CASE("crossEntropy: a label out of range is named") {
  for (const KernelTable* table : allTables())
    for (const int bad : {10, -1}) {
      const Tensor x = randomTensor(DType::F32, {5, 10}, 1), y = of(DType::I32, {5}, {0, 1, 2, double(bad), 4});
      std::string message;
      Code code = Code::Internal;
      try {
        runKernel(*table, Op::CrossEntropy, {make(DType::F32, {5})}, {x, y}, {0, 0, 0, 0});
      } catch (const Error& e) {
        message = e.what();
        code = e.code();
      }
      CHECK(message == "crossEntropy: label " + std::to_string(bad) + " at row 3 is outside 0..9");
      CHECK(code == Code::Shape);
    }
}
