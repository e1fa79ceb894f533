// check(): wrong calls are refused with the right code, and the message names op, expectation and what came.
#include "core_support.h"
#include "kernels/contract.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

View view(DType d, std::initializer_list<std::int64_t> shape) {
  View v;
  v.dtype = d;
  for (std::int64_t n : shape) v.shape[v.rank++] = n;
  std::int64_t stride = 1;
  for (int i = v.rank - 1; i >= 0; --i) {
    v.stride[i] = stride;
    stride *= v.shape[i];
  }
  return v;
}

std::string verdict(Op op, std::vector<View> out, std::vector<View> in, std::vector<double> record) {
  try {
    check(op, Args{out.data(), static_cast<int>(out.size()), in.data(), static_cast<int>(in.size()), record.data(),
                   static_cast<int>(record.size()), nullptr});
  } catch (const Error& e) {
    return std::string(nameOf(e.code())) + " " + e.what();
  }
  return "ok";
}

constexpr DType F = DType::F32, D = DType::F64, I = DType::I32, B = DType::Bool, U = DType::U8;

}  // namespace

TEST_CASE("check: elementwise and movement") {
  const double relu = static_cast<double>(UnaryKind::Relu), exp = static_cast<double>(UnaryKind::Exp);
  const double add = static_cast<double>(BinaryKind::Add), less = static_cast<double>(BinaryKind::Less);
  CHECK(verdict(Op::Unary, {view(F, {4})}, {view(F, {4})}, {relu, 0, 0}) == "ok");
  CHECK(verdict(Op::Unary, {view(I, {4})}, {view(I, {4})}, {exp, 0, 0}) ==
        "DTYPE exp: x: expected f32 or f64, got i32");
  CHECK(verdict(Op::Unary, {view(F, {4})}, {view(F, {5})}, {relu, 0, 0}) == "SHAPE relu: x: expected [4], got [5]");
  CHECK(verdict(Op::Unary, {view(F, {4})}, {view(F, {4})}, {99, 0, 0}) == "CONFIG unary: no unary kind 99");
  CHECK(verdict(Op::Unary, {view(F, {4})}, {view(F, {4})}, {relu}) == "CONFIG unary: expected 3 parameters, got 1");
  CHECK(verdict(Op::Binary, {view(B, {4})}, {view(F, {4}), view(F, {4})}, {less}) == "ok");
  CHECK(verdict(Op::Binary, {view(F, {4})}, {view(F, {4}), view(D, {4})}, {add}) ==
        "DTYPE add: b: expected f32, got f64");
  View broadcast = view(F, {4});
  broadcast.stride[0] = 0;
  CHECK(verdict(Op::Binary, {view(F, {4})}, {view(F, {4}), broadcast}, {add}) == "ok");
  CHECK(verdict(Op::Fill, {broadcast}, {}, {0}).find("SHAPE fill: output 0") == 0);
  CHECK(verdict(Op::Fill, {view(I, {4})}, {}, {3e9}).find("CONFIG fill") == 0);
  float memory[8];
  View a = view(F, {4}), b = view(F, {4});
  a.data = memory;
  b.data = memory + 1;
  CHECK(verdict(Op::Unary, {a}, {a}, {relu, 0, 0}) == "ok");
  CHECK(verdict(Op::Unary, {b}, {a}, {relu, 0, 0}) == "SHAPE relu: output 0 lies over input 0");
  // Every second number is written, the ones between are the indices: no kernel may change what it has checked.
  std::int32_t numbers[8] = {};
  View list = view(I, {3}), target = view(I, {3}), source = view(I, {3});
  list.stride[0] = target.stride[0] = 2;
  target.data = numbers;
  list.data = numbers + 1;
  CHECK(verdict(Op::IndexAdd, {target}, {list, source}, {0}) == "SHAPE indexAdd: output 0 lies over input 0");
  CHECK(verdict(Op::Copy, {target}, {list}, {}) == "ok");
  CHECK(verdict(Op::Gather, {view(F, {2, 3})}, {view(F, {5, 3}), view(I, {2, 3})}, {0}) == "ok");
  CHECK(verdict(Op::Gather, {view(F, {2, 3})}, {view(F, {5, 4}), view(I, {2, 3})}, {0}).find("SHAPE gather: x") == 0);
  CHECK(verdict(Op::IndexSelect, {view(F, {2, 3})}, {view(F, {5, 3}), view(I, {2})}, {2, 0}) ==
        "SHAPE indexSelect: axis 2 of a tensor of rank 2");
  CHECK(verdict(Op::OneHot, {view(F, {2, 3})}, {view(I, {2})}, {1, 0}) == "ok");
}

TEST_CASE("check: reductions and layers") {
  const double sum = static_cast<double>(ReduceKind::Sum), max = static_cast<double>(ReduceKind::Max);
  CHECK(verdict(Op::Reduce, {view(F, {2})}, {view(F, {2, 3})}, {sum, 1, 0}) == "ok");
  CHECK(verdict(Op::Reduce, {view(F, {3})}, {view(F, {2, 3})}, {sum, 1, 0}).find("SHAPE sum: y") == 0);
  CHECK(verdict(Op::Reduce, {view(F, {2})}, {view(F, {2, 0})}, {max, 1, 0}).find("SHAPE max: of nothing") == 0);
  CHECK(verdict(Op::Reduce, {view(F, {2})}, {view(F, {2, 3})}, {sum, 5, 0}).find("CONFIG sum") == 0);
  CHECK(verdict(Op::ArgReduce, {view(I, {2})}, {view(F, {2, 3})}, {0}) == "ok");
  CHECK(verdict(Op::Matmul, {view(F, {2, 4})}, {view(F, {2, 3}), view(F, {3, 4})}, {}) == "ok");
  CHECK(verdict(Op::Matmul, {view(F, {2, 4})}, {view(F, {2, 3}), view(F, {5, 4})}, {}) ==
        "SHAPE matmul: inner dimensions differ: [2, 3] x [5, 4]");
  CHECK(verdict(Op::Linear, {view(F, {2, 4})}, {view(F, {2, 3}), view(F, {4, 3}), view(F, {4})}, {1, 0, 0, 0, 0}) ==
        "ok");
  CHECK(verdict(Op::Linear, {view(F, {2, 4})}, {view(F, {2, 3}), view(F, {4, 3})}, {1, 0, 0, 0, 0}) ==
        "CONFIG linear: expected 3 inputs, got 2");
  CHECK(verdict(Op::CrossEntropy, {view(F, {2})}, {view(F, {2, 3}), view(I, {2})}, {0, 0, 0, 0.1}) == "ok");
  CHECK(verdict(Op::CrossEntropy, {view(F, {2}), view(F, {2, 2})}, {view(F, {2, 3}), view(I, {2})}, {0, 0, 0, 0})
            .find("SHAPE crossEntropy: dlogits") == 0);
  CHECK(verdict(Op::CrossEntropy, {view(F, {2})}, {view(F, {2, 3}), view(F, {2})}, {0, 0, 0, 0}) ==
        "DTYPE crossEntropy: labels: expected i32, got f32");
  CHECK(verdict(Op::CrossEntropy, {view(F, {2})}, {view(F, {2, 3}), view(I, {2})}, {0, 0, 0, 2}).find("CONFIG") == 0);
  const std::vector<View> bn = {view(F, {1, 3}), view(F, {3}), view(F, {3}), view(F, {3}), view(F, {3})};
  CHECK(verdict(Op::BatchNorm, bn, {view(F, {1, 3}), view(F, {3}), view(F, {3})}, {1e-5, 0.1, 0, 0, 0})
            .find("SHAPE batchNorm") == 0);
}

TEST_CASE("check: counts of active neurons") {
  const std::vector<View> two = {view(F, {2, 5}), view(F, {3, 5})};
  const auto linear = [&](const View& count, double kind) {
    return verdict(Op::Linear, {view(F, {2, 3})}, {two[0], two[1], count}, {0, 0, 0, kind, 0});
  };
  CHECK(linear(view(I, {1}), 2) == "ok");
  CHECK(linear(view(I, {2}), 2).find("SHAPE linear: count of outputs") == 0);
  CHECK(linear(view(F, {1}), 2).find("DTYPE linear: count of outputs") == 0);
  CHECK(linear(view(I, {1}), 3).find("CONFIG") == 0);
  const auto conv = [&](double groups, std::int64_t channels) {
    return verdict(Op::Conv2d, {view(F, {1, 4, 4, 4})},
                   {view(F, {1, 4, 4, 4}), view(F, {4, 1, 1, channels}), view(I, {1})},
                   {1, 1, 0, 0, 1, 1, groups, 0, 2, 0, 0, 0, 0});
  };
  CHECK(conv(1, 4) == "ok");
  CHECK(conv(2, 2).find("CONFIG conv2d: groups") == 0);
  const auto sgd = [&](std::vector<double> counts) {
    std::vector<double> record = {1, 0, 0, 0, 0, 0};
    record.insert(record.end(), counts.begin(), counts.end());
    return verdict(Op::SgdStep, {view(F, {3, 5}), view(F, {3}), view(F, {5})},
                   {view(D, {2}), view(F, {3, 5}), view(I, {1})}, record);
  };
  CHECK(sgd({2, 2}) == "ok");
  CHECK(sgd({0, 2}) == "ok");
  CHECK(sgd({2}).find("CONFIG sgdStep: expected 6 or 8 parameters") == 0);
  CHECK(sgd({1, 2}).find("CONFIG sgdStep: expected a count behind the gradients") == 0);
  CHECK(sgd({3, 2}).find("CONFIG") == 0);
  CHECK(sgd({}).find("CONFIG") == 0);  // an input too many
}

TEST_CASE("check: training") {
  CHECK(verdict(Op::GatherRows, {view(F, {2, 3})}, {view(U, {5, 3}), view(I, {2})}, {1, 0}) == "ok");
  CHECK(verdict(Op::Random, {view(F, {2}), view(I, {4})}, {}, {2, 1.5, 1}).find("CONFIG bernoulli: probability") == 0);
  View row = view(F, {4}), col = view(F, {3});
  row.stride[0] = col.stride[0] = 0;
  const std::vector<View> slots = {view(F, {4, 3}), view(F, {4, 3}), view(F, {4, 3}), row, col};
  CHECK(verdict(Op::AdamStep, slots, {view(D, {2}), view(F, {4, 3})}, {1, .9, .999, 1e-8, 1, 0, .01}) == "ok");
  CHECK(verdict(Op::AdamStep, slots, {view(D, {2}), view(F, {3, 4})}, {1, .9, .999, 1e-8, 1, 0, .01}) ==
        "SHAPE adamStep: g of parameter 0: expected [4, 3], got [3, 4]");
  CHECK(verdict(Op::AdamStep, slots, {view(D, {2}), view(F, {4, 3})}, {1, .9, 1, 1e-8, 1, 0, .01}).find("CONFIG") == 0);
  CHECK(verdict(Op::SgdStep, {view(F, {3}), view(F, {1}), col}, {view(D, {2}), view(F, {3})}, {1, 0, 0, 0, 0, 0}) ==
        "ok");
  CHECK(verdict(Op::SgdStep, {}, {}, {}).find("CONFIG sgdStep") == 0);
}

TEST_CASE("check: no op takes an empty call or garbage counts for granted") {
  for (int op = 0; op < kOpCount; ++op) {
    const std::string v = verdict(static_cast<Op>(op), {}, {}, {});
    INFO(nameOf(static_cast<Op>(op)), ": ", v);
    CHECK(v != "ok");
  }
}
