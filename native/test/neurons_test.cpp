// Neuron scores against the naive kernels.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {
constexpr DType kFloats[] = {DType::F32, DType::F64};
}

TEST_CASE("unitScore: every kind, sizes and layouts") {
  for (const DType d : kFloats)
    for (int kind = 0; kind < kScoreKindCount; ++kind)
      for (const std::int64_t U : {0, 1, 17, 300})
        for (const std::int64_t F : {0, 1, 7, 16, 33, 300})
          for (const Layout layout : kLayouts) {
            std::vector<Tensor> in = {randomTensor(d, {U, F}, 1, -1, 1, layout)};
            if (kind >= static_cast<int>(ScoreKind::TaylorWeight))
              in.push_back(randomTensor(d, {U, F}, 2, -1, 1, layout));
            const bool both = kind == static_cast<int>(ScoreKind::L2Taylor);
            expectAgreement(Op::UnitScore, {both ? make(d, {2, U}) : make(d, {U})}, in, {double(kind)}, {1e-5, 1e-5});
          }
}

TEST_CASE("unitUtility: decay, ages, a first step that gives the utility itself") {
  for (const DType d : kFloats)
    for (const std::int64_t K : {0, 1, 17, 300}) {
      const Tensor activity = randomTensor(d, {K}, 1, 0, 2), outgoing = randomTensor(d, {K}, 2, 0, 2);
      Tensor age = randomTensor(d, {K}, 3, 0, 50);
      for (std::int64_t k = 0; k < K; ++k) age.set(k, std::floor(age.at(k)));
      expectAgreement(Op::UnitUtility, {make(d, {K}), randomTensor(d, {K}, 4, 0, 1), age}, {activity, outgoing}, {0.99},
                      {1e-5, 1e-6});
    }
  for (const KernelTable* table : allTables()) {
    const Tensor s = make(DType::F64, {1}), u = zeros(DType::F64, {1}), age = zeros(DType::F64, {1});
    const Tensor two = of(DType::F64, {1}, {2}), three = of(DType::F64, {1}, {3});
    runKernel(*table, Op::UnitUtility, {s, u, age}, {two, three}, {0.99});
    CHECK(s.at(0) == doctest::Approx(6));
    CHECK(age.at(0) == 1);
  }
}

TEST_CASE("gateStats: sums per class and in total") {
  for (const DType d : kFloats)
    for (const std::int64_t M : {0, 1, 33, 300})
      for (const std::int64_t K : {1, 7, 16, 65, 300})
        for (const Layout layout : kLayouts) {
          Tensor a = randomTensor(d, {M, K}, 1, -1, 1, layout);
          for (std::int64_t i = 0; i < a.size(); i += 4) a.set(i, 0);
          const Tensor g = randomTensor(d, {M, K}, 2, -1, 1), labels = randomTensor(DType::I32, {M}, 3, 0, 5);
          const Tensor stats = randomTensor(DType::F32, {9, K}, 4, 0, 1, layout);
          expectAgreement(Op::GateStats, {stats}, {a, g, labels}, {32, 1}, {1e-5, 1e-3});
        }
}

TEST_CASE("gateStats: more classes than samples, and rows 4 KiB apart") {
  for (const std::int64_t K : {1, 19, 40, 1024}) {
    const Tensor a = randomTensor(DType::F32, {33, K}, 1), g = randomTensor(DType::F32, {33, K}, 2);
    const Tensor labels = randomTensor(DType::I32, {33}, 3, 0, 100);
    const Tensor stats = randomTensor(DType::F32, {104, K}, 4, 0, 1), few = randomTensor(DType::F32, {9, K}, 5, 0, 1);
    expectAgreement(Op::GateStats, {stats}, {a, g, labels}, {32, 1}, {1e-5, 1e-3});
    const Tensor lower = randomTensor(DType::I32, {33}, 6, 0, 5);
    expectAgreement(Op::GateStats, {few}, {a, g, lower}, {32, 1}, {1e-5, 1e-3});
  }
}

TEST_CASE("gateStats: the values of a small case, and NaN only where it belongs") {
  for (const KernelTable* table : allTables()) {
    const Tensor a = of(DType::F32, {3, 2}, {1, 0, -2, 3, 4, NAN}), g = of(DType::F32, {3, 2}, {1, 1, 1, -1, 0.5, 1});
    const Tensor labels = of(DType::I32, {3}, {1, 0, 1}), stats = zeros(DType::F32, {6, 2});
    runKernel(*table, Op::GateStats, {stats}, {a, g, labels}, {2, 1});
    const double expected[] = {4, 6, 6, NAN, 7, NAN, 3, NAN, 0, 1, 36, NAN};
    const std::string wrong = mismatch(stats, of(DType::F32, {6, 2}, {expected, expected + 12}));
    CHECK_MESSAGE(wrong.empty(), table->isa, ": ", wrong);
  }
}

TEST_CASE("gateStats: small values of many rows are not lost in large totals") {
  constexpr float large = 1 << 24;  // its neighbour above is 2 away
  const Tensor a = of(DType::F32, {64, 9}, std::vector<double>(64 * 9, 0.25)), labels = zeros(DType::I32, {64});
  for (const KernelTable* table : allTables()) {
    const Tensor stats = of(DType::F32, {5, 9}, std::vector<double>(5 * 9, large));
    runKernel(*table, Op::GateStats, {stats}, {a, a, labels}, {1, 1});
    for (std::int64_t k = 0; k < 9; ++k) CHECK_MESSAGE(stats.at(2 * 9 + k) == large + 16, table->isa, " column ", k);
  }
}

TEST_CASE("gateStats: a label out of range is named and nothing is written") {
  for (const KernelTable* table : allTables()) {
    const Tensor a = randomTensor(DType::F32, {2, 9}, 1), labels = of(DType::I32, {2}, {0, 5});
    const Tensor stats = zeros(DType::F32, {9, 9}), before = stats.clone();
    std::string message;
    try {
      runKernel(*table, Op::GateStats, {stats}, {a, a, labels}, {1, 1});
    } catch (const Error& e) {
      message = e.what();
    }
    CHECK(message == "gateStats: label 5 at row 1 is outside 0..4");
    const bool untouched = sameBytes(stats, before);
    CHECK(untouched);
  }
}
