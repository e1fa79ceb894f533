// Attention of f32: a block keeps a tile of queries in shared memory and goes through the keys 64 at a time, with
// running maxima and sums (online softmax), in powers of two: the factor log2(e) goes into the scale.
#include <cmath>

#include "cuda/attention.cuh"
#include "cuda/families.h"

namespace gyrus::cuda {
namespace {

template <int DP, int BM>
struct Forward {
  using Tile = AttentionTile<DP>;
  static constexpr int R = BM / 8;
  static constexpr int floats = BM * Tile::stride + Tile::floats + BM * 16;

  float *queries, *tile, *weights;  // shared memory
  int tx, ty;
  float o[R][Tile::columns], top[R], total[R];  // top and total: of the scores seen; total of this thread's columns

  // Keys j0..j0 + 16 C - 1, of which `left` exist; row i of the tile sees those up to diagonal + i, where Masked.
  template <int C, bool Masked>
  __device__ __forceinline__ void step(const Heads<const float>& k, const Heads<const float>& v, const float* ks,
                                       const float* vs, int left, int diagonal, int depth, float scale) {
    float s[R][C];
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int c = 0; c < C; ++c) s[i][c] = 0;
#pragma unroll 1
    for (int d = 0; d < depth; d += Tile::width) {
      const int width = depth - d < Tile::width ? depth - d : Tile::width;
      __syncthreads();  // the tile before has been used
      loadTile<16 * C, Tile::width>(tile, ks + d * k.step, k.time, k.step, k.fours, left, width);
      __syncthreads();
      addDots<Tile::stride, Tile::width + 4>(s, queries + ty * Tile::stride + d, tile + tx * (Tile::width + 4),
                                             (width + 3) / 4 * 4);
    }
    const auto seen = [&](int i, int j) { return j < left && j <= diagonal + ty + 8 * i; };
#pragma unroll
    for (int i = 0; i < R; ++i) {
      float most = -INFINITY;
#pragma unroll
      for (int c = 0; c < C; ++c) {
        s[i][c] *= scale;
        if (Masked && !seen(i, tx + 16 * c)) s[i][c] = -INFINITY;
        most = fmaxf(most, s[i][c]);
      }
      most = fmaxf(top[i], halfWarpMax(most));
      const float base = most == -INFINITY ? 0.0f : most;
      const float factor = exp2f(top[i] - base);
      top[i] = most;
      total[i] *= factor;
#pragma unroll
      for (int c = 0; c < C; ++c) {
        s[i][c] = exp2f(s[i][c] - base);
        total[i] += s[i][c];
      }
#pragma unroll
      for (int n = 0; n < Tile::columns; ++n) o[i][n] *= factor;
    }
    constexpr int rows = Tile::rows < 16 * C ? Tile::rows : 16 * C;
#pragma unroll
    for (int c = 0; c < C; ++c) {
      if (Masked && 16 * c >= left) break;
      if (16 * c % rows == 0) {
        __syncthreads();
        loadTile<rows, DP>(tile, vs + 16 * c * v.time, v.time, v.step, v.fours, left - 16 * c, depth);
        __syncthreads();
      }
      giveWeights(weights + ty * 16, s, c, tx);
      addWeighted<DP, Masked>(o, weights + ty * 16, tile + 16 * c % rows * Tile::stride, tx,
                              [&](int i, int j) { return seen(i, 16 * c + j); });
    }
  }
};

template <int DP, int BM>
__global__ void __launch_bounds__(kAttentionThreads)
    attentionKernel(Heads<float> y, float* lse, Heads<const float> q, Heads<const float> k, Heads<const float> v,
                    AttentionSizes sizes, std::int64_t tiles, std::int64_t jobs, float scale) {
  using F = Forward<DP, BM>;
  using Tile = AttentionTile<DP>;
  GYRUS_DYNAMIC_SHARED(float, shared);
  F f;
  f.queries = shared;
  f.tile = f.queries + BM * Tile::stride;
  f.weights = f.tile + Tile::floats;
  f.tx = static_cast<int>(threadIdx.x) % 16;
  f.ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll 1
  for (std::int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    // The last queries first: causal ones have the most keys.
    const std::int64_t pair = job / tiles, first = (tiles - 1 - (job - pair * tiles)) * BM;
    const std::int64_t b = pair / sizes.heads, h = pair - b * sizes.heads;
    const std::int64_t rows = sizes.queries - first < BM ? sizes.queries - first : BM;
    loadTile<BM, DP>(f.queries, q.at(b, h) + first * q.time, q.time, q.step, q.fours, rows, sizes.depth);
#pragma unroll
    for (int i = 0; i < F::R; ++i) {
      f.top[i] = -INFINITY;
      f.total[i] = 0;
#pragma unroll
      for (int n = 0; n < Tile::columns; ++n) f.o[i][n] = 0;
    }
    const std::int64_t end = sizes.causal && first + rows < sizes.keys ? first + rows : sizes.keys;
#pragma unroll 1
    for (std::int64_t j = 0; j < end;) {
      const int left = static_cast<int>(end - j < 64 ? end - j : 64);
      const int diagonal = sizes.causal && first - j < 1 << 20 ? static_cast<int>(first - j) : 1 << 20;
      const float *ks = k.at(b, h) + j * k.time, *vs = v.at(b, h) + j * v.time;
      if (left == 64 && diagonal >= 63) {
        f.template step<4, false>(k, v, ks, vs, left, diagonal, sizes.depth, scale);
        j += 64;
      } else if (left > 32) {
        f.template step<4, true>(k, v, ks, vs, left, diagonal, sizes.depth, scale);
        j += 64;
      } else {
        f.template step<1, true>(k, v, ks, vs, left, diagonal, sizes.depth, scale);
        j += 16;
      }
    }
#pragma unroll
    for (int i = 0; i < F::R; ++i) {
      const std::int64_t row = f.ty + 8 * i;
      const float total = halfWarpSum(f.total[i]);
      if (row >= rows) continue;
      if (f.tx == 0) lse[pair * sizes.queries + first + row] = (f.top[i] + log2f(total)) * kLn2;
      storeRow<DP>(y.at(b, h) + (first + row) * y.time, y.step, y.fours, sizes.depth, f.tx, f.o[i],
                   sizes.keys == 0 ? 0.0f : 1 / total);
    }
  }
}

template <int DP, int BM>
void run(const Args& args, const AttentionSizes& s, float scale) {
  const std::int64_t tiles = (s.queries + BM - 1) / BM, jobs = s.samples * s.heads * tiles;
  launchAttention("attention", jobs, Forward<DP, BM>::floats, attentionKernel<DP, BM>, Heads<float>(args.out[0]),
                  args.out[1].as<float>(), Heads<const float>(args.in[0]), Heads<const float>(args.in[1]),
                  Heads<const float>(args.in[2]), s, tiles, jobs, scale);
}

// y [B, Q, H, D], lse [B, H, Q] <- q, k, v
void attention(const Args& args) {
  const auto& p = args.as<AttentionParams>();
  const View &q = args.in[0], &k = args.in[1];
  if (q.size() == 0) return;
  if (q.dtype != DType::F32 || q.shape[3] > 256) return attentionRows(args);
  const AttentionSizes s{q.shape[0], q.shape[1], k.shape[1], q.shape[2], static_cast<int>(q.shape[3]), p.causal != 0};
  const auto scale = static_cast<float>(p.scale * 1.44269504088896340736);
  // 64 queries share a tile of keys where that wastes few rows and still gives every multiprocessor blocks; else 32.
  const std::int64_t waste = (s.queries + 63) / 64 * 64 - s.queries;
  const bool large = 8 * waste <= s.queries && s.samples * s.heads * ((s.queries + 63) / 64) >= 264;
  if (s.depth <= 32) return large ? run<32, 64>(args, s, scale) : run<32, 32>(args, s, scale);
  if (s.depth <= 64) return large ? run<64, 64>(args, s, scale) : run<64, 32>(args, s, scale);
  if (s.depth <= 128) return large ? run<128, 64>(args, s, scale) : run<128, 32>(args, s, scale);
  run<256, 32>(args, s, scale);
}

}  // namespace

void registerAttention(KernelTable& t) {
  t.set(Op::Attention, attention);
  t.set(Op::AttentionGrad, attentionGrad);
}

}  // namespace gyrus::cuda
