// Optimiser steps: a run of steps against a plain loop in double, newborn rows and columns, shared counters, clipping.
#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

constexpr DType kFloats[] = {DType::F32, DType::F64};

// A parameter with two slots and counters, and the plain loop's copies of it.
struct Model {
  Tensor p, m, v, rows, cols;
  std::vector<double> ep, em, ev, er, ec;

  Model(DType d, const Shape& shape, Layout layout, bool newborn) {
    p = randomTensor(d, shape, 1, -1, 1, layout);
    m = zeros(d, shape, layout);
    v = zeros(d, shape, layout);
    const std::int64_t R = shape.size() > 1 ? shape[0] : 1, C = shape.empty() ? 1 : shape.back();
    rows = counter(newborn, R, 3);
    cols = counter(newborn, C, 2);
    for (std::int64_t i = 0; i < p.size(); ++i) ep.push_back(p.at(i));
    em.assign(ep.size(), 0);
    ev.assign(ep.size(), 0);
    for (std::int64_t i = 0; i < R; ++i) er.push_back(rows.at(i));
    for (std::int64_t i = 0; i < C; ++i) ec.push_back(cols.at(i));
  }

  // Own counters, of which every `every`-th is new (0) and the others are 7 steps old, or one shared by the axis.
  static Tensor counter(bool newborn, std::int64_t n, int every) {
    if (!newborn) return broadcastAxis(zeros(DType::F32, {1}), 0, n);
    Tensor t = zeros(DType::F32, {n});
    for (std::int64_t i = 0; i < n; ++i) t.set(i, i % every == every - 1 ? 0 : 7);
    return t;
  }

  template <class F>
  void plainStep(const Tensor& g, F f) {
    for (double& t : er) t += 1;
    for (double& t : ec) t += 1;
    const std::size_t C = ec.size(), per_row = ep.size() / std::max<std::size_t>(er.size(), 1);
    for (std::size_t i = 0; i < ep.size(); ++i)
      f(std::min(er[i / per_row], ec[i % C]), g.at(static_cast<std::int64_t>(i)), ep[i], em[i], ev[i]);
  }
};

std::string differs(const Tensor& t, const std::vector<double>& expected, Tolerance tol) {
  return mismatch(t, of(DType::F64, {static_cast<std::int64_t>(expected.size())}, expected), tol);
}

Tolerance tolerance(DType d) { return d == DType::F32 ? Tolerance{2e-6, 2e-6} : Tolerance{1e-13, 1e-13}; }

const Shape kShapes[] = {{}, {1}, {17}, {0, 5}, {7, 33}, {65, 300}, {3, 2, 2, 17}, {129, 1}};

struct Case {
  double momentum, dampening, nesterov, young, decay;
};

}  // namespace

TEST_CASE("sgdStep: several steps against a plain loop") {
  const double lr = 0.1, scale = 0.5;
  const Case cases[] = {{0, 0, 0, 0, 0}, {0.9, 0, 0, 0, 0.01}, {0.9, 0.1, 0, 2, 0.01}, {0.9, 0, 1, 0, 0.01}};
  for (const KernelTable* table : allTables())
    for (const DType d : kFloats)
      for (const Shape& shape : kShapes)
        for (const Case& c : cases)
          for (const bool newborn : {false, true}) {
            const Layout layout = kLayouts[shape.size() % 4];
            Model a(d, shape, layout, newborn), b(d, {9}, Layout::Contiguous, false);
            std::vector<Tensor> out;
            for (Model* x : {&a, &b}) {
              out.push_back(x->p);
              if (c.momentum != 0) out.push_back(x->m);
              out.insert(out.end(), {x->rows, x->cols});
            }
            for (unsigned step = 0; step < 4; ++step) {
              const Tensor ga = randomTensor(d, shape, 10 + step), gb = randomTensor(d, {9}, 20 + step);
              runKernel(*table, Op::SgdStep, out, {of(DType::F64, {2}, {lr, scale}), ga, gb},
                        {2, c.momentum, c.dampening, c.nesterov, c.young, c.decay, 0});
              const auto rule = [&](double decay) {
                return [&, decay](double t, double g, double& p, double& m, double&) {
                  g = g * scale + (t > c.young ? decay * p : 0);
                  if (c.momentum != 0) {
                    m = t == 1 ? g : c.momentum * m + (1 - c.dampening) * g;
                    g = c.nesterov != 0 ? g + c.momentum * m : m;
                  }
                  p -= lr * g;
                };
              };
              a.plainStep(ga, rule(c.decay));
              b.plainStep(gb, rule(0));
            }
            for (Model* x : {&a, &b}) {
              CHECK_MESSAGE(differs(x->p, x->ep, tolerance(d)) == "", table->isa);
              if (c.momentum != 0) CHECK_MESSAGE(differs(x->m, x->em, tolerance(d)) == "", table->isa);
              CHECK_MESSAGE(differs(x->rows, x->er, {}) == "", table->isa);
              CHECK_MESSAGE(differs(x->cols, x->ec, {}) == "", table->isa);
            }
          }
}

TEST_CASE("adamStep: Adam and AdamW against a plain loop") {
  const double lr = 0.01, scale = 2, b1 = 0.9, b2 = 0.999, eps = 1e-8, decay = 0.05;
  for (const KernelTable* table : allTables())
    for (const DType d : kFloats)
      for (const Shape& shape : kShapes)
        for (const double decoupled : {0.0, 1.0})
          for (const double young : {0.0, 2.0})
            for (const bool newborn : {false, true}) {
              Model a(d, shape, kLayouts[shape.size() % 4], newborn);
              for (unsigned step = 0; step < 4; ++step) {
                const Tensor g = randomTensor(d, shape, 10 + step);
                runKernel(*table, Op::AdamStep, {a.p, a.m, a.v, a.rows, a.cols}, {of(DType::F64, {2}, {lr, scale}), g},
                          {1, b1, b2, eps, decoupled, young, decay});
                a.plainStep(g, [&](double t, double x, double& p, double& m, double& v) {
                  const double wd = t > young ? decay : 0;
                  x *= scale;
                  if (decoupled != 0)
                    p -= lr * wd * p;
                  else
                    x += wd * p;
                  m = b1 * m + (1 - b1) * x;
                  v = b2 * v + (1 - b2) * x * x;
                  p -= lr * (m / (1 - std::pow(b1, t))) / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
                });
              }
              CHECK_MESSAGE(differs(a.p, a.ep, tolerance(d)) == "", table->isa);
              CHECK_MESSAGE(differs(a.m, a.em, tolerance(d)) == "", table->isa);
              CHECK_MESSAGE(differs(a.v, a.ev, tolerance(d)) == "", table->isa);
              CHECK_MESSAGE(differs(a.rows, a.er, {}) == "", table->isa);
            }
}

TEST_CASE("optimisers: the same bits for any number of threads") {
  for (const DType d : kFloats) {
    const Tensor p = randomTensor(d, {300, 301}, 1, -1, 1, Layout::Padded), q = randomTensor(d, {70000}, 2);
    const Tensor rows = randomTensor(DType::F32, {300}, 3, 1, 2), cols = zeros(DType::F32, {301});
    const Tensor one = zeros(DType::F32, {1}), shared = broadcastAxis(zeros(DType::F32, {1}), 0, 70000);
    const Tensor hyper = of(DType::F64, {2}, {0.01, 1});
    const std::vector<Tensor> in = {hyper, randomTensor(d, {300, 301}, 4), randomTensor(d, {70000}, 5)};
    const Tolerance tol = {1e-5, 1e-6};
    expectAgreement(Op::AdamStep,
                    {p, zeros(d, {300, 301}), zeros(d, {300, 301}), rows, cols, q, zeros(d, {70000}), zeros(d, {70000}),
                     one, shared},
                    in, {2, 0.9, 0.999, 1e-8, 1, 0, 0.01, 0.01}, tol);
    expectAgreement(Op::SgdStep, {p, zeros(d, {300, 301}), rows, cols, q, zeros(d, {70000}), one, shared}, in,
                    {2, 0.9, 0, 1, 0, 0.01, 0.01}, tol);
    expectAgreement(Op::GradNorm, {make(d, {1})}, {in[1], in[2], make(d, {0}), randomTensor(d, {3, 7}, 6)}, {},
                    {1e-6, 0});
    expectAgreement(Op::ClipGrads, {in[1], in[2]}, {of(d, {1}, {40})}, {2}, tol);
    expectAgreement(Op::ClipGrads, {in[1], in[2]}, {of(d, {1}, {1})}, {2}, tol);
  }
}

TEST_CASE("optimisers: more parameters than a launch takes, of many axes, with counters of their own") {
  for (const DType d : kFloats) {
    std::vector<Tensor> adam, sgd, gradients, in = {of(DType::F64, {2}, {0.01, 1})};
    std::vector<double> adamRecord = {45, 0.9, 0.999, 1e-8, 0, 2}, sgdRecord = {45, 0.9, 0.1, 1, 2};
    for (unsigned i = 0; i < 45; ++i) {
      const Shape shape = i % 3 == 0 ? Shape{8, 12} : i % 3 == 1 ? Shape{4, 2, 3, 2, 3} : Shape{1030};
      const Layout layout = i % 3 == 1 ? Layout::Spread : Layout::Contiguous;
      const Model a(d, shape, layout, true), b(d, shape, layout, true);
      adam.insert(adam.end(), {a.p, a.m, a.v, a.rows, a.cols});
      sgd.insert(sgd.end(), {b.p, b.m, b.rows, b.cols});
      gradients.push_back(randomTensor(d, shape, 10 + i));
      adamRecord.push_back(0.01 * i);
      sgdRecord.push_back(0.01 * i);
    }
    in.insert(in.end(), gradients.begin(), gradients.end());
    expectAgreement(Op::AdamStep, adam, in, adamRecord, {1e-5, 1e-6});
    expectAgreement(Op::SgdStep, sgd, in, sgdRecord, {1e-5, 1e-6});
    expectAgreement(Op::GradNorm, {make(d, {1})}, gradients, {}, {1e-6, 0});
    expectAgreement(Op::ClipGrads, gradients, {of(d, {1}, {40})}, {2}, {1e-6, 1e-6});
  }
}

TEST_CASE("optimisers: one counter seen as row and column is counted once") {
  for (const KernelTable* table : allTables()) {
    const Tensor p = zeros(DType::F32, {2, 3}), counter = zeros(DType::F32, {1});
    runKernel(*table, Op::SgdStep, {p, broadcastAxis(counter, 0, 2), broadcastAxis(counter, 0, 3)},
              {of(DType::F64, {2}, {1, 1}), of(DType::F32, {2, 3}, {1, 2, 3, 4, 5, 6})}, {1, 0, 0, 0, 0, 0});
    CHECK(counter.at(0) == 1);
    CHECK(p.at(5) == -6);
  }
}

TEST_CASE("gradNorm and clipGrads: large values, NaN") {
  for (const KernelTable* table : allTables()) {
    const Tensor norm = make(DType::F32, {1}), g = of(DType::F32, {2}, {3e25, 4e25});
    runKernel(*table, Op::GradNorm, {norm}, {g}, {});
    CHECK(norm.at(0) == doctest::Approx(5e25));
    runKernel(*table, Op::ClipGrads, {g}, {norm}, {1});
    CHECK(g.at(1) == doctest::Approx(0.8));
    runKernel(*table, Op::ClipGrads, {g}, {of(DType::F32, {1}, {NAN})}, {1});
    CHECK(std::isnan(g.at(0)));
  }
}
