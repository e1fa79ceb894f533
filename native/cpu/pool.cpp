// Pooling and its gradients: vectors of channels of one window at a time; images and rows in parallel.
#include "core/pool.h"

#include "cpu/families.h"
#include "cpu/rows.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

struct Windows {
  int64_t kernel[2], stride[2], pad[2], size[2];  // size: extents of x
  bool count_pad;
  Windows(const Pool2dParams& p, const View& x)
      : kernel{static_cast<int64_t>(p.kernelH), static_cast<int64_t>(p.kernelW)},
        stride{static_cast<int64_t>(p.strideH), static_cast<int64_t>(p.strideW)},
        pad{static_cast<int64_t>(p.padTop), static_cast<int64_t>(p.padLeft)},
        size{x.shape[1], x.shape[2]},
        count_pad(p.countPad != 0) {}

  int64_t from(int axis, int64_t o) const { return minOf(size[axis], maxOf(0, o * stride[axis] - pad[axis])); }
  int64_t to(int axis, int64_t o) const {
    return maxOf(from(axis, o), minOf(size[axis], o * stride[axis] - pad[axis] + kernel[axis]));
  }
};

// Positions of x that the window of one output pixel covers.
struct Window {
  int64_t h0, h1, w0, w1;
  Window(const Windows& s, int64_t oh, int64_t ow)
      : h0(s.from(0, oh)), h1(s.to(0, oh)), w0(s.from(1, ow)), w1(s.to(1, ow)) {}
  int64_t count() const { return (h1 - h0) * (w1 - w0); }
};

// 1 / number of elements a mean is taken over; 0 for none.
template <class T>
T weightOf(const Windows& s, const Window& w) {
  const int64_t n = s.count_pad ? s.kernel[0] * s.kernel[1] : w.count();
  return n > 0 ? static_cast<T>(1) / static_cast<T>(n) : static_cast<T>(0);
}

// Calls f(element of x, number of the tap) for the positions of a window, in order.
template <class T, class F>
GYRUS_INLINE void eachTap(const Windows& s, const Window& w, const Rows<T>& x, int64_t image, F&& f) {
  int64_t tap = 0;
  for (int64_t h = w.h0; h < w.h1; ++h)
    for (int64_t v = w.w0; v < w.w1; ++v) f(x.row((image * s.size[0] + h) * s.size[1] + v), tap++);
}

// W vectors of channels of one window.
template <class T, bool Max, int W>
GYRUS_INLINE void poolVectors(const Windows& s, const Window& w, const Rows<T>& x, int64_t image, int64_t c, int lanes,
                              T weight, T* y) {
  using V = Vec<T>;
  V sum[W];
  const V start = Max ? V::broadcast(-static_cast<T>(INFINITY)) : V::zero();
  for (int j = 0; j < W; ++j) sum[j] = start;
  eachTap(s, w, x, image, [&](const T* p, int64_t) {
    for (int j = 0; j < W; ++j) {
      const V v = load(p + c + j * V::N, lanes);
      sum[j] = Max ? maxNaN(sum[j], v) : sum[j] + v;
    }
  });
  for (int j = 0; j < W; ++j) store(Max ? sum[j] : sum[j] * V::broadcast(weight), y + c + j * V::N, lanes);
}

// y [N, OH, OW, C] <- x [N, H, W, C]
template <class T, bool Max>
void pool(const Args& args) {
  using V = Vec<T>;
  const View &y = args.out[0], &xv = args.in[0];
  if (y.size() == 0) return;
  const Windows s(args.as<Pool2dParams>(), xv);
  const Rows<T> x = readRows<T>(args, xv);
  const int64_t C = y.shape[3], OH = y.shape[1], OW = y.shape[2];
  const int64_t each = OW * C * minOf(s.kernel[0], s.size[0]) * minOf(s.kernel[1], s.size[1]);
  parallelRange(y.shape[0] * OH, each, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r)
      for (int64_t ow = 0; ow < OW; ++ow) {
        const Window w(s, r % OH, ow);
        const T weight = weightOf<T>(s, w);
        T* out = y.as<T>() + (r * OW + ow) * C;
        int64_t c = 0;
        for (; c + 4 * V::N <= C; c += 4 * V::N) poolVectors<T, Max, 4>(s, w, x, r / OH, c, V::N, weight, out);
        for (; c < C; c += V::N)
          poolVectors<T, Max, 1>(s, w, x, r / OH, c, static_cast<int>(minOf(V::N, C - c)), weight, out);
      }
  });
}

// Whether v takes the place of the largest so far. Once that is NaN, it stays: the first of them counts.
template <class T>
GYRUS_INLINE Mask<T> larger(Vec<T> v, Vec<T> best) {
  return ((v > best) | (v != v)) & (best == best);
}

// y [N, OH, OW, C] <- x, values [N, H, W, C]: the value where each window's largest is.
template <class T>
void pick(const Args& args) {
  using V = Vec<T>;
  const View &y = args.out[0], &xv = args.in[0];
  if (y.size() == 0) return;
  const Windows s(args.as<Pool2dParams>(), xv);
  const Rows<T> x = readRows<T>(args, xv), values = readRows<T>(args, args.in[1]);
  const int64_t C = y.shape[3], OH = y.shape[1], OW = y.shape[2];
  parallelRange(y.shape[0] * OH, OW * C * 8, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r)
      for (int64_t ow = 0; ow < OW; ++ow) {
        const Window w(s, r % OH, ow);
        const int64_t first = (r / OH * s.size[0] + w.h0) * s.size[1] + w.w0, width = w.w1 - w.w0;
        eachVector<T>(C, [&](int64_t c, int lanes) {
          V best = V::zero(), value = V::zero();
          eachTap(s, w, x, r / OH, [&](const T* p, int64_t tap) {
            const V v = load(p + c, lanes);
            const V u = load(values.row(first + tap / width * s.size[1] + tap % width) + c, lanes);
            const Mask<T> better = tap == 0 ? v == v : larger(v, best);
            best = tap == 0 ? v : select(better, v, best);
            value = tap == 0 ? u : select(better, u, value);
          });
          store(value, y.as<T>() + (r * OW + ow) * C + c, lanes);
        });
      }
  });
}

template <class T>
void pool2d(const Args& args) {
  const auto& p = args.as<Pool2dParams>();
  if (p.pick != 0) return pick<T>(args);
  p.kind == double(static_cast<int>(PoolKind::Max)) ? pool<T, true>(args) : pool<T, false>(args);
}

// dx [N, H, W, C] <- g [N, OH, OW, C] (, x): an image is one piece of work, since its windows may overlap.
template <class T>
void pool2dGrad(const Args& args) {
  using V = Vec<T>;
  const View &dxv = args.out[0], &gv = args.in[0];
  if (dxv.size() == 0) return;
  const auto& p = args.as<Pool2dParams>();
  const bool max = p.kind == double(static_cast<int>(PoolKind::Max));
  const Windows s(p, dxv);
  const Rows<T> dx = writeRows<T>(args, dxv), g = readRows<T>(args, gv);
  const Rows<T> x = max ? readRows<T>(args, args.in[1]) : dx;
  const int64_t C = dxv.shape[3], OH = gv.shape[1], OW = gv.shape[2], pixels = s.size[0] * s.size[1];
  parallelRange(dxv.shape[0], pixels * C * 4, [&](int64_t from, int64_t to) {
    memset(dx.row(from * pixels), 0, static_cast<size_t>((to - from) * pixels * C) * sizeof(T));
    for (int64_t n = from; n < to; ++n)
      for (int64_t oh = 0; oh < OH; ++oh)
        for (int64_t ow = 0; ow < OW; ++ow) {
          const Window w(s, oh, ow);
          const T* gradient = g.row((n * OH + oh) * OW + ow);
          const V weight = V::broadcast(weightOf<T>(s, w));
          eachVector<T>(C, [&](int64_t c, int lanes) {
            V d = load(gradient + c, lanes);
            if (!max) {
              d = d * weight;
              eachTap(s, w, dx, n, [&](T* to_x, int64_t) { store(load(to_x + c, lanes) + d, to_x + c, lanes); });
              return;
            }
            V best = V::zero(), at = V::zero();
            eachTap(s, w, x, n, [&](const T* from_x, int64_t tap) {
              const V v = load(from_x + c, lanes);
              if (tap == 0) {
                best = v;
                return;
              }
              const Mask<T> better = larger(v, best);
              best = select(better, v, best);
              at = select(better, V::broadcast(static_cast<T>(tap)), at);
            });
            eachTap(s, w, dx, n, [&](T* to_x, int64_t tap) {
              const V part = select(at == V::broadcast(static_cast<T>(tap)), d, V::zero());
              store(load(to_x + c, lanes) + part, to_x + c, lanes);
            });
          });
        }
  });
}

}  // namespace

void registerPool(KernelTable& t) {
  t.set(Op::Pool2d, GYRUS_BY_TYPE(pool2d));
  t.set(Op::Pool2dGrad, GYRUS_BY_TYPE(pool2dGrad));
}

}  // namespace gyrus::cpu::GYRUS_ISA
