// What forward and backward attention share: heads of any layout, tiles of them in shared memory, and the two products
// of tiles. A block is 128 threads, 8 rows ("ty") of 16 ("tx"): thread (ty, tx) has rows ty, ty + 8, ... of the block's
// tile and columns tx, tx + 16, ... of a tile of scores. A row belongs to half a warp, so the maximum and the sum of a
// row are shuffles, and scores go from one product to the next through shared memory without a barrier of the block.
#pragma once
#include "cuda/strided.cuh"
#include "kernels/contract.h"

namespace gyrus::cuda {

// [B, T, H, D], strides in elements.
template <class T>
struct Heads {
  T* data;
  std::int64_t sample, time, head, step;
  bool fours;  // every row of a head can be read and written 16 bytes at a time

  Heads() = default;
  explicit Heads(const View& v)
      : data(v.as<T>()), sample(v.stride[0]), time(v.stride[1]), head(v.stride[2]), step(v.stride[3]) {
    fours = step == 1 && v.shape[3] % 4 == 0 && sample % 4 == 0 && time % 4 == 0 && head % 4 == 0 && sizeof(T) == 4 &&
            aligned(data, 16);
  }
  __device__ T* at(std::int64_t b, std::int64_t h) const { return data + b * sample + h * head; }
};

struct AttentionSizes {
  std::int64_t samples, queries, keys;
  Divisor64 heads;
  int depth;  // D
  bool causal;

  AttentionSizes(const View& q, const View& k, bool causal)
      : samples(q.shape[0]),
        queries(q.shape[1]),
        keys(k.shape[1]),
        heads(q.shape[2]),
        depth(static_cast<int>(q.shape[3])),
        causal(causal) {}
  std::int64_t pairs() const { return samples * heads.d; }
};

constexpr int kAttentionThreads = 128;
constexpr float kLog2e = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;

// A tile for heads of up to DP numbers: rows of DP + 4 floats, so that 16-byte reads of 8 neighbouring rows touch all
// banks once. `width`: how much of D one load of rows for scores takes; `rows`: how many whole rows the same memory
// has.
template <int DP>
struct AttentionTile {
  static constexpr int stride = DP + 4;
  static constexpr int width = DP < 64 ? DP : 64;
  static constexpr int rows = DP > 64 ? 4096 / DP : 64;
  static constexpr int floats = 64 * (width + 4) > rows* stride ? 64 * (width + 4) : rows* stride;
  static constexpr int columns = DP / 16;                 // per thread, of a row of D numbers
  static constexpr int pack = columns < 4 ? columns : 4;  // neighbours among them
  static_assert(rows % 16 == 0 && columns % pack == 0);

  // The position in D of a thread's column.
  static __device__ int column(int tx, int i) { return i / pack * 16 * pack + tx * pack + i % pack; }
};

// tile [R, W] <- `rows` rows of `width` numbers, zeros beyond.
template <int R, int W>
__device__ __forceinline__ void loadTile(float* tile, const float* from, std::int64_t time, std::int64_t step,
                                         bool fours, std::int64_t rows, int width) {
  const int thread = static_cast<int>(threadIdx.x);
  if (fours) {
#pragma unroll 4
    for (int e = thread; e < R * W / 4; e += kAttentionThreads) {
      const int r = e / (W / 4), d = e % (W / 4) * 4;
      float4 v = make_float4(0, 0, 0, 0);
      if (r < rows && d < width) v = *reinterpret_cast<const float4*>(from + r * time + d);
      *reinterpret_cast<float4*>(tile + r * (W + 4) + d) = v;
    }
    return;
  }
#pragma unroll 4
  for (int e = thread; e < R * W; e += kAttentionThreads) {
    const int r = e / W, d = e % W;
    tile[r * (W + 4) + d] = r < rows && d < width ? from[r * time + d * step] : 0.0f;
  }
}

// s[i][c] += a[8 i] . b[16 c], rows of `depth` numbers (a multiple of 4) at these strides.
template <int StrideA, int StrideB, int R, int C>
__device__ __forceinline__ void addDots(float (&s)[R][C], const float* a, const float* b, int depth) {
#pragma unroll 1
  for (int k = 0; k < depth; k += 4) {
    float4 v[C];
#pragma unroll
    for (int c = 0; c < C; ++c) v[c] = *reinterpret_cast<const float4*>(b + 16 * c * StrideB + k);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const float4 u = *reinterpret_cast<const float4*>(a + 8 * i * StrideA + k);
#pragma unroll
      for (int c = 0; c < C; ++c) {
        s[i][c] = __fmaf_rn(u.x, v[c].x, s[i][c]);
        s[i][c] = __fmaf_rn(u.y, v[c].y, s[i][c]);
        s[i][c] = __fmaf_rn(u.z, v[c].z, s[i][c]);
        s[i][c] = __fmaf_rn(u.w, v[c].w, s[i][c]);
      }
    }
  }
}

template <int N>
__device__ __forceinline__ void readPack(float (&v)[N], const float* from) {
  if constexpr (N == 4) {
    const float4 f = *reinterpret_cast<const float4*>(from);
    v[0] = f.x, v[1] = f.y, v[2] = f.z, v[3] = f.w;
  } else {
    const float2 f = *reinterpret_cast<const float2*>(from);
    v[0] = f.x, v[1] = f.y;
  }
}

// Weights of 16 columns of a tile: thread (ty, tx) gives the one of column tx for each of its rows. Rows of 16 floats
// put the two rows of a warp on different banks. Only the half warp that wrote a row reads it.
template <int R, int C>
__device__ __forceinline__ void giveWeights(float* shared, const float (&p)[R][C], int c, int tx) {
  __syncwarp();  // what was there before has been read
#pragma unroll
  for (int i = 0; i < R; ++i) shared[8 * i * 16 + tx] = p[i][c];
  __syncwarp();
}

// o[i] += sum over 16 rows j of p[i][j] * v[j]. seen(i, j), where Masked: whether row i has j at all; an infinity or a
// NaN in v that it doesn't see must not reach it, not even times 0.
template <int DP, bool Masked, int R, class Seen>
__device__ __forceinline__ void addWeighted(float (&o)[R][DP / 16], const float* weights, const float* v, int tx,
                                            const Seen& seen) {
  using Tile = AttentionTile<DP>;
  constexpr int N = Tile::pack;
#pragma unroll
  for (int g = 0; g < Tile::columns; g += N) {
#pragma unroll 1
    for (int j = 0; j < 16; j += 4) {
      float rows[4][N];
#pragma unroll
      for (int k = 0; k < 4; ++k) readPack(rows[k], v + (j + k) * Tile::stride + Tile::column(tx, g));
#pragma unroll
      for (int i = 0; i < R; ++i) {
        const float4 four = *reinterpret_cast<const float4*>(weights + 8 * i * 16 + j);
        const float p[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const bool counts = !Masked || seen(i, j + k);
#pragma unroll
          for (int n = 0; n < N; ++n) {
            const float sum = __fmaf_rn(p[k], rows[k][n], o[i][g + n]);
            o[i][g + n] = counts ? sum : o[i][g + n];
          }
        }
      }
    }
  }
}

// to[row] = factor * o, the numbers of a row this thread has.
template <int DP>
__device__ __forceinline__ void storeRow(float* to, std::int64_t step, bool fours, int depth, int tx,
                                         const float (&o)[DP / 16], float factor) {
  using Tile = AttentionTile<DP>;
  constexpr int N = Tile::pack;
#pragma unroll
  for (int g = 0; g < Tile::columns; g += N) {
    const int d = Tile::column(tx, g);
    if (fours) {
      if (d >= depth) continue;
      if constexpr (N == 4)
        *reinterpret_cast<float4*>(to + d) =
            make_float4(o[g] * factor, o[g + 1] * factor, o[g + 2] * factor, o[g + 3] * factor);
      else
        *reinterpret_cast<float2*>(to + d) = make_float2(o[g] * factor, o[g + 1] * factor);
    } else {
#pragma unroll
      for (int n = 0; n < N; ++n)
        if (d + n < depth) to[(d + n) * step] = o[g + n] * factor;
    }
  }
}

// s[i][c] = row ty + 8 i of the own tile . row tx + 16 c of x, of which `left` rows are there. The rows of x come
// through `tile`, as much of D at a time as it takes.
template <int DP, int R, int C>
__device__ __forceinline__ void dots(float (&s)[R][C], const float* own, float* tile, const Heads<const float>& x,
                                     const float* from, int left, int depth, int tx, int ty) {
  using Tile = AttentionTile<DP>;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int c = 0; c < C; ++c) s[i][c] = 0;
#pragma unroll 1
  for (int d = 0; d < depth; d += Tile::width) {
    const int width = depth - d < Tile::width ? depth - d : Tile::width;
    __syncthreads();  // the tile before has been used
    loadTile<16 * C, Tile::width>(tile, from + d * x.step, x.time, x.step, x.fours, left, width);
    __syncthreads();
    addDots<Tile::stride, Tile::width + 4>(s, own + ty * Tile::stride + d, tile + tx * (Tile::width + 4),
                                           (width + 3) / 4 * 4);
  }
}

// sums[i] += the rows of x times p[i], by way of `weights`. there: `tile` holds them already. seen: as for addWeighted.
template <int DP, bool Masked, int R, int C, class Seen>
__device__ __forceinline__ void addRows(float (&sums)[R][DP / 16], const float (&p)[R][C], float* weights, float* tile,
                                        const Heads<const float>& x, const float* from, int left, int depth, bool there,
                                        int tx, int ty, const Seen& seen) {
  using Tile = AttentionTile<DP>;
  constexpr int rows = Tile::rows < 16 * C ? Tile::rows : 16 * C;
#pragma unroll
  for (int c = 0; c < C; ++c) {
    if (Masked && 16 * c >= left) break;
    if (16 * c % rows == 0 && !there) {
      __syncthreads();
      loadTile<rows, DP>(tile, from + 16 * c * x.time, x.time, x.step, x.fours, left - 16 * c, depth);
      __syncthreads();
    }
    giveWeights(weights + ty * 16, p, c, tx);
    addWeighted<DP, Masked>(sums, weights + ty * 16, tile + 16 * c % rows * Tile::stride, tx,
                            [&](int i, int j) { return seen(i, 16 * c + j); });
  }
}

// Largest and sum over the half warp that has a row.
__device__ __forceinline__ float halfWarpMax(float x) {
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, lanes));
  return x;
}
__device__ __forceinline__ float halfWarpSum(float x) {
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, lanes);
  return x;
}

// Launches with as much shared memory as a multiprocessor of any generation has.
template <class... P, class... A>
void launchAttention(const char* text, std::int64_t jobs, int floats, void (*kernel)(P...), A&&... args) {
  const auto bytes = floats * sizeof(float);
  if (bytes > (48 << 10))
    checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), text);
  launch(text, dim3(blocksFor(jobs, 1)), dim3(kAttentionThreads), bytes, kernel, std::forward<A>(args)...);
}

// Heads the tiles don't take: longer than 256 numbers, or f64 (attention_rows.cu).
void attentionRows(const Args& args);
void attentionGradRows(const Args& args);
// attention_grad.cu
void attentionGrad(const Args& args);

}  // namespace gyrus::cuda
