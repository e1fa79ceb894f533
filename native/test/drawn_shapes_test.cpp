// Convolution, pooling, attention and norms on shapes drawn at random around the sizes of vectors and tiles, every
// parameter of its own: what the hand-picked cases of the families leave out. The draws are the same in every run.
#include <pthread.h>

#include "kernel_support.h"

using namespace gyrus;
using namespace gyrus::test;

namespace {

// Around 8, 16, 32 and 48 lanes, where rests begin and tiles end.
constexpr std::int64_t kEdges[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49};

class Draw {
 public:
  explicit Draw(unsigned seed) : gen_(seed) {}
  std::int64_t from(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(gen_() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::int64_t edge() { return kEdges[from(0, std::size(kEdges) - 1)]; }
  DType type() { return from(0, 1) ? DType::F64 : DType::F32; }
  Layout layout() { return kLayouts[from(0, 3)]; }

 private:
  std::mt19937_64 gen_;
};

std::int64_t extent(std::int64_t n, std::int64_t k, std::int64_t stride, std::int64_t pad, std::int64_t dilation = 1) {
  const std::int64_t span = n + 2 * pad - (k - 1) * dilation - 1;
  return span < 0 ? 0 : span / stride + 1;
}

Tolerance close(DType d) { return d == DType::F32 ? Tolerance{1e-4, 3e-4} : Tolerance{1e-11, 1e-11}; }

}  // namespace

TEST_CASE("drawn shapes: convolution and its gradients") {
  Draw draw(1);
  for (int i = 0; i < 150; ++i) {
    const DType d = draw.type();
    const std::int64_t N = draw.from(1, 4), H = draw.from(1, 14), W = draw.from(1, 14);
    const std::int64_t kh = draw.from(1, 4), kw = draw.from(1, 4), sh = draw.from(1, 3), sw = draw.from(1, 3);
    const std::int64_t ph = draw.from(0, 3), pw = draw.from(0, 3), dh = draw.from(1, 3), dw = draw.from(1, 3);
    // Dense, grouped or depthwise.
    const std::int64_t groups = i % 3 == 0 ? draw.from(2, 5) : i % 3 == 1 ? draw.edge() : 1;
    const std::int64_t C = i % 3 == 1 ? groups : groups * (i % 3 == 0 ? draw.from(1, 9) : draw.edge());
    const std::int64_t F =
        i % 3 == 1 ? groups * draw.from(1, 2) : groups * (i % 3 == 0 ? draw.from(1, 9) : draw.edge());
    const Shape x = {N, H, W, C}, w = {F, kh, kw, C / groups};
    const Shape y = {N, extent(H, kh, sh, ph, dh), extent(W, kw, sw, pw, dw), F};
    std::vector<double> record;
    for (const std::int64_t n : {sh, sw, ph, pw, dh, dw, groups}) record.push_back(static_cast<double>(n));
    record.insert(record.end(), {0, 0});
    const auto with = [&](std::initializer_list<double> more) {
      std::vector<double> r = record;
      r.insert(r.end(), more);
      return r;
    };
    CAPTURE(i);
    const Tensor in = randomTensor(d, x, 1, -1, 1, draw.layout()),
                 weights = randomTensor(d, w, 2, -1, 1, draw.layout());
    const Tensor g = randomTensor(d, y, 3, -1, 1, draw.layout());
    expectAgreement(Op::Conv2d, {make(d, y)}, {in, weights, randomTensor(d, {F}, 4)}, with({1, 0, 0, 1}), close(d));
    expectAgreement(Op::Conv2dGradInput, {make(d, x)}, {g, weights}, with({0, 1}), close(d));
    expectAgreement(Op::Conv2dGradWeight, {make(d, w), make(d, {F})}, {g, in}, with({1}), close(d));
  }
}

TEST_CASE("drawn shapes: pooling and its gradient") {
  Draw draw(2);
  for (int i = 0; i < 150; ++i) {
    const DType d = draw.type();
    const std::int64_t kh = draw.from(1, 5), kw = draw.from(1, 5), sh = draw.from(1, 4), sw = draw.from(1, 4);
    const std::int64_t ph = draw.from(0, 2), pw = draw.from(0, 2);
    const Shape x = {draw.from(1, 3), draw.from(1, 13), draw.from(1, 13), draw.edge()};
    const Shape y = {x[0], extent(x[1], kh, sh, ph), extent(x[2], kw, sw, pw), x[3]};
    Tensor in = randomTensor(d, x, 1, -3, 3, draw.layout());
    // Ties, and what counts as the largest.
    for (std::int64_t k = 0; k < in.size(); ++k) in.set(k, std::floor(in.at(k)));
    if (i % 4 == 0 && in.size() > 0) {
      in.set(draw.from(0, in.size() - 1), NAN);
      in.set(draw.from(0, in.size() - 1), -INFINITY);
    }
    const Tensor g = randomTensor(d, y, 2, -1, 1, draw.layout());
    CAPTURE(i);
    for (const double kind : {0.0, 1.0}) {
      std::vector<double> record = {kind};
      for (const std::int64_t n : {kh, kw, sh, sw, ph, pw}) record.push_back(static_cast<double>(n));
      record.insert(record.end(), {static_cast<double>(i % 2), 0});
      expectAgreement(Op::Pool2d, {make(d, y)}, {in}, record, {1e-5, 1e-6});
      std::vector<Tensor> inputs = {g};
      if (kind == 0) inputs.push_back(in);
      expectAgreement(Op::Pool2dGrad, {make(d, x)}, inputs, record, {1e-5, 1e-5});
    }
  }
}

TEST_CASE("drawn shapes: attention and its gradient") {
  Draw draw(3);
  for (int i = 0; i < 60; ++i) {
    const DType d = draw.type();
    const std::int64_t B = draw.from(1, 3), Q = draw.from(1, i % 3 ? 60 : 280), K = draw.from(1, i % 3 ? 60 : 280);
    const std::int64_t H = draw.from(1, 4), D = i % 5 ? draw.edge() : draw.from(60, 140);
    const std::vector<double> record = {static_cast<double>(i % 2), 1 / std::sqrt(static_cast<double>(D))};
    const Tensor q = randomTensor(d, {B, Q, H, D}, 1, -2, 2, draw.layout());
    const Tensor k = randomTensor(d, {B, K, H, D}, 2, -2, 2, draw.layout());
    const Tensor v = randomTensor(d, {B, K, H, D}, 3, -2, 2, draw.layout());
    const Tensor g = randomTensor(d, {B, Q, H, D}, 4, -1, 1, draw.layout());
    CAPTURE(i);
    const auto y =
        expectAgreement(Op::Attention, {make(d, {B, Q, H, D}), make(d, {B, H, Q})}, {q, k, v}, record, {1e-4, 5e-5});
    expectAgreement(Op::AttentionGrad,
                    {make(d, {B, Q, H, D}, draw.layout()), make(d, {B, K, H, D}, draw.layout()),
                     make(d, {B, K, H, D}, draw.layout())},
                    {g, y[0], y[1], q, k, v}, record, {1e-3, 3e-4});
  }
}

TEST_CASE("drawn shapes: layer, batch and group norm with their gradients") {
  Draw draw(4);
  for (int i = 0; i < 120; ++i) {
    const DType d = draw.type();
    const std::int64_t R = draw.from(2, i % 4 ? 90 : 900), C = i % 3 ? draw.edge() : draw.from(50, 700);
    const Shape rows = {R, C};
    const Tensor x = randomTensor(d, rows, 1, -3, 5, draw.layout()), g = randomTensor(d, rows, 2, -1, 1, draw.layout());
    const Tensor gamma = randomTensor(d, {C}, 3, 0.5, 2), beta = randomTensor(d, {C}, 4);
    CAPTURE(i);
    const auto layer = expectAgreement(Op::LayerNorm, {make(d, rows), make(d, {R}), make(d, {R})}, {x, gamma, beta},
                                       {1, 1e-2}, {1e-4, 2e-5});
    expectAgreement(Op::LayerNormGrad, {make(d, rows, draw.layout()), make(d, {C}), make(d, {C})},
                    {g, x, layer[1], layer[2], gamma}, {1}, {1e-4, 5e-4});

    const double relu = static_cast<double>(i & 1);
    const auto batch =
        expectAgreement(Op::BatchNorm, {make(d, rows), make(d, {C}), make(d, {C}), zeros(d, {C}), zeros(d, {C})},
                        {x, gamma, beta}, {1e-2, 0.1, relu, 0, 0}, {1e-4, 2e-5});
    std::vector<Tensor> in = {g, x, batch[1], batch[2], gamma};
    if (relu != 0) in.push_back(batch[0]);
    expectAgreement(Op::BatchNormGrad, {make(d, rows, draw.layout()), make(d, {C}), make(d, {C})}, in, {relu, 0, 0},
                    {1e-4, 5e-4});

    const std::int64_t B = draw.from(1, 5), S = draw.from(1, 40), G = draw.from(1, 6), each = draw.from(1, 20);
    const Shape grouped = {B, S, G * each};
    const Tensor gx = randomTensor(d, grouped, 5, -3, 5, draw.layout()), gg = randomTensor(d, grouped, 6, -1, 1);
    const Tensor scale = randomTensor(d, {G * each}, 7, 0.5, 2), shift = randomTensor(d, {G * each}, 8);
    const double groups = static_cast<double>(G);
    const auto group = expectAgreement(Op::GroupNorm, {make(d, grouped), make(d, {B, G}), make(d, {B, G})},
                                       {gx, scale, shift}, {1, groups, 1e-2}, {1e-4, 2e-5});
    expectAgreement(Op::GroupNormGrad, {make(d, grouped), make(d, {G * each}), make(d, {G * each})},
                    {gg, gx, group[1], group[2], scale}, {1, groups}, {1e-4, 5e-4});
  }
}

// Some systems give a thread no more than this. Sanitizers put much of their own on the stack.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kStack = 512 << 10;
#else
constexpr std::size_t kStack = 128 << 10;
#endif

TEST_CASE("kernels: products and convolutions run on a small stack") {
  const auto body = [](void*) -> void* {
    for (const KernelTable* table : allTables())
      for (const DType d : {DType::F32, DType::F64}) {
        const Tensor a = randomTensor(d, {70, 500}, 1, -1, 1), b = randomTensor(d, {500, 150}, 2, -1, 1);
        runKernel(*table, Op::Matmul, {make(d, {70, 150})}, {a, b}, {});
        const Tensor x = randomTensor(d, {2, 6, 6, 40}, 3, -1, 1), w = randomTensor(d, {33, 3, 3, 40}, 4, -1, 1);
        const Tensor y = make(d, {2, 6, 6, 33});
        const std::vector<double> record = {1, 1, 1, 1, 1, 1, 1, 0, 0};
        const auto with = [&](std::initializer_list<double> more) {
          std::vector<double> r = record;
          r.insert(r.end(), more);
          return r;
        };
        runKernel(*table, Op::Conv2d, {y}, {x, w}, with({0, 0, 0, 0}));
        runKernel(*table, Op::Conv2dGradInput, {make(d, {2, 6, 6, 40})}, {y, w}, with({0, 1}));
        runKernel(*table, Op::Conv2dGradWeight, {make(d, {33, 3, 3, 40})}, {y, x}, with({0}));
      }
    return nullptr;
  };
  Threads scope(1);
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, kStack) == 0);
  pthread_t thread;
  const int started = pthread_create(&thread, &attributes, body, nullptr);
  REQUIRE(started == 0);
  CHECK(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
}
