// Movement by indices: gather, indexSelect, gatherRows and oneHot are maps over y whose operands have the indices among
// them; scatterAdd and indexAdd add in the order of the indices, so that sums come out the same every time.
#include <algorithm>

#include "cuda/convert.cuh"
#include "cuda/families.h"
#include "cuda/fault.cuh"
#include "cuda/map.cuh"
#include "cuda/rows.cuh"

namespace gyrus::cuda {
namespace {

constexpr int kBlock = 256;

// ---- y[i] = f(x at an index that an operand holds) ---------------------------------------------------------

// How an index leads into x, and the element that stands for index -1, if any.
template <class Y>
struct Lookup {
  std::int64_t size, stride;
  bool fills;
  Y fill;
  Fault fault;
};

template <class Y, class X, class Divisor, class F>
__global__ void __launch_bounds__(kBlock)
    lookupKernel(Y* y, const X* x, const std::int32_t* index, Mapper<3, Divisor> mapper, typename Divisor::Index n,
                 Lookup<Y> lookup, F f) {
  using Index = typename Divisor::Index;
  for (Index i = Index{blockIdx.x} * kBlock + threadIdx.x; i < n; i += Index{gridDim.x} * kBlock) {
    Index at[3];
    mapper.offsets(i, at);
    const std::int32_t k = index[at[2]];
    if (lookup.fills && k == -1)
      y[at[0]] = lookup.fill;
    else if (lookup.fault.accepts(k, lookup.size))
      y[at[0]] = f(x[static_cast<std::int64_t>(at[1]) + k * lookup.stride]);
  }
}

// A view of x for all elements of y: without the axis that the index says.
View besideAxis(View x, const View& y, int axis) {
  x.shape[axis] = y.shape[axis];
  x.stride[axis] = 0;
  return x;
}
// A list of indices for all elements of y.
View alongAxis(const View& list, const View& y, int axis) {
  View v = y;
  v.data = list.data;
  v.dtype = list.dtype;
  for (int d = 0; d < v.rank; ++d) v.stride[d] = d == axis ? list.stride[0] : 0;
  return v;
}

// Elements in packs of `width`, if the innermost axis, the steps of all others and the address allow it. The other
// operands must not change along the innermost axis.
bool packs(const View& v, int axis, std::int64_t width, std::size_t bytes) {
  const int last = v.rank - 1;
  bool fits = last >= 0 && axis != last && v.stride[last] == 1 && v.shape[last] % width == 0 && aligned(v.data, bytes);
  for (int d = 0; d < last && fits; ++d) fits = v.shape[d] == 1 || v.stride[d] % width == 0;
  return fits;
}
View packed(View v, std::int64_t width) {
  const int last = v.rank - 1;
  v.shape[last] /= width;
  for (int d = 0; d < last; ++d) v.stride[d] /= width;
  return v;
}

template <class Y, class X, class F>
void lookUp(const View& y, const View& x, const View& index, const Lookup<Y>& lookup, F f) {
  const View* const v[3] = {&y, &x, &index};
  const Nest<3> nest(v);
  if (nest.count == 0) return;
  withMapper(nest, [&]<class Divisor>(const Mapper<3, Divisor>& mapper) {
    GYRUS_LAUNCH(blocksFor(nest.count, kBlock), kBlock, 0, (lookupKernel<Y, X, Divisor, F>), y.as<Y>(), x.as<X>(),
                 index.as<std::int32_t>(), mapper, static_cast<typename Divisor::Index>(nest.count), lookup, f);
  });
}

template <class U>
struct Same {
  __device__ U operator()(U x) const { return x; }
};

// y[i..k..] = x[i..index[i..k..]..]
void gather(const Args& args) {
  const int axis = static_cast<int>(args.as<GatherParams>().axis);
  const View &y = args.out[0], &x = args.in[0], &index = args.in[1];
  bySize(sizeOf(y.dtype), [&]<class U>() {
    lookUp<U, U>(y, besideAxis(x, y, axis), index,
                 Lookup<U>{x.shape[axis], x.stride[axis], false, {}, faultOf(Op::Gather)}, Same<U>{});
  });
}

// y[..j..] = x[..index[j]..]; -1 gives the fill value
void indexSelect(const Args& args) {
  const auto& p = args.as<IndexSelectParams>();
  const int axis = static_cast<int>(p.axis);
  const View &y = args.out[0], &x = args.in[0];
  const View base = besideAxis(x, y, axis), index = alongAxis(args.in[1], y, axis);
  const Fault fault = faultOf(Op::IndexSelect);
  byType(y.dtype, [&]<class T>() {
    const T fill = convert<T>(p.fill);
    constexpr int kWidth = 16 / static_cast<int>(sizeof(T));
    using Four = Pack<T, kWidth>;
    if (packs(y, axis, kWidth, 16) && packs(base, axis, kWidth, 16) && x.stride[axis] % kWidth == 0) {
      Lookup<Four> lookup{x.shape[axis], x.stride[axis] / kWidth, true, {}, fault};
      for (T& e : lookup.fill.v) e = fill;
      View list = index;
      list.shape[list.rank - 1] /= kWidth;
      return lookUp<Four, Four>(packed(y, kWidth), packed(base, kWidth), list, lookup, Same<Four>{});
    }
    lookUp<T, T>(y, base, index, Lookup<T>{x.shape[axis], x.stride[axis], true, fill, fault}, Same<T>{});
  });
}

template <int V, class X>
struct Normalised {
  float scale, shift;
  __device__ Pack<float, V> operator()(const Pack<X, V>& x) const {
    Pack<float, V> y;
#pragma unroll
    for (int i = 0; i < V; ++i) y.v[i] = fmaf(static_cast<float>(x.v[i]), scale, shift);
    return y;
  }
};

// y f32 [B, F] <- x (u8|f32) [N, F], index i32 [B];  y[b] = x[index[b]] * scale + shift
void gatherRows(const Args& args) {
  const auto& p = args.as<GatherRowsParams>();
  const View &y = args.out[0], &x = args.in[0];
  const View base = besideAxis(x, y, 0), index = alongAxis(args.in[1], y, 0);
  const auto scale = static_cast<float>(p.scale), shift = static_cast<float>(p.shift);
  const auto run = [&]<class X>() {
    const bool fours = packs(y, 0, 4, 16) && packs(base, 0, 4, 4 * sizeof(X)) && x.stride[0] % 4 == 0;
    const std::int64_t width = fours ? 4 : 1;
    View list = index;
    list.shape[1] /= width;
    const auto launch = [&]<int V>() {
      using Y = Pack<float, V>;
      lookUp<Y, Pack<X, V>>(V > 1 ? packed(y, V) : y, V > 1 ? packed(base, V) : base, list,
                            Lookup<Y>{x.shape[0], x.stride[0] / V, false, {}, faultOf(Op::GatherRows)},
                            Normalised<V, X>{scale, shift});
    };
    if (fours)
      launch.template operator()<4>();
    else
      launch.template operator()<1>();
  };
  if (x.dtype == DType::U8)
    run.template operator()<std::uint8_t>();
  else
    run.template operator()<float>();
}

template <class T, class Divisor>
__global__ void __launch_bounds__(kBlock)
    oneHotKernel(T* y, const std::int32_t* index, Mapper<3, Divisor> mapper, typename Divisor::Index n,
                 std::int64_t depth, T on, T off, Fault fault) {
  using Index = typename Divisor::Index;
  for (Index i = Index{blockIdx.x} * kBlock + threadIdx.x; i < n; i += Index{gridDim.x} * kBlock) {
    Index at[3];
    mapper.offsets(i, at);
    const std::int32_t k = index[at[1]];
    if (fault.accepts(k, depth)) y[at[0]] = static_cast<std::int64_t>(at[2]) == k ? on : off;
  }
}

// y [..., depth] <- index [...]
void oneHot(const Args& args) {
  const auto& p = args.as<OneHotParams>();
  View y = args.out[0];
  const int last = y.rank - 1;
  const std::int64_t depth = y.shape[last];
  if (depth == 0) y.shape[last] = 1;  // no index fits, and none is to pass in silence
  View index = y, column = y;  // column: its offset in a view like that is an element's place along the last axis
  index.data = args.in[0].data;
  for (int d = 0; d < last; ++d) index.stride[d] = args.in[0].stride[d];
  index.stride[last] = 0;
  for (int d = 0; d < last; ++d) column.stride[d] = 0;
  column.stride[last] = 1;
  const View* const v[3] = {&y, &index, &column};
  const Nest<3> nest(v);
  if (nest.count == 0) return;
  byType(y.dtype, [&]<class T>() {
    withMapper(nest, [&]<class Divisor>(const Mapper<3, Divisor>& mapper) {
      GYRUS_LAUNCH(blocksFor(nest.count, kBlock), kBlock, 0, (oneHotKernel<T, Divisor>), y.as<T>(),
                   index.as<std::int32_t>(), mapper, static_cast<typename Divisor::Index>(nest.count), depth,
                   convert<T>(p.on), convert<T>(p.off), faultOf(Op::OneHot));
    });
  });
}

// ---- y[index] += source ---------------------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ T plus(T a, T b) {
  if constexpr (std::is_same_v<T, std::int32_t>)
    return static_cast<T>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));  // it wraps
  else
    return a + b;
}

// What is added along an axis: offsets of y, index and source for everything beside the axis, and their steps along it.
template <int K>
struct Along {
  Mapper<K, Divisor64> outer;
  std::int64_t lines, length, size, stride[K];

  Along(const View* const (&v)[K], int axis, std::int64_t length, std::int64_t size) : length(length), size(size) {
    View line[K];
    const View* pointers[K];
    for (int k = 0; k < K; ++k) {
      line[k] = *v[k];
      stride[k] = line[k].stride[axis];
      line[k].shape[axis] = 1;
      pointers[k] = &line[k];
    }
    const Nest<K> nest(pointers);
    lines = nest.count;
    outer = nest.template mapper<Divisor64>();
  }
};

// Entries that one launch of indexAdd takes: a block compares its index to all of them.
constexpr std::int64_t kSpan = 4096;

// Block x takes entry x of the list, unless an earlier one has the same index, and with it all later entries of that
// index, in their order. Threads: columns, that is positions beside the axis. The costs: count^2 comparisons, and each
// element of source read once.
template <class T>
__global__ void __launch_bounds__(kBlock) indexAddKernel(T* y, const std::int32_t* index, std::int64_t indexStride,
                                                         const T* source, Along<2> along, int count, Fault fault) {
  using Matches = unsigned[kBlock / 32];
  GYRUS_SHARED(Matches, matches);
  const int me = static_cast<int>(threadIdx.x), entry = static_cast<int>(blockIdx.x);
  const std::int32_t target = index[entry * indexStride];
  if (target == -1) return;
  if (target < 0 || target >= along.size) {
    if (me == 0) fault.accepts(target, along.size);
    return;
  }
  int earlier = 0;
  for (int i = me; i < entry; i += kBlock) earlier |= index[i * indexStride] == target;
  if (__syncthreads_or(earlier)) return;
  for (std::int64_t first = std::int64_t{blockIdx.y} * kBlock; first < along.lines;
       first += std::int64_t{gridDim.y} * kBlock) {
    const bool mine = first + me < along.lines;
    std::int64_t at[2];
    along.outer.offsets(mine ? first + me : 0, at);
    T* const place = y + at[0] + target * along.stride[0];
    T sum = mine ? *place : T(0);
    for (int base = entry; base < count; base += kBlock) {
      const unsigned found = __ballot_sync(kAllLanes, base + me < count && index[(base + me) * indexStride] == target);
      if (me % 32 == 0) matches[me / 32] = found;
      __syncthreads();
      for (int w = 0; w < kBlock / 32; ++w)
        for (unsigned rest = matches[w]; rest != 0; rest &= rest - 1) {
          const int j = base + w * 32 + __ffs(static_cast<int>(rest)) - 1;
          if (mine) sum = plus(sum, source[at[1] + j * along.stride[1]]);
        }
      __syncthreads();
    }
    if (mine) *place = sum;
  }
}

template <class F>
void byNumber(DType dtype, F f) {
  if (dtype == DType::I32)
    f.template operator()<std::int32_t>();
  else
    byFloat(dtype, f);
}

// y[..index[j]..] += source[..j..], in order of j; -1 is skipped
void indexAdd(const Args& args) {
  const int axis = static_cast<int>(args.as<IndexAddParams>().axis);
  const View &y = args.out[0], &index = args.in[0], &source = args.in[1];
  const View* const v[2] = {&y, &source};
  const Along<2> along(v, axis, source.shape[axis], y.shape[axis]);
  if (along.lines == 0) return;
  byNumber(y.dtype, [&]<class T>() {
    for (std::int64_t from = 0; from < along.length; from += kSpan) {
      const std::int64_t count = std::min(along.length - from, kSpan);
      GYRUS_LAUNCH(dim3(static_cast<unsigned>(count), blocksFor(along.lines, kBlock, 65535)), kBlock, 0,
                   indexAddKernel<T>, y.as<T>(), index.as<std::int32_t>() + from * index.stride[0], index.stride[0],
                   source.as<T>() + from * source.stride[axis], along, static_cast<int>(count), faultOf(Op::IndexAdd));
    }
  });
}

// A thread per line walks the line's indices: for many lines, or short ones. The costs: one read and write of y after
// the other, as many as the line has entries.
template <class T>
__global__ void __launch_bounds__(kBlock)
    scatterLinesKernel(T* y, const std::int32_t* index, const T* source, Along<3> along, Fault fault) {
  for (std::int64_t line = std::int64_t{blockIdx.x} * kBlock + threadIdx.x; line < along.lines;
       line += std::int64_t{gridDim.x} * kBlock) {
    std::int64_t at[3];
    along.outer.offsets(line, at);
    for (std::int64_t j = 0; j < along.length; ++j) {
      const std::int32_t target = index[at[1] + j * along.stride[1]];
      if (!fault.accepts(target, along.size)) continue;
      T* const place = y + at[0] + target * along.stride[0];
      *place = plus(*place, source[at[2] + j * along.stride[2]]);
    }
  }
}

// A block per line takes its entries a tile at a time: of the entries of one target the first adds them all, in order.
// The costs per tile: kBlock comparisons a thread, in shared memory.
template <class T>
__global__ void __launch_bounds__(kBlock)
    scatterTilesKernel(T* y, const std::int32_t* index, const T* source, Along<3> along, Fault fault) {
  using Targets = std::int32_t[kBlock];
  using Values = T[kBlock];
  GYRUS_SHARED(Targets, targets);
  GYRUS_SHARED(Values, values);
  const int me = static_cast<int>(threadIdx.x);
  for (std::int64_t line = blockIdx.x; line < along.lines; line += gridDim.x) {
    std::int64_t at[3];
    along.outer.offsets(line, at);
    for (std::int64_t first = 0; first < along.length; first += kBlock) {
      const std::int64_t j = first + me;
      std::int32_t target = -1;
      if (j < along.length) {
        const std::int32_t k = index[at[1] + j * along.stride[1]];
        if (fault.accepts(k, along.size)) target = k;
        values[me] = source[at[2] + j * along.stride[2]];
      }
      targets[me] = target;
      __syncthreads();
      bool leads = target >= 0;
      for (int i = 0; i < me && leads; ++i) leads = targets[i] != target;
      if (leads) {
        T* const place = y + at[0] + target * along.stride[0];
        T sum = plus(*place, values[me]);
        for (int i = me + 1; i < kBlock; ++i)
          if (targets[i] == target) sum = plus(sum, values[i]);
        *place = sum;
      }
      __syncthreads();  // before the next tile comes in
    }
  }
}

// y[i..index[i..k..]..] += source[i..k..], in index order
void scatterAdd(const Args& args) {
  const int axis = static_cast<int>(args.as<ScatterAddParams>().axis);
  const View &y = args.out[0], &index = args.in[0], &source = args.in[1];
  // Along the axis y may be of another length; its lines are the same.
  View like = y;
  like.shape[axis] = index.shape[axis];
  const View* const v[3] = {&like, &index, &source};
  const Along<3> along(v, axis, index.shape[axis], y.shape[axis]);
  if (along.lines == 0 || along.length == 0) return;
  const Fault fault = faultOf(Op::ScatterAdd);
  byNumber(y.dtype, [&]<class T>() {
    if (along.length <= 64 || along.lines >= 16384)
      GYRUS_LAUNCH(blocksFor(along.lines, kBlock), kBlock, 0, scatterLinesKernel<T>, y.as<T>(),
                   index.as<std::int32_t>(), source.as<T>(), along, fault);
    else
      GYRUS_LAUNCH(blocksFor(along.lines, 1), kBlock, 0, scatterTilesKernel<T>, y.as<T>(), index.as<std::int32_t>(),
                   source.as<T>(), along, fault);
  });
}

}  // namespace

void registerIndexed(KernelTable& t) {
  t.set(Op::Gather, gather);
  t.set(Op::ScatterAdd, scatterAdd);
  t.set(Op::IndexSelect, indexSelect);
  t.set(Op::IndexAdd, indexAdd);
  t.set(Op::OneHot, oneHot);
  t.set(Op::GatherRows, gatherRows);
}

}  // namespace gyrus::cuda
