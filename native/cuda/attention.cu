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
    dots<DP>(s, queries, tile, k, ks, left, depth, tx, ty);
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
    addRows<DP, Masked>(o, s, weights, tile, v, vs, left, depth, false, tx, ty, seen);
  }
};

template <int DP, int BM>
__global__ void __launch_bounds__(kAttentionThreads)
    attentionKernel(Heads<float> y, float* lse, Heads<const float> q, Heads<const float> k, Heads<const float> v,
                    AttentionSizes sizes, Divisor64 tiles, std::int64_t jobs, float scale) {
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
    const std::int64_t pair = tiles.over(job), first = (tiles.d - 1 - (job - pair * tiles.d)) * BM;
    const std::int64_t b = sizes.heads.over(pair), h = pair - b * sizes.heads.d;
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
  const std::int64_t tiles = (s.queries + BM - 1) / BM, jobs = s.pairs() * tiles;
  launchAttention("attention", jobs, Forward<DP, BM>::floats, attentionKernel<DP, BM>, Heads<float>(args.out[0]),
                  args.out[1].as<float>(), Heads<const float>(args.in[0]), Heads<const float>(args.in[1]),
                  Heads<const float>(args.in[2]), s, Divisor64(tiles), jobs, scale);
}

// y [B, Q, H, D], lse [B, H, Q] <- q, k, v
void attention(const Args& args) {
  const auto& p = args.as<AttentionParams>();
  const View &q = args.in[0], &k = args.in[1];
  if (q.size() == 0) return;
  if (q.dtype != DType::F32 || q.shape[3] > 256) return attentionRows(args);
  const AttentionSizes s(q, k, p.causal != 0);
  const auto scale = static_cast<float>(p.scale * 1.44269504088896340736);
  // 64 queries share a tile of keys where that wastes few rows and still gives every multiprocessor blocks; else 32.
  const std::int64_t waste = (s.queries + 63) / 64 * 64 - s.queries;
  const bool large = 8 * waste <= s.queries && s.pairs() * ((s.queries + 63) / 64) >= 264;
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
