// Reductions over trailing axes of any layout, and the places of extremes. Threads walk along the axis that is
// contiguous: down a row, a warp or a block to each (rowsKernel), or across rows, neighbouring lanes on neighbouring
// results (columnsKernel). Where that makes too few blocks a row is split, and finishKernel merges the parts. How
// depends on shapes and strides alone, so a sum has the same bits every time.
#include <algorithm>

#include "cuda/families.h"
#include "cuda/reducers.cuh"
#include "cuda/rows.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256, kWarps = kBlock / 32;
constexpr int kBatch = 4;  // loads in flight; of a sum this many packs are a run

// Offsets of element i in K operands, in 64 bits. Divides by multiplications: of integers for fewer than 2^31 elements,
// else by the reciprocal in f64, off by one at most, and put right. A division of 64 bits would be a call, and cost
// kernels their registers.
template <int K>
struct Walker {
  int rank;
  bool wide;
  Divisor32 divisor[kMaxRank];
  double reciprocal[kMaxRank];
  std::int64_t shape[kMaxRank], stride[K][kMaxRank];

  explicit Walker(const Nest<K>& nest) : rank(nest.rank), wide(nest.count >= std::int64_t{1} << 31) {
    for (int d = 0; d < kMaxRank; ++d) {
      shape[d] = d < rank ? nest.shape[d] : 1;
      divisor[d] = Divisor32(wide ? 1 : shape[d]);
      reciprocal[d] = 1 / static_cast<double>(shape[d]);
      for (int k = 0; k < K; ++k) stride[k][d] = d < rank ? nest.stride[k][d] : 0;
    }
  }
  __device__ __forceinline__ void offsets(std::int64_t i, std::int64_t (&at)[K]) const {
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] = 0;
#pragma unroll 1
    for (int d = rank - 1; d > 0; --d) {
      std::int64_t rest;
      if (wide) {
        std::int64_t quotient = static_cast<std::int64_t>(static_cast<double>(i) * reciprocal[d]);
        rest = i - quotient * shape[d];
        const int off = rest < 0 ? -1 : rest >= shape[d] ? 1 : 0;
        quotient += off;
        rest -= off * shape[d];
        i = quotient;
      } else {
        const auto n = static_cast<std::uint32_t>(i);
        const std::uint32_t quotient = divisor[d].over(n);
        rest = n - quotient * divisor[d].d;
        i = quotient;
      }
#pragma unroll
      for (int k = 0; k < K; ++k) at[k] += rest * stride[k][d];
    }
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] += i * stride[k][0];
  }
};

// The state of the packs at i, i + step, ... below `to`.
template <int V, class R>
__device__ __forceinline__ typename R::State walk(const R& r, const typename R::In* x, const Walker<1>& walker,
                                                  std::int64_t i, std::int64_t to, std::int64_t step) {
  using In = typename R::In;
  typename R::State state = r.none();
  const auto load = [&](std::int64_t at) {
    std::int64_t offset[1] = {at};
    if constexpr (V == 1) walker.offsets(at, offset);
    return loadPack<V>(x, offset[0], 1);
  };
  for (; i + (kBatch - 1) * step + V <= to; i += kBatch * step) {
    Pack<In, V> pack[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) pack[b] = load(i + b * step);
    typename R::Run run = r.start();
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int v = 0; v < V; ++v) run = r.take(run, pack[b].v[v], i + b * step + v);
    state = r.flush(state, run);
  }
  typename R::Run run = r.start();
  for (; i + V <= to; i += step) {
    const Pack<In, V> pack = load(i);
#pragma unroll
    for (int v = 0; v < V; ++v) run = r.take(run, pack.v[v], i + v);
  }
  if constexpr (V > 1)
    for (; i < to; ++i) run = r.take(run, x[i], i);  // one thread has the last, partial pack, if there is one
  return r.flush(state, run);
}

template <int W, class R>
__device__ __forceinline__ typename R::State acrossLanes(const R& r, typename R::State s) {
#pragma unroll
  for (int lanes = W / 2; lanes > 0; lanes /= 2) s = r.merge(s, r.exchange(s, lanes));
  return s;
}

// Where the results go: finished to y, or as parts of a row to `parts` [rows][splits].
template <class R>
struct Target {
  typename R::Out* y;
  typename R::State* parts;
  Walker<2> kept;            // offsets in y and x of result i
  std::int64_t rows, count;  // of results, of elements to each
  std::int64_t chunk;        // elements of a part
  int splits;

  __device__ void put(const R& r, std::int64_t row, std::int64_t yOffset, const typename R::State& s) const {
    if (splits == 1)
      y[yOffset] = r.finish(s);
    else
      parts[row * splits + blockIdx.y] = s;
  }
};

// W threads to a row: a warp or the block.
template <class R, int W, int V>
__global__ void __launch_bounds__(kBlock)
    rowsKernel(Target<R> target, const typename R::In* x, Walker<1> walker, R reducer) {
  using State = typename R::State;
  constexpr int kRows = kBlock / W;
  const int rank = static_cast<int>(threadIdx.x % W), mine = static_cast<int>(threadIdx.x / W);
  const std::int64_t from = blockIdx.y * target.chunk, to = min(target.count, from + target.chunk);
  for (std::int64_t first = std::int64_t{blockIdx.x} * kRows; first < target.rows;
       first += std::int64_t{gridDim.x} * kRows) {
    const bool there = first + mine < target.rows;
    std::int64_t at[2];
    target.kept.offsets(there ? first + mine : 0, at);
    R r = reducer;
    if (target.count > 0) r.begin(x + at[1]);
    State s = walk<V>(r, x + at[1], walker, from + rank * V, there ? to : from, W * V);
    s = acrossLanes<32>(r, s);
    if constexpr (W > 32) {
      using Parts = State[kWarps];
      GYRUS_SHARED(Parts, parts);
      if (rank % 32 == 0) parts[rank / 32] = s;
      __syncthreads();
      s = acrossLanes<kWarps>(r, parts[rank % kWarps]);
      __syncthreads();
    }
    if (there && rank == 0) target.put(r, first + mine, at[0], s);
  }
}

// 2^shift threads side by side on neighbouring results, the others of the block beneath them.
template <class R>
__global__ void __launch_bounds__(kBlock)
    columnsKernel(Target<R> target, const typename R::In* x, Walker<1> walker, int shift, R reducer) {
  using Parts = typename R::State[kBlock];
  GYRUS_SHARED(Parts, parts);
  const int me = static_cast<int>(threadIdx.x), across = 1 << shift, down = kBlock >> shift;
  const int column = me & (across - 1), layer = me >> shift;
  const std::int64_t from = blockIdx.y * target.chunk, to = min(target.count, from + target.chunk);
  for (std::int64_t first = std::int64_t{blockIdx.x} << shift; first < target.rows;
       first += std::int64_t{gridDim.x} << shift) {
    const bool there = first + column < target.rows;
    std::int64_t at[2];
    target.kept.offsets(there ? first + column : 0, at);
    R r = reducer;
    if (target.count > 0) r.begin(x + at[1]);
    parts[me] = walk<1>(r, x + at[1], walker, from + layer, there ? to : from, down);
    __syncthreads();
    for (int half = down / 2; half > 0; half /= 2) {
      if (layer < half) parts[me] = r.merge(parts[me], parts[me + (half << shift)]);
      __syncthreads();
    }
    if (there && layer == 0) target.put(r, first + column, at[0], parts[me]);
    __syncthreads();
  }
}

// A warp to a row merges its parts.
template <class R>
__global__ void __launch_bounds__(kBlock) finishKernel(Target<R> target, R r) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; row < target.rows;
       row += std::int64_t{gridDim.x} * kWarps) {
    typename R::State s = r.none();
    for (int i = lane; i < target.splits; i += 32) s = r.merge(s, target.parts[row * target.splits + i]);
    s = acrossLanes<32>(r, s);
    if (lane != 0) continue;
    std::int64_t at[2];
    target.kept.offsets(row, at);
    target.y[at[0]] = r.finish(s);
  }
}

// ---- the host's side ---------------------------------------------------------------------------------------------

constexpr std::int64_t kEnoughBlocks = 1056;  // eight to each of the 132 processors of an H100

// How a reduction is laid out.
struct Plan {
  bool columns = false;
  int shift = 5;       // columns: log2 of those side by side
  bool block = false;  // rows: a block to each, not a warp
  std::int64_t blocks = 0, chunk = 0, splits = 1;

  Plan(const Nest<2>& kept, const Nest<1>& row) {
    const std::int64_t count = row.count, rows = kept.count;
    const std::int64_t step = row.rank > 0 ? row.stride[0][row.rank - 1] : 0;
    const std::int64_t side = kept.rank > 0 ? kept.stride[1][kept.rank - 1] : 0;
    columns = count <= 8 || (kept.rank > 0 && side > 0 && side < step);
    std::int64_t least;  // elements that make a part
    if (columns) {
      // Narrow where the neighbours end soon, wide where there is little to walk down.
      const std::int64_t neighbours = kept.rank > 0 ? kept.shape[kept.rank - 1] : 1;
      for (shift = 0; shift < 5 && (1 << shift) < neighbours;) ++shift;
      if (shift == 5 || count <= 8)
        while (shift < 8 && (kBlock >> shift) * 2 > count) ++shift;
      blocks = (rows + (1 << shift) - 1) >> shift;
      least = (kBlock >> shift) * 16;
    } else {
      block = count > 1024;
      blocks = block ? rows : (rows + kWarps - 1) / kWarps;
      least = block ? 4096 : count;
    }
    splits = std::max<std::int64_t>(
        1, std::min({count / std::max<std::int64_t>(least, 1), (kEnoughBlocks + blocks - 1) / blocks, kEnoughBlocks}));
    chunk = std::max<std::int64_t>(((count + splits - 1) / splits + 63) / 64 * 64, 64);  // whole packs
    splits = std::max<std::int64_t>(1, (count + chunk - 1) / chunk);
  }
};

// Whether every row begins at a 16-byte address and is a run.
bool inPacks(const View& x, const Nest<2>& kept, const Nest<1>& row, std::int64_t width) {
  bool fits = row.run(0) && aligned(x.data, 16);
  for (int d = 0; d < kept.rank; ++d) fits = fits && kept.stride[1][d] % width == 0;
  return fits;
}

// y [kept...] <- x [kept..., reduced...], `axes` reduced ones
template <class R>
void reduceBy(const Args& args, int axes, const R& reducer) {
  using In = typename R::In;
  using Out = typename R::Out;
  const View &y = args.out[0], &x = args.in[0];
  View outer = x, inner = x;
  outer.rank -= axes;
  inner.rank = axes;
  for (int d = 0; d < axes; ++d) {
    inner.shape[d] = x.shape[outer.rank + d];
    inner.stride[d] = x.stride[outer.rank + d];
  }
  const View *const both[2] = {&y, &outer}, *const one[1] = {&inner};
  const Nest<2> kept(both);
  const Nest<1> row(one);
  if (kept.count == 0) return;
  const Plan plan(kept, row);
  const Walker<1> walker(row);
  Target<R> target{
      y.as<Out>(), nullptr, Walker<2>(kept), kept.count, row.count, plan.chunk, static_cast<int>(plan.splits)};
  if (plan.splits > 1) target.parts = args.scratch->array<typename R::State>(kept.count * plan.splits);
  const dim3 grid(blocksFor(plan.blocks, 1), static_cast<unsigned>(plan.splits));
  constexpr int kWidth = 16 / static_cast<int>(sizeof(In));
  const In* const data = x.as<In>();
  if (plan.columns)
    GYRUS_LAUNCH(grid, kBlock, 0, columnsKernel<R>, target, data, walker, plan.shift, reducer);
  else if (!inPacks(x, kept, row, kWidth))
    plan.block ? GYRUS_LAUNCH(grid, kBlock, 0, (rowsKernel<R, kBlock, 1>), target, data, walker, reducer)
               : GYRUS_LAUNCH(grid, kBlock, 0, (rowsKernel<R, 32, 1>), target, data, walker, reducer);
  else
    plan.block ? GYRUS_LAUNCH(grid, kBlock, 0, (rowsKernel<R, kBlock, kWidth>), target, data, walker, reducer)
               : GYRUS_LAUNCH(grid, kBlock, 0, (rowsKernel<R, 32, kWidth>), target, data, walker, reducer);
  if (plan.splits > 1) GYRUS_LAUNCH(blocksFor(kept.count, kWarps), kBlock, 0, finishKernel<R>, target, reducer);
}

template <class T>
void reduceFloats(const Args& args, ReduceKind kind, int axes, double n, double correction) {
  switch (kind) {
    case ReduceKind::Sum:
    case ReduceKind::Mean:
      return reduceBy(args, axes, Total<T>{kind == ReduceKind::Mean, n});
    case ReduceKind::Prod:
      return reduceBy(args, axes, Product<T>{});
    case ReduceKind::Variance:
      return reduceBy(args, axes, Variance<T>(n, correction));
    default:
      return reduceBy(args, axes, Extreme<T>(kind == ReduceKind::Max));
  }
}

// y [kept...] contiguous <- x [kept..., reduced...]
void reduce(const Args& args) {
  const auto& p = args.as<ReduceParams>();
  const auto kind = static_cast<ReduceKind>(static_cast<int>(p.kind));
  const View& x = args.in[0];
  const int axes = static_cast<int>(p.axes);
  double n = 1;
  for (int d = x.rank - axes; d < x.rank; ++d) n *= static_cast<double>(x.shape[d]);
  switch (x.dtype) {
    case DType::F32:
      return reduceFloats<float>(args, kind, axes, n, p.correction);
    case DType::F64:
      return reduceFloats<double>(args, kind, axes, n, p.correction);
    case DType::I32:
      if (kind == ReduceKind::Sum) return reduceBy(args, axes, Wrapping<false>{});
      if (kind == ReduceKind::Prod) return reduceBy(args, axes, Wrapping<true>{});
      return reduceBy(args, axes, Extreme<std::int32_t>(kind == ReduceKind::Max));
    default:
      return reduceBy(args, axes, Logical(kind == ReduceKind::All));
  }
}

// y i32 [kept...] <- x [kept..., n]
void argReduce(const Args& args) {
  const bool largest = static_cast<ArgKind>(static_cast<int>(args.as<ArgReduceParams>().kind)) == ArgKind::ArgMax;
  switch (args.in[0].dtype) {
    case DType::F64:
      return reduceBy(args, 1, Arg<double>(largest));
    case DType::I32:
      return reduceBy(args, 1, Arg<std::int32_t>(largest));
    default:
      return reduceBy(args, 1, Arg<float>(largest));
  }
}

}  // namespace

void registerReduce(KernelTable& t) {
  t.set(Op::Reduce, reduce);
  t.set(Op::ArgReduce, argReduce);
}

}  // namespace gyrus::cuda
