// Counts of active neurons that kernels read when they run: what lies beyond is NaN, must not be read, and comes out as
// 0; what is active must be what the same op gives on tensors of that size.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};
constexpr double kCounted = 2;

Tolerance tolerance(DType d) { return d == DType::F32 ? Tolerance{1e-5, 2e-4} : Tolerance{1e-13, 1e-12}; }

Tensor count(double n) { return of(DType::I32, {1}, {n}); }

// 0, 1, odd ones, all, and what is held to the range.
std::vector<double> countsOf(std::int64_t size) {
  const double n = static_cast<double>(size);
  return {0, 1, std::floor(n / 4) * 2 + 1, n - 1, n, n + 7, -3};
}
std::int64_t held(double n, std::int64_t size) {
  return std::min(std::max(static_cast<std::int64_t>(n), std::int64_t{0}), size);
}

// The leading block of t along an axis.
Tensor leading(Tensor t, int axis, std::int64_t n) {
  t.view.shape[axis] = n;
  return t;
}

template <class F>
void eachIndex(const Tensor& t, F f) {
  Shape at(static_cast<std::size_t>(t.view.rank), 0);
  for (std::int64_t i = 0; i < t.size(); ++i) {
    f(i, at);
    for (int d = t.view.rank - 1; d >= 0 && ++at[static_cast<std::size_t>(d)] == t.view.shape[d]; --d)
      at[static_cast<std::size_t>(d)] = 0;
  }
}

// NaN from n on along an axis.
void spoil(Tensor& t, int axis, std::int64_t n) {
  eachIndex(t, [&](std::int64_t i, const Shape& at) {
    if (at[static_cast<std::size_t>(axis)] >= n) t.set(i, NAN);
  });
}

bool zeroBeyond(const Tensor& t, int axis, std::int64_t n) {
  bool zero = true;
  eachIndex(t, [&](std::int64_t i, const Shape& at) {
    if (at[static_cast<std::size_t>(axis)] >= n) zero = zero && t.at(i) == 0;
  });
  return zero;
}

// The op agrees everywhere, and is what it is on the leading blocks.
struct Expectation {
  Tensor got;  // of the counted op
  std::vector<std::pair<int, std::int64_t>> cut;

  void equals(const Tensor& expected, Tolerance tol) const {
    Tensor block = got;
    for (const auto& [axis, n] : cut) {
      CHECK(zeroBeyond(got, axis, n));
      block = leading(block, axis, n);
    }
    CHECK(mismatch(block, expected, tol) == "");
  }
};

}  // namespace

TEST_CASE("counted: dense layer and its gradients") {
  struct Case {
    std::int64_t M, N, K;
  };
  const Case cases[] = {{19, 37, 45}, {1, 9, 12}, {130, 70, 33}, {3, 300, 260}, {0, 8, 8}, {200, 8, 140}};
  for (const DType d : kFloats)
    for (const Case& c : cases)
      for (const double on : countsOf(c.N))
        for (const double in : countsOf(c.K)) {
          const std::int64_t n = held(on, c.N), k = held(in, c.K);
          CAPTURE(c.M);
          CAPTURE(n);
          CAPTURE(k);
          Tensor w = randomTensor(d, {c.N, c.K}, 1, -1, 1, Layout::Padded), x = randomTensor(d, {c.M, c.K}, 2, -1, 1);
          Tensor g = randomTensor(d, {c.M, c.N}, 3, -1, 1), bias = randomTensor(d, {c.N}, 4, -1, 1);
          Tensor residual = randomTensor(d, {c.M, c.N}, 5, -1, 1), a = randomTensor(d, {c.M, c.K}, 6, -1, 1);
          const Tensor wn = make(d, {n, k}), labels = randomTensor(DType::I32, {c.M}, 7, 0, 3);
          spoil(w, 0, n), spoil(w, 1, k), spoil(x, 1, k), spoil(g, 1, n), spoil(bias, 0, n), spoil(residual, 1, n);
          spoil(a, 1, k);
          const Tensor block = leading(leading(w, 0, n), 1, k), xs = leading(x, 1, k), gs = leading(g, 1, n);
          const auto plain = [&](Op op, std::vector<Tensor> out, const std::vector<Tensor>& inputs,
                                 const std::vector<double>& record) {
            runKernel(naiveTable(), op, out, inputs, record);
            return out;
          };

          auto got = expectAgreement(Op::Linear, {make(d, {c.M, c.N})}, {x, w, bias, residual, count(on), count(in)},
                                     {1, 3, 1, kCounted, kCounted}, tolerance(d));
          Tensor dense = make(d, {c.M, n});
          for (std::int64_t i = 0; i < dense.size(); ++i)
            dense.set(i, leading(residual, 1, n).at(i));  // contiguous, as the op wants it
          Expectation{got[0], {{1, n}}}.equals(
              plain(Op::Linear, {make(d, {c.M, n})}, {xs, block, leading(bias, 0, n), dense}, {1, 3, 1, 0, 0})[0],
              tolerance(d));
          got = expectAgreement(Op::Linear, {make(d, {c.M, c.N})}, {x, leading(w, 0, c.N), count(in)},
                                {0, 0, 0, 0, kCounted}, tolerance(d));

          const Tensor stats = randomTensor(DType::F32, {7, c.K}, 8, -1, 1);
          got = expectAgreement(Op::LinearGradInput, {make(d, {c.M, c.K}), stats},
                                {g, w, a, labels, count(on), count(in)}, {1, 16, kCounted, kCounted}, {1e-4, 1e-3});
          const Tensor own = leading(stats.clone(), 1, k);
          const auto dx = plain(Op::LinearGradInput, {make(d, {c.M, k}), own}, {gs, block, leading(a, 1, k), labels},
                                {1, 16, 0, 0});
          Expectation{got[0], {{1, k}}}.equals(dx[0], tolerance(d));
          CHECK(mismatch(leading(got[1], 1, k), own, {1e-4, 1e-3}) == "");
          eachIndex(stats, [&](std::int64_t i, const Shape& at) {
            if (at[1] >= k) CHECK(got[1].at(i) == stats.at(i));
          });

          got = expectAgreement(Op::LinearGradWeight, {make(d, {c.N, c.K}), make(d, {c.N})},
                                {g, x, count(on), count(in)}, {1, kCounted, kCounted}, tolerance(d));
          const auto dw = plain(Op::LinearGradWeight, {wn, make(d, {n})}, {gs, xs}, {1, 0, 0});
          Expectation{got[0], {{0, n}, {1, k}}}.equals(dw[0], tolerance(d));
          Expectation{got[1], {{0, n}}}.equals(dw[1], tolerance(d));
        }
}

TEST_CASE("counted: optimisers move the active block only") {
  for (const DType d : kFloats)
    for (const Shape& shape : {Shape{33, 40}, Shape{9, 2, 3, 20}, Shape{64, 7}, Shape{1, 5}})
      for (const double on : countsOf(shape[0]))
        for (const double in : countsOf(shape.back()))
          for (const bool adam : {false, true}) {
            const std::int64_t n = held(on, shape[0]), k = held(in, shape.back());
            const int last = static_cast<int>(shape.size()) - 1;
            Tensor p = randomTensor(d, shape, 1, -1, 1), g = randomTensor(d, shape, 2, -1, 1);
            const Tensor m = randomTensor(d, shape, 3, 0, 1), v = randomTensor(d, shape, 4, 0, 1);
            const Tensor rows = randomTensor(DType::F32, {shape[0]}, 5, 0, 9);
            const Tensor cols = randomTensor(DType::F32, {shape.back()}, 6, 0, 9);
            Tensor bias = randomTensor(d, {shape[0]}, 7, -1, 1), db = randomTensor(d, {shape[0]}, 8, -1, 1);
            const Tensor bm = zeros(d, {shape[0]}), bv = zeros(d, {shape[0]});
            const Tensor one = zeros(DType::F32, {1}), ages = zeros(DType::F32, {shape[0]});
            spoil(g, 0, n), spoil(g, last, k), spoil(db, 0, n);
            const Tensor hyper = of(DType::F64, {2}, {0.1, 0.5});
            const Op op = adam ? Op::AdamStep : Op::SgdStep;
            std::vector<double> record = adam ? std::vector<double>{2, 0.9, 0.99, 1e-6, 1, 0, 0.1, 0}
                                              : std::vector<double>{2, 0.9, 0, 1, 0, 0.1, 0};
            std::vector<Tensor> out = adam ? std::vector<Tensor>{p, m, v, rows, cols, bias, bm, bv, one, ages}
                                           : std::vector<Tensor>{p, m, rows, cols, bias, bm, one, ages};
            // Both parameters' rows are of one width: the same count.
            std::vector<double> counted = record;
            counted.insert(counted.end(), {3, 4, 0, 3});
            const auto got = expectAgreement(op, out, {hyper, g, db, count(on), count(in)}, counted, {1e-5, 1e-5});
            std::vector<Tensor> blocks;
            for (std::size_t i = 0; i < out.size(); ++i) {
              Tensor t = out[i].clone();
              const bool ofBias = i >= out.size() / 2;
              if (t.view.rank > 1)
                t = leading(leading(t, 0, n), last, k);
              else if (ofBias ? i + 2 != out.size() : i + 2 == out.size() / 2)
                t = leading(t, 0, n);
              else if (!ofBias)
                t = leading(t, 0, k);
              blocks.push_back(t);
            }
            runKernel(naiveTable(), op, blocks, {hyper, leading(leading(g, 0, n), last, k), leading(db, 0, n)}, record);
            for (std::size_t i = 0; i < out.size(); ++i) {
              Tensor block = got[i];
              for (int axis = 0; axis < block.view.rank; ++axis) block.view.shape[axis] = blocks[i].view.shape[axis];
              CHECK(mismatch(block, blocks[i], {1e-5, 1e-5}) == "");
              eachIndex(out[i], [&](std::int64_t at, const Shape& where) {
                bool inside = true;
                for (int axis = 0; axis < block.view.rank; ++axis)
                  inside = inside && where[static_cast<std::size_t>(axis)] < blocks[i].view.shape[axis];
                if (!inside && got[i].at(at) != out[i].at(at)) FAIL_CHECK("moved beyond the count");
              });
            }
          }
}

TEST_CASE("counted: convolution and its gradients") {
  struct Case {
    std::int64_t N, H, W, C, F, K;
    double stride, pad;
  };
  const Case cases[] = {{3, 7, 6, 12, 20, 3, 1, 1}, {2, 9, 8, 5, 7, 3, 2, 1}, {4, 5, 5, 36, 72, 1, 1, 0}};
  for (const DType d : kFloats)
    for (const Case& c : cases)
      for (const double on : countsOf(c.F))
        for (const double in : countsOf(c.C)) {
          const std::int64_t n = held(on, c.F), k = held(in, c.C);
          CAPTURE(n);
          CAPTURE(k);
          const std::int64_t OH =
              (c.H + 2 * static_cast<std::int64_t>(c.pad) - c.K) / static_cast<std::int64_t>(c.stride) + 1;
          const std::int64_t OW =
              (c.W + 2 * static_cast<std::int64_t>(c.pad) - c.K) / static_cast<std::int64_t>(c.stride) + 1;
          const Shape ys = {c.N, OH, OW, c.F}, xs = {c.N, c.H, c.W, c.C}, ws = {c.F, c.K, c.K, c.C};
          Tensor x = randomTensor(d, xs, 1, -1, 1), w = randomTensor(d, ws, 2, -1, 1),
                 g = randomTensor(d, ys, 3, -1, 1);
          Tensor bias = randomTensor(d, {c.F}, 4, -1, 1), residual = randomTensor(d, ys, 5, -1, 1);
          Tensor a = randomTensor(d, xs, 6, -1, 1);
          const Tensor labels = randomTensor(DType::I32, {c.N}, 7, 0, 3);
          spoil(x, 3, k), spoil(w, 0, n), spoil(w, 3, k), spoil(g, 3, n), spoil(bias, 0, n), spoil(residual, 3, n);
          spoil(a, 3, k);
          const Tensor xk = leading(x, 3, k), wnk = leading(leading(w, 0, n), 3, k), gn = leading(g, 3, n);
          const std::vector<double> windows = {c.stride, c.stride, c.pad, c.pad, 1, 1, 1};
          const auto record = [&](double kind, std::initializer_list<double> rest) {
            std::vector<double> all = windows;
            all.insert(all.end(), {kind, kind});
            all.insert(all.end(), rest);
            return all;
          };

          auto got = expectAgreement(Op::Conv2d, {make(d, ys)}, {x, w, count(on), count(in), bias, residual},
                                     record(kCounted, {1, 0, 1, 1}), tolerance(d));
          Tensor y = make(d, {c.N, OH, OW, n});
          runKernel(naiveTable(), Op::Conv2d, {y}, {xk, wnk, leading(bias, 0, n), leading(residual, 3, n)},
                    record(0, {1, 0, 1, 1}));
          Expectation{got[0], {{3, n}}}.equals(y, tolerance(d));

          const Tensor stats = randomTensor(DType::F32, {7, c.C}, 8, -1, 1), own = leading(stats.clone(), 1, k);
          got = expectAgreement(Op::Conv2dGradInput, {make(d, xs), stats}, {g, w, count(on), count(in), a, labels},
                                record(kCounted, {1, 4}), {1e-4, 1e-3});
          Tensor dx = make(d, {c.N, c.H, c.W, k});
          runKernel(naiveTable(), Op::Conv2dGradInput, {dx, own}, {gn, wnk, leading(a, 3, k), labels},
                    record(0, {1, 4}));
          Expectation{got[0], {{3, k}}}.equals(dx, tolerance(d));
          CHECK(mismatch(leading(got[1], 1, k), own, {1e-4, 1e-3}) == "");

          got = expectAgreement(Op::Conv2dGradWeight, {make(d, ws), make(d, {c.F})}, {g, x, count(on), count(in)},
                                record(kCounted, {1}), tolerance(d));
          Tensor dw = make(d, {n, c.K, c.K, k}), db = make(d, {n});
          runKernel(naiveTable(), Op::Conv2dGradWeight, {dw, db}, {gn, xk}, record(0, {1}));
          Expectation{got[0], {{0, n}, {3, k}}}.equals(dw, tolerance(d));
          Expectation{got[1], {{0, n}}}.equals(db, tolerance(d));
        }
}

TEST_CASE("counted: batch norm, its gradient and evaluation") {
  for (const DType d : kFloats)
    for (const Shape& shape : {Shape{40, 20}, Shape{5000, 12}, Shape{3, 70}})
      for (const double on : countsOf(shape[1]))
        for (const double relu : {0.0, 1.0}) {
          const std::int64_t R = shape[0], C = shape[1], n = held(on, C);
          CAPTURE(n);
          Tensor x = randomTensor(d, shape, 1), g = randomTensor(d, shape, 2, -1, 1), side = randomTensor(d, shape, 3);
          Tensor gamma = randomTensor(d, {C}, 4, 0.5, 2), beta = randomTensor(d, {C}, 5);
          const Tensor mean = randomTensor(d, {C}, 6), var = randomTensor(d, {C}, 7, 0.5, 2);
          spoil(x, 1, n), spoil(g, 1, n), spoil(side, 1, n), spoil(gamma, 0, n), spoil(beta, 0, n);
          const auto cut = [&](const Tensor& t) { return leading(t, t.view.rank - 1, n); };
          auto y = expectAgreement(Op::BatchNorm, {make(d, shape), make(d, {C}), make(d, {C}), mean, var},
                                   {x, gamma, beta, side, count(on)}, {1e-2, 0.1, relu, 1, 1}, {1e-4, 3e-5});
          std::vector<Tensor> own = {make(d, {R, n}), make(d, {n}), make(d, {n}), cut(mean.clone()), cut(var.clone())};
          runKernel(naiveTable(), Op::BatchNorm, own, {cut(x), cut(gamma), cut(beta), cut(side)},
                    {1e-2, 0.1, relu, 1, 0});
          for (std::size_t i = 0; i < 3; ++i) Expectation{y[i], {{y[i].view.rank - 1, n}}}.equals(own[i], {1e-4, 3e-5});
          for (std::size_t i = 3; i < 5; ++i) {
            CHECK(mismatch(cut(y[i]), own[i], {1e-5, 1e-5}) == "");
            for (std::int64_t c = n; c < C; ++c) CHECK(y[i].at(c) == (i == 3 ? mean : var).at(c));
          }

          std::vector<Tensor> in = {g, x, y[1], y[2], gamma}, inCut;
          if (relu != 0) in.push_back(y[0]);
          for (const Tensor& t : in) inCut.push_back(cut(t));
          in.push_back(count(on));
          const auto dx =
              expectAgreement(Op::BatchNormGrad, {make(d, shape), make(d, {C}), make(d, {C}), make(d, shape)}, in,
                              {relu, 1, 1}, {1e-4, 5e-4});
          own = {make(d, {R, n}), make(d, {n}), make(d, {n}), make(d, {R, n})};
          runKernel(naiveTable(), Op::BatchNormGrad, own, inCut, {relu, 1, 0});
          for (std::size_t i = 0; i < 4; ++i)
            Expectation{dx[i], {{dx[i].view.rank - 1, n}}}.equals(own[i], {1e-4, 5e-4});

          const auto e =
              expectAgreement(Op::BatchNormEval, {make(d, shape)}, {x, gamma, beta, mean, var, side, count(on)},
                              {1e-2, relu, 1, 1}, {1e-4, 3e-5});
          Tensor out = make(d, {R, n});
          runKernel(naiveTable(), Op::BatchNormEval, {out},
                    {cut(x), cut(gamma), cut(beta), cut(mean), cut(var), cut(side)}, {1e-2, relu, 1, 0});
          Expectation{e[0], {{1, n}}}.equals(out, {1e-4, 3e-5});
        }
}

TEST_CASE("counted: layer norm and its gradient") {
  for (const DType d : kFloats)
    for (const Shape& shape : {Shape{40, 20}, Shape{300, 64}, Shape{3, 700}})
      for (const double on : countsOf(shape[1]))
        for (const double affine : {0.0, 1.0}) {
          const std::int64_t R = shape[0], C = shape[1], n = held(on, C);
          CAPTURE(n);
          Tensor x = randomTensor(d, shape, 1), g = randomTensor(d, shape, 2, -1, 1);
          Tensor gamma = randomTensor(d, {C}, 3, 0.5, 2), beta = randomTensor(d, {C}, 4);
          spoil(x, 1, n), spoil(g, 1, n), spoil(gamma, 0, n), spoil(beta, 0, n);
          const auto cut = [&](const Tensor& t) { return leading(t, t.view.rank - 1, n); };
          std::vector<Tensor> in = {x}, own = {cut(x)};
          if (affine != 0) {
            in.insert(in.end(), {gamma, beta});
            own.insert(own.end(), {cut(gamma), cut(beta)});
          }
          in.push_back(count(on));
          const auto y = expectAgreement(Op::LayerNorm, {make(d, shape), make(d, {R}), make(d, {R})}, in,
                                         {affine, 1e-2}, {1e-4, 3e-5});
          if (n == 0) {
            CHECK((zeroBeyond(y[0], 1, 0) && zeroBeyond(y[1], 0, 0) && zeroBeyond(y[2], 0, 0)));
            continue;
          }
          std::vector<Tensor> expected = {make(d, {R, n}), make(d, {R}), make(d, {R})};
          runKernel(naiveTable(), Op::LayerNorm, expected, own, {affine, 1e-2});
          Expectation{y[0], {{1, n}}}.equals(expected[0], {1e-4, 3e-5});
          for (std::size_t i = 1; i < 3; ++i) CHECK(mismatch(y[i], expected[i], {1e-4, 3e-5}) == "");

          in = {g, x, expected[1], expected[2]}, own = {cut(g), cut(x), expected[1], expected[2]};
          std::vector<Tensor> out = {make(d, shape)}, outCut = {make(d, {R, n})};
          if (affine != 0) {
            in.push_back(gamma);
            own.push_back(cut(gamma));
            out.insert(out.end(), {make(d, {C}), make(d, {C})});
            outCut.insert(outCut.end(), {make(d, {n}), make(d, {n})});
          }
          in.push_back(count(on));
          const auto dx = expectAgreement(Op::LayerNormGrad, out, in, {affine}, {1e-4, 5e-4});
          runKernel(naiveTable(), Op::LayerNormGrad, outCut, own, {affine});
          for (std::size_t i = 0; i < dx.size(); ++i)
            Expectation{dx[i], {{dx[i].view.rank - 1, n}}}.equals(outCut[i], {1e-4, 5e-4});
        }
}

TEST_CASE("counted: random numbers") {
  for (const DType d : kFloats)
    for (const Shape& shape : {Shape{7, 9}, Shape{300, 70}})
      for (const double on : countsOf(shape[1]))
        for (const RandomKind kind : {RandomKind::Uniform, RandomKind::Normal, RandomKind::Bernoulli}) {
          const std::int64_t R = shape[0], C = shape[1], n = held(on, C);
          CAPTURE(n);
          const Tensor state = of(DType::I32, {4}, {5, 0, 11, 0});
          const std::vector<double> record = {static_cast<double>(static_cast<int>(kind)), 0.3, 2};
          const Tolerance tol = kind == RandomKind::Normal ? tolerance(d) : Tolerance{0, 0};
          const auto got = expectAgreement(Op::Random, {make(d, shape), state.clone()}, {count(on)}, record, tol);
          std::vector<Tensor> own = {make(d, {R, n}), state.clone()};
          runKernel(naiveTable(), Op::Random, own, {}, record);
          Expectation{got[0], {{1, n}}}.equals(own[0], tol);
          CHECK(mismatch(got[1], own[1], {0, 0}) == "");
        }
}

TEST_CASE("counted: scores of neurons") {
  for (const DType d : kFloats)
    for (const double positions : {1.0, 6.0})
      for (const double on : countsOf(40)) {
        const std::int64_t M = 60, K = 40, n = held(on, K);
        CAPTURE(n);
        Tensor a = randomTensor(d, {M, K}, 1, -1, 1), g = randomTensor(d, {M, K}, 2, -1, 1);
        const Tensor labels = randomTensor(DType::I32, {M / static_cast<std::int64_t>(positions)}, 3, 0, 3);
        const Tensor stats = randomTensor(DType::F32, {7, K}, 4, -1, 1), own = leading(stats.clone(), 1, n);
        spoil(a, 1, n), spoil(g, 1, n);
        const auto got =
            expectAgreement(Op::GateStats, {stats}, {a, g, labels, count(on)}, {4, positions}, {1e-4, 1e-3});
        runKernel(naiveTable(), Op::GateStats, {own}, {leading(a, 1, n), leading(g, 1, n), labels}, {4, positions});
        CHECK(mismatch(leading(got[0], 1, n), own, {1e-4, 1e-3}) == "");
        eachIndex(stats, [&](std::int64_t i, const Shape& at) {
          if (at[1] >= n && got[0].at(i) != stats.at(i)) FAIL_CHECK("added beyond the count");
        });
      }
}

TEST_CASE("counted: norm of gradients") {
  for (const DType d : kFloats)
    for (const double rows : countsOf(30))
      for (const double cols : countsOf(70)) {
        const std::int64_t n = held(rows, 30), k = held(cols, 70);
        CAPTURE(n);
        CAPTURE(k);
        Tensor w = randomTensor(d, {30, 70}, 1, -1, 1), kernel = randomTensor(d, {30, 3, 3, 70}, 2, -1, 1);
        Tensor bias = randomTensor(d, {30}, 3, -1, 1);
        const Tensor free = randomTensor(d, {11, 5}, 4, -1, 1);
        const auto clear = [](Tensor& t, int axis, std::int64_t from) {
          eachIndex(t, [&](std::int64_t i, const Shape& at) {
            if (at[static_cast<std::size_t>(axis)] >= from) t.set(i, 0);
          });
        };
        clear(w, 0, n), clear(w, 1, k), clear(kernel, 0, n), clear(kernel, 3, k), clear(bias, 0, n);
        const std::vector<double> record = {4, 5, 0, 4, 4, 5, 0, 0};
        const auto got = expectAgreement(Op::GradNorm, {make(d, {1})},
                                         {w, bias, kernel, free, count(rows), count(cols)}, record, {1e-6, 0});
        // The bits that gradients of that size have, in every table.
        for (const KernelTable* table : allTables()) {
          const auto packed = [&](const Tensor& t) {
            Tensor copy = make(d, Shape(t.view.shape, t.view.shape + t.view.rank));
            for (std::int64_t i = 0; i < t.size(); ++i) copy.set(i, t.at(i));
            return copy;
          };
          Tensor counted = make(d, {1}), plain = make(d, {1});
          runKernel(*table, Op::GradNorm, {counted}, {w, bias, kernel, free, count(rows), count(cols)}, record);
          runKernel(*table, Op::GradNorm, {plain},
                    {packed(leading(leading(w, 0, n), 1, k)), packed(leading(bias, 0, n)),
                     packed(leading(leading(kernel, 0, n), 3, k)), free},
                    {});
          const bool exact = !onDevice(*table) && table != &naiveTable();
          CHECK(mismatch(counted, plain, exact ? Tolerance{0, 0} : Tolerance{1e-6, 0}) == "");
        }
        CHECK(std::isfinite(got[0].at(0)));
      }
}
