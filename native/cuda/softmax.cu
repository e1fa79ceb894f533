// Softmax, cross-entropy and their gradients. A row that its team can hold in registers is read once; a longer one is
// read twice, the first time for its largest element and the sum of exponentials together.
#include "cuda/families.h"
#include "cuda/fault.cuh"
#include "cuda/rows.cuh"

namespace gyrus::cuda {
namespace {

// sum of exp(z - top) so far, of one thread. While top is -infinity it counts against 0, so that what is -infinity too
// adds nothing; a row of nothing else becomes NaN by its own top.
template <class T>
struct Exponentials {
  T top = -static_cast<T>(INFINITY), sum = T(0);

  __device__ __forceinline__ void add(T z) {
    if (z > top) {
      sum = sum * exp(top - z) + T(1);
      top = z;
    } else {
      sum += exp(z - (top == -static_cast<T>(INFINITY) ? T(0) : top));
    }
  }
  // To the sum over all threads of the team, against the largest of all.
  template <class Team>
  __device__ __forceinline__ void merge() {
    const T all = Team::reduce(top, Largest{});
    sum = Team::reduce(sum * exp(top - all), Sum{});
    top = all;
  }
};

template <class T, class Team, int V, int N>
__global__ void __launch_bounds__(kRowBlock, 2) softmaxKernel(T* y, const T* x, RowSet<2> set, bool logarithm) {
  eachRow<Team>(set.rows, set.cols, [&](std::int64_t row, std::int64_t cols) {
    std::int64_t at[2];
    set.start.offsets(row, at);
    T* to = y + at[0];
    Share<T, Team, V, N> z(x + at[1], set.stride[1], cols);
    Exponentials<T> e;
    if constexpr (N > 0) {
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        const Pack<T, V> p = z.at(j, c);
#pragma unroll
        for (int i = 0; i < V; ++i) e.top = max(e.top, p.v[i]);
      });
      e.top = Team::reduce(e.top, Largest{});
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        Pack<T, V> p = z.at(j, c);
#pragma unroll
        for (int i = 0; i < V; ++i) {
          const T power = exp(p.v[i] - e.top);
          e.sum += power;
          if (!logarithm) p.v[i] = power;
        }
        z.keep(j, p);
      });
      e.sum = Team::reduce(e.sum, Sum{});
    } else {
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        const Pack<T, V> p = z.at(j, c);
#pragma unroll
        for (int i = 0; i < V; ++i) e.add(p.v[i]);
      });
      e.template merge<Team>();
    }
    const T scale = T(1) / e.sum, offset = log(e.sum);
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      Pack<T, V> p = z.at(j, c);
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (logarithm)
          p.v[i] = (p.v[i] - e.top) - offset;
        else
          p.v[i] = (N > 0 ? p.v[i] : exp(p.v[i] - e.top)) * scale;
      }
      storePack<V>(to, c, set.stride[0], p);
    });
  });
}

// dx = y (g - sum g y); of the logarithm: g - exp(y) sum g
template <class T, class Team, int V, int N>
__global__ void __launch_bounds__(kRowBlock, 2)
    softmaxGradKernel(T* dx, const T* g, const T* y, RowSet<3> set, bool logarithm) {
  eachRow<Team>(set.rows, set.cols, [&](std::int64_t row, std::int64_t cols) {
    std::int64_t at[3];
    set.start.offsets(row, at);
    T* to = dx + at[0];
    const Share<T, Team, V, N> gs(g + at[1], set.stride[1], cols), ys(y + at[2], set.stride[2], cols);
    T sum = T(0);
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      const Pack<T, V> gp = gs.at(j, c), yp = ys.at(j, c);
#pragma unroll
      for (int i = 0; i < V; ++i) sum = logarithm ? sum + gp.v[i] : fma(gp.v[i], yp.v[i], sum);
    });
    sum = Team::reduce(sum, Sum{});
    eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
      Pack<T, V> p = gs.at(j, c);
      const Pack<T, V> yp = ys.at(j, c);
#pragma unroll
      for (int i = 0; i < V; ++i) p.v[i] = logarithm ? fma(-exp(yp.v[i]), sum, p.v[i]) : yp.v[i] * (p.v[i] - sum);
      storePack<V>(to, c, set.stride[0], p);
    });
  });
}

void softmax(const Args& args) {
  const bool logarithm = args.as<SoftmaxParams>().log != 0;
  const View &y = args.out[0], &x = args.in[0];
  const RowSet<2> set({&y, &x});
  if (set.empty()) return;
  byFloat(y.dtype, [&]<class T>() {
    set.template byTeam<T>([&]<class Team, int V, int N>() {
      GYRUS_LAUNCH(set.template blocks<Team>(), kRowBlock, 0, (softmaxKernel<T, Team, V, N>), y.as<T>(), x.as<T>(), set,
                   logarithm);
    });
  });
}

void softmaxGrad(const Args& args) {
  const bool logarithm = args.as<SoftmaxParams>().log != 0;
  const View &dx = args.out[0], &g = args.in[0], &y = args.in[1];
  const RowSet<3> set({&dx, &g, &y});
  if (set.empty()) return;
  byFloat(dx.dtype, [&]<class T>() {
    set.template byTeam<T>([&]<class Team, int V, int N>() {
      GYRUS_LAUNCH(set.template blocks<Team>(), kRowBlock, 0, (softmaxGradKernel<T, Team, V, N>), dx.as<T>(), g.as<T>(),
                   y.as<T>(), set, logarithm);
    });
  });
}

// ---- cross-entropy ---------------------------------------------------------------------------------------------

// What of it is null isn't there: weights, offsets and margins as the caller likes, the loss or the gradient.
template <class T>
struct Loss {
  Line<T> loss;          // [R]
  T* dlogits = nullptr;  // [R, C], operand 0 of the set
  Line<const T> g;       // [R]
  const T* logits;       // [R, C], operand 1 of the set
  Line<const std::int32_t> labels;
  Line<const T> weights, offsets, margins;
  T smoothing;
  Fault fault;
};

// z = logits + offsets - margins at the label y
template <int V, class T>
__device__ __forceinline__ void adjust(const Loss<T>& q, std::int64_t c, std::int64_t y, Pack<T, V>& p) {
  if (q.offsets.data) {
    const Pack<T, V> offsets = loadPack<V>(q.offsets.data, c, q.offsets.stride);
#pragma unroll
    for (int i = 0; i < V; ++i) p.v[i] += offsets.v[i];
  }
  if (q.margins.data) {
#pragma unroll
    for (int i = 0; i < V; ++i)
      if (c + i == y) p.v[i] -= q.margins[y];
  }
}

// loss = w_y ((1-s) (lse - z_y) + s/C sum_c (lse - z_c)), dlogits = g w_y (p - (1-s) onehot - s/C), in one pass. lse
// stays in two parts, top and log(sum), since their sum would lose the logarithm of huge logits.
template <class T, class Team, int V, int N>
__global__ void __launch_bounds__(kRowBlock, 2) crossEntropyKernel(Loss<T> q, RowSet<2> set) {
  const T s = q.smoothing, share = s / static_cast<T>(set.cols);
  const bool spread = q.loss.data && s != T(0);
  eachRow<Team>(set.rows, set.cols, [&](std::int64_t row, std::int64_t cols) {
    std::int64_t at[2];
    set.start.offsets(row, at);
    const std::int64_t label = q.labels[row];
    const bool valid = label >= 0 && label<set.cols, leads = cols> 0 && Team::rank() == 0;
    if (!valid && leads) q.fault.raise(FaultCode::Label, label, row, set.cols);
    const std::int64_t y = valid ? label : 0;
    Share<T, Team, V, N> logits(q.logits + at[1], set.stride[1], cols);
    Exponentials<T> e;
    T below = T(0);  // sum of top - z
    if constexpr (N > 0) {
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        Pack<T, V> p = logits.at(j, c);
        adjust<V>(q, c, y, p);
#pragma unroll
        for (int i = 0; i < V; ++i) e.top = max(e.top, p.v[i]);
        logits.keep(j, p);
      });
      e.top = Team::reduce(e.top, Largest{});
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        Pack<T, V> p = logits.at(j, c);
#pragma unroll
        for (int i = 0; i < V; ++i) {
          below += e.top - p.v[i];
          p.v[i] = exp(p.v[i] - e.top);
          e.sum += p.v[i];
        }
        logits.keep(j, p);
      });
      e.sum = Team::reduce(e.sum, Sum{});
    } else {
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        Pack<T, V> p = logits.at(j, c);
        adjust<V>(q, c, y, p);
#pragma unroll
        for (int i = 0; i < V; ++i) e.add(p.v[i]);
      });
      e.template merge<Team>();
    }
    const T weight = q.weights.data ? q.weights[y] : T(1), scale = T(1) / e.sum;
    const T factor = q.g.data ? q.g[row] * weight : weight;
    if (q.dlogits || (N == 0 && spread))
      eachPack<Team, V, N>(cols, [&](int j, std::int64_t c) {
        Pack<T, V> p = logits.at(j, c);
        if constexpr (N == 0) {
          adjust<V>(q, c, y, p);
#pragma unroll
          for (int i = 0; i < V; ++i) {
            below += e.top - p.v[i];
            p.v[i] = exp(p.v[i] - e.top);
          }
        }
        if (!q.dlogits) return;
#pragma unroll
        for (int i = 0; i < V; ++i)
          p.v[i] = valid ? factor * (p.v[i] * scale - (c + i == y ? T(1) - s : T(0)) - share) : T(0);
        storePack<V>(q.dlogits + at[0], c, set.stride[0], p);
      });
    if (spread) below = Team::reduce(below, Sum{});
    if (!q.loss.data || !leads) return;
    Pack<T, 1> z = loadPack<1>(q.logits + at[1], y, set.stride[1]);
    adjust<1>(q, y, y, z);
    const T offset = log(e.sum);
    T value = (T(1) - s) * ((e.top - z.v[0]) + offset);
    if (spread) value += share * below + s * offset;
    q.loss[row] = valid ? weight * value : T(0);
  });
}

// `first`: the position of the logits.
template <class T>
void runLoss(const Args& args, int first, Loss<T> q, const View* dlogits) {
  const auto& p = args.as<CrossEntropyParams>();
  const View& logits = args.in[first];
  // Rows aren't in another order than those of labels and losses: two axes are never sorted into one another.
  RowSet<2> set({dlogits ? dlogits : &logits, &logits});
  if (set.empty()) return;
  int next = first + 2;
  q.dlogits = dlogits ? dlogits->as<T>() : nullptr;
  q.logits = logits.as<T>();
  q.labels = Line<const std::int32_t>(args.in[first + 1]);
  if (p.weights != 0) q.weights = Line<const T>(args.in[next++]);
  if (p.offsets != 0) q.offsets = Line<const T>(args.in[next++]);
  if (p.margins != 0) q.margins = Line<const T>(args.in[next++]);
  q.smoothing = static_cast<T>(p.smoothing);
  set.also(q.offsets);
  set.template byTeam<T>([&]<class Team, int V, int N>() {
    GYRUS_LAUNCH(set.template blocks<Team>(), kRowBlock, 0, (crossEntropyKernel<T, Team, V, N>), q, set);
  });
}

void crossEntropy(const Args& args) {
  byFloat(args.out[0].dtype, [&]<class T>() {
    Loss<T> q{};
    q.loss = Line<T>(args.out[0]);
    q.fault = faultOf(Op::CrossEntropy);
    runLoss<T>(args, 0, q, args.outputs == 2 ? &args.out[1] : nullptr);
  });
}

void crossEntropyGrad(const Args& args) {
  byFloat(args.out[0].dtype, [&]<class T>() {
    Loss<T> q{};
    q.g = Line<const T>(args.in[0]);
    q.fault = faultOf(Op::CrossEntropyGrad);
    runLoss<T>(args, 1, q, &args.out[0]);
  });
}

}  // namespace

void registerSoftmax(KernelTable& t) {
  t.set(Op::Softmax, softmax);
  t.set(Op::SoftmaxGrad, softmaxGrad);
  t.set(Op::CrossEntropy, crossEntropy);
  t.set(Op::CrossEntropyGrad, crossEntropyGrad);
}

}  // namespace gyrus::cuda
