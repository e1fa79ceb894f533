// Optimiser steps and gradient clipping over all parameters at once.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "cuda/families.h"
#include "cuda/lists.cuh"
#include "cuda/reduce.cuh"
#include "cuda/tensors.cuh"
#include "kernels/counts.h"

namespace gyrus::cuda {
namespace {

// ---- step counters --------------------------------------------------------------------------------------------

struct Counter {
  float* data;
  std::int64_t n, stride;
  const int* active;  // counts the active numbers of the whole counter, of which these are from number `from` on
  std::int64_t from;
  unsigned firstBlock;
};
struct CounterTable {
  static constexpr int kMost = 80;
  int count;
  Counter item[kMost];
};

__global__ void __launch_bounds__(kTensorBlock) countKernel(const __grid_constant__ CounterTable table) {
  int low = 0, high = table.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.item[middle].firstBlock <= blockIdx.x)
      low = middle;
    else
      high = middle;
  }
  const Counter& c = table.item[low];
  const std::int64_t i = std::int64_t{blockIdx.x - c.firstBlock} * kTensorBlock + threadIdx.x;
  if (i < c.n && c.from + i < activeOf(c.active, c.from + c.n)) c.data[i * c.stride] += 1;
}

std::int64_t stepOf(const View& v) { return v.rank == 0 ? 0 : v.stride[0]; }

// Of parameter j's rows (0) or columns (1), null for all. `counted`: the record's numbers for that, or null.
const int* countOf(const Args& args, const double* counted, int j, int axis) {
  const int input = counted ? static_cast<int>(counted[2 * j + axis]) : 0;
  return input > 0 ? args.in[input].as<int>() : nullptr;
}

// Increases every distinct counter by 1. Two views of one counter (row and column of an axis without a width) count
// once.
void countStep(const Args& args, int count, int per, const double* counts) {
  std::unordered_map<const void*, std::int64_t> counted;  // how many numbers from an address on
  CounterTable table{};
  unsigned blocks = 0;
  const auto flush = [&] {
    if (table.count > 0) GYRUS_LAUNCH(blocks, kTensorBlock, 0, countKernel, table);
    table.count = 0;
    blocks = 0;
  };
  for (int i = 0; i < count; ++i)
    for (int j = per - 2; j < per; ++j) {
      const View& v = args.out[i * per + j];
      const std::int64_t step = stepOf(v);
      const std::int64_t distinct = step == 0 ? std::min<std::int64_t>(1, v.size()) : v.shape[0];
      std::int64_t& from = counted[v.data];
      if (distinct <= from) continue;
      if (table.count == CounterTable::kMost) flush();
      table.item[table.count++] = {
          v.as<float>() + from * step, distinct - from, step, countOf(args, counts, i, j - (per - 2)), from, blocks};
      blocks += blocksFor(distinct - from, kTensorBlock, 1 << 30);
      from = distinct;
    }
  flush();
}

// ---- steps ----------------------------------------------------------------------------------------------------

// What of a step is read on the device.
template <class T>
struct Now {
  T rate, scale, decay;
};

// p, v (when there is a momentum)
template <class T>
struct Sgd {
  using Type = T;
  static constexpr int kSlots = 1;
  T momentum, fresh, young;
  bool moves, nesterov;

  __device__ bool usesSlots() const { return moves; }
  __device__ T decayOf(double, double decay) const { return static_cast<T>(decay); }
  // What the age of an element makes.
  struct Factors {
    T t;
  };
  __device__ Factors factors(T t) const { return {t}; }
  __device__ void operator()(T& p, T g, T (&slot)[kSlots], const Factors& f, const Now<T>& now) const {
    T d = g * now.scale;
    if (f.t > young) d = fma(now.decay, p, d);
    if (moves) {
      const T moved = f.t <= T(1) ? d : fma(momentum, slot[0], fresh * d);
      slot[0] = moved;
      d = nesterov ? fma(momentum, moved, d) : moved;
    }
    p = p - now.rate * d;
  }
};

// p, m, v
template <class T>
struct Adam {
  using Type = T;
  static constexpr int kSlots = 2;
  T beta1, fresh1, log1, beta2, fresh2, log2, eps, young;
  bool decoupled;

  __device__ bool usesSlots() const { return true; }
  __device__ T decayOf(double rate, double decay) const { return static_cast<T>(decoupled ? rate * decay : decay); }
  struct Factors {
    T t, first, second;
  };
  // 1 / (1 - b^t) by the logarithm of b, which loses nothing where b^t is near 1.
  __device__ Factors factors(T t) const { return {t, T(-1) / expm1(t * log1), T(1) / sqrt(-expm1(t * log2))}; }
  __device__ void operator()(T& p, T g, T (&slot)[kSlots], const Factors& f, const Now<T>& now) const {
    const T decay = f.t > young ? now.decay * p : T(0);
    T d = g * now.scale, next = p;
    if (decoupled)
      next = next - decay;
    else
      d = d + decay;
    slot[0] = fma(beta1, slot[0], fresh1 * d);
    slot[1] = fma(beta2, slot[1], fresh2 * d * d);
    p = next - now.rate * (slot[0] * f.first) / fma(sqrt(slot[1]), f.second, eps);
  }
};

// Of a parameter: its weight decay, and how far the counters of neighbouring elements are apart.
struct StepExtra {
  double decay;
  int rowStep, colStep;
  int rowUnit, colUnit;    // how far the counters of neighbouring rows and columns are apart
  const int *rows, *cols;  // count the active ones, null for all
};

// The V elements of a pack. data: p, g, slots, counters of its row and column.
template <int V, class Rule, class Item, class Index, std::size_t K>
__device__ __forceinline__ void stepPack(const Rule& rule, const Item& item, const Index (&at)[K],
                                         const Now<typename Rule::Type>& now) {
  using T = typename Rule::Type;
  using Packed = Pack<T, V>;
  constexpr int S = Rule::kSlots;
  const auto place = [&](int k) { return static_cast<Packed*>(item.data[k]) + at[k]; };
  const int rowStep = item.extra.rowStep, colStep = item.extra.colStep;
  const auto limit = [](const int* count, int unit) {
    return count ? std::int64_t{*count} * unit : std::int64_t{1} << 62;
  };
  const std::int64_t rows = limit(item.extra.rows, item.extra.rowUnit);
  const std::int64_t cols = limit(item.extra.cols, item.extra.colUnit);
  const auto active = [&](int v) { return at[2 + S] + v * rowStep < rows && at[3 + S] + v * colStep < cols; };
  if (!active(0)) return;  // nor are the others
  Packed p = *place(0), slot[S];
  const Packed g = *place(1);
  if (rule.usesSlots()) {
#pragma unroll
    for (int s = 0; s < S; ++s) slot[s] = *place(2 + s);
  }
  const float* const row = static_cast<const float*>(item.data[2 + S]) + at[2 + S];
  const float* const col = static_cast<const float*>(item.data[3 + S]) + at[3 + S];
  typename Rule::Factors f = rule.factors(static_cast<T>(fminf(*row, *col)));
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (v > 0 && (rowStep != 0 || colStep != 0))
      f = rule.factors(static_cast<T>(fminf(row[v * rowStep], col[v * colStep])));
    if (!active(v)) break;
    T one[S];
#pragma unroll
    for (int s = 0; s < S; ++s) one[s] = rule.usesSlots() ? slot[s].v[v] : T(0);
    rule(p.v[v], g.v[v], one, f, now);
#pragma unroll
    for (int s = 0; s < S; ++s) slot[s].v[v] = one[s];
  }
  *place(0) = p;
  if (rule.usesSlots()) {
#pragma unroll
    for (int s = 0; s < S; ++s) *place(2 + s) = slot[s];
  }
}

template <class Rule, class Table>
__global__ void __launch_bounds__(kTensorBlock)
    stepKernel(const __grid_constant__ Table table, const double* hyper, std::int64_t hyperStep, Rule rule) {
  using T = typename Rule::Type;
  const double rate = hyper[0], scale = hyper[hyperStep];
  table.each([&](const auto& item, const auto& at) {
    const Now<T> now = {static_cast<T>(rate), static_cast<T>(scale), rule.decayOf(rate, item.extra.decay)};
    if constexpr (sizeof(T) == 4) {
      if (item.width == 4) return stepPack<4>(rule, item, at, now);
    }
    stepPack<1>(rule, item, at, now);
  });
}

// outputs per parameter: p, slots, rowSteps, colSteps; inputs: hyper, then the gradients
template <class Rule>
void stepAll(const Args& args, const Rule& rule, int count, int per, const double* decay) {
  constexpr int S = Rule::kSlots, K = 4 + S;
  const double* const counts = decay + count < args.record + args.numbers ? decay + count : nullptr;
  countStep(args, count, per, counts);
  const View& hyper = args.in[0];
  const auto launch = [&]<class Table>(const Table& table, std::int64_t, unsigned blocks) {
    GYRUS_LAUNCH(blocks, kTensorBlock, 0, (stepKernel<Rule, Table>), table, hyper.as<double>(), stepOf(hyper), rule);
  };
  Tensors<K, StepExtra, 16, 4> tensors;
  for (int j = 0; j < count; ++j) {
    const View *const o = args.out + j * per, &p = o[0];
    // The counters as operands of p's shape.
    View row = p, col = p;
    row.data = o[per - 2].data;
    col.data = o[per - 1].data;
    for (int d = 0; d < p.rank; ++d) {
      row.stride[d] = d == 0 && p.rank > 1 ? stepOf(o[per - 2]) : 0;
      col.stride[d] = d == p.rank - 1 ? stepOf(o[per - 1]) : 0;
    }
    const View* v[K] = {&p, &args.in[1 + j]};
    for (int s = 0; s < S; ++s) v[2 + s] = per > 3 ? &o[1 + s] : &p;  // without a momentum nothing looks there
    v[2 + S] = &row;
    v[3 + S] = &col;
    const View* const(&views)[K] = reinterpret_cast<const View* const(&)[K]>(v);
    Nest<K> nest(views);
    const int last = nest.rank - 1;
    const auto unit = [&](int k) { return std::max(1, static_cast<int>(stepOf(o[k]))); };
    const StepExtra extra = {decay[j],
                             last < 0 ? 0 : static_cast<int>(nest.stride[2 + S][last]),
                             last < 0 ? 0 : static_cast<int>(nest.stride[3 + S][last]),
                             unit(per - 2),
                             unit(per - 1),
                             countOf(args, counts, j, 0),
                             countOf(args, counts, j, 1)};
    const int width = packFours(views, nest, 2 + S);
    tensors.add(views, nest, width, extra, launch);
  }
  tensors.flush(launch);
}

// per parameter: p, v (when momentum != 0), rowSteps, colSteps <- hyper, g
template <class T>
void sgdStep(const Args& args) {
  const auto& s = args.as<SgdParams>();
  const bool moves = s.momentum != 0;
  stepAll(args,
          Sgd<T>{static_cast<T>(s.momentum), static_cast<T>(1 - s.dampening), static_cast<T>(s.young), moves,
                 s.nesterov != 0},
          static_cast<int>(s.count), moves ? 4 : 3, args.record + sizeof(SgdParams) / sizeof(double));
}

// per parameter: p, m, v, rowSteps, colSteps <- hyper, g
template <class T>
void adamStep(const Args& args) {
  const auto& s = args.as<AdamParams>();
  stepAll(args,
          Adam<T>{static_cast<T>(s.beta1), static_cast<T>(1 - s.beta1), static_cast<T>(std::log(s.beta1)),
                  static_cast<T>(s.beta2), static_cast<T>(1 - s.beta2), static_cast<T>(std::log(s.beta2)),
                  static_cast<T>(s.eps), static_cast<T>(s.young), s.decoupled != 0},
          static_cast<int>(s.count), 5, args.record + sizeof(AdamParams) / sizeof(double));
}

// ---- gradient norm and clipping ---------------------------------------------------------------------------------

struct Nothing {};
constexpr int kNormPiece = 16;

// A block's sum of squares, in f64.
template <class T, class Table>
__global__ void __launch_bounds__(kTensorBlock) squaresKernel(const __grid_constant__ Table table, double* parts) {
  double sum = 0;
  table.each([&](const auto& item, const auto& at) {
    const auto add = [&]<int V>() {
      const auto pack = static_cast<const Pack<T, V>*>(item.data[0])[at[0]];
#pragma unroll
      for (int v = 0; v < V; ++v) sum = fma(static_cast<double>(pack.v[v]), static_cast<double>(pack.v[v]), sum);
    };
    if constexpr (sizeof(T) == 4) {
      if (item.width == 4) return add.template operator()<4>();
    }
    add.template operator()<1>();
  });
  sum = blockReduce<kTensorBlock>(sum, Sum{});
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

template <class T>
__global__ void __launch_bounds__(kTensorBlock) normKernel(T* norm, const double* parts, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += kTensorBlock) sum += parts[i];
  sum = blockReduce<kTensorBlock>(sum, Sum{});
  if (threadIdx.x == 0) *norm = static_cast<T>(sqrt(sum));
}

// norm [1] <- g_0..g_{n-1}
template <class T>
void gradNorm(const Args& args) {
  // What counts leave out is 0.
  const int gradients = gradientsOf(args);
  std::int64_t most = 1;
  for (int j = 0; j < gradients; ++j) most += args.in[j].size() / (kNormPiece * kTensorBlock) + 1;
  double* const parts = args.scratch->array<double>(most);
  std::int64_t n = 0;
  const auto launch = [&]<class Table>(const Table& table, std::int64_t first, unsigned blocks) {
    GYRUS_LAUNCH(blocks, kTensorBlock, 0, (squaresKernel<T, Table>), table, parts + first);
    n = first + blocks;
  };
  Tensors<1, Nothing, 40, kNormPiece> tensors;
  for (int j = 0; j < gradients; ++j) {
    const View* const v[1] = {&args.in[j]};
    Nest<1> nest(v);
    const int width = packFours(v, nest, 1);
    tensors.add(v, nest, width, Nothing{}, launch);
  }
  tensors.flush(launch);
  GYRUS_LAUNCH(1, kTensorBlock, 0, normKernel<T>, args.out[0].as<T>(), parts, n);
}

template <class T, class Table>
__global__ void __launch_bounds__(kTensorBlock)
    clipKernel(const __grid_constant__ Table table, const T* norm, double maxNorm) {
  const double factor = maxNorm / (static_cast<double>(*norm) + 1e-6);
  if (factor >= 1) return;  // a NaN norm goes on and makes every gradient NaN, as PyTorch's does
  const T f = static_cast<T>(factor);
  table.each([&](const auto& item, const auto& at) {
    const auto scale = [&]<int V>() {
      auto& place = static_cast<Pack<T, V>*>(item.data[0])[at[0]];
      Pack<T, V> pack = place;
#pragma unroll
      for (int v = 0; v < V; ++v) pack.v[v] *= f;
      place = pack;
    };
    if constexpr (sizeof(T) == 4) {
      if (item.width == 4) return scale.template operator()<4>();
    }
    scale.template operator()<1>();
  });
}

// g_0..g_{n-1} <- norm [1]
template <class T>
void clipGrads(const Args& args) {
  const T* const norm = args.in[0].as<T>();
  const double maxNorm = args.as<ClipGradsParams>().maxNorm;
  const auto launch = [&]<class Table>(const Table& table, std::int64_t, unsigned blocks) {
    GYRUS_LAUNCH(blocks, kTensorBlock, 0, (clipKernel<T, Table>), table, norm, maxNorm);
  };
  Tensors<1, Nothing, 40, 4> tensors;
  for (int j = 0; j < args.outputs; ++j) {
    const View* const v[1] = {&args.out[j]};
    Nest<1> nest(v);
    const int width = packFours(v, nest, 1);
    tensors.add(v, nest, width, Nothing{}, launch);
  }
  tensors.flush(launch);
}

}  // namespace

// Without parameters there is nothing to do, and no first output to tell the type.
#define GYRUS_BY_PARAMETER_TYPE(fn)                                                 \
  [](const Args& a) {                                                               \
    if (a.outputs > 0) a.out[0].dtype == DType::F64 ? fn<double>(a) : fn<float>(a); \
  }

void registerOptimizer(KernelTable& t) {
  t.set(Op::SgdStep, GYRUS_BY_PARAMETER_TYPE(sgdStep));
  t.set(Op::AdamStep, GYRUS_BY_PARAMETER_TYPE(adamStep));
  t.set(Op::GradNorm, GYRUS_BY_PARAMETER_TYPE(gradNorm));
  t.set(Op::ClipGrads, GYRUS_BY_PARAMETER_TYPE(clipGrads));
}

}  // namespace gyrus::cuda
