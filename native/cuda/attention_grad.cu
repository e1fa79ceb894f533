// The gradient of attention of f32, from what forward kept: the weights p = exp(s - lse) are computed again. Two passes
// without sums across blocks: a block of the first has a tile of keys and goes through the queries (dk, dv), one of the
// second has a tile of queries and goes through the keys (dq). With delta = g . y per query:
//   dv = p^T g;  ds = p (g v^T - delta) scale;  dk = ds^T q;  dq = ds k
#include "cuda/attention.cuh"

namespace gyrus::cuda {
namespace {

// delta [B, H, Q]; a warp per query
__global__ void __launch_bounds__(kAttentionThreads)
    deltaKernel(float* delta, Heads<const float> g, Heads<const float> y, AttentionSizes sizes, std::int64_t count) {
  constexpr int warps = kAttentionThreads / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t step = std::int64_t{gridDim.x} * warps;
  for (std::int64_t e = std::int64_t{blockIdx.x} * warps + threadIdx.x / 32; e < count; e += step) {
    const std::int64_t pair = e / sizes.queries, i = e - pair * sizes.queries;
    const std::int64_t b = sizes.heads.over(pair), h = pair - b * sizes.heads.d;
    const float *gs = g.at(b, h) + i * g.time, *ys = y.at(b, h) + i * y.time;
    float sum = 0;
    for (int d = lane; d < sizes.depth; d += 32) sum = __fmaf_rn(gs[d * g.step], ys[d * y.step], sum);
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, lanes);
    if (lane == 0) delta[e] = sum;
  }
}

// What a pass reads: its own tile, of keys (k and v) or of queries (q and g), and the others.
struct Side {
  Heads<const float> scores, weighted;  // k or q; v or g
};

template <int DP, int BM, bool Keys>
struct Backward {
  using Tile = AttentionTile<DP>;
  static constexpr int R = BM / 8;
  static constexpr int floats = 2 * BM * Tile::stride + Tile::floats + BM * 16;

  float *mineS, *mineW, *tile, *weights;  // shared memory
  int tx, ty;
  float ds[R][Tile::columns];             // dk or dq
  float dw[Keys ? R : 1][Tile::columns];  // dv
  float lse[Keys ? 1 : R], delta[Keys ? 1 : R];

  // The others j0..j0 + 16 C - 1, of which `left` exist. diagonal: number of the own tile's first row less j0.
  template <int C, bool Masked>
  __device__ __forceinline__ void step(const Side& others, const float* sFrom, const float* wFrom, const float* lses,
                                       const float* deltas, int left, int diagonal, bool causal, int depth, float scale,
                                       float scale2) {
    float s[R][C], t[R][C];
    dots<DP>(s, mineS, tile, others.scores, sFrom, left, depth, tx, ty);
    dots<DP>(t, mineW, tile, others.weighted, wFrom, left, depth, tx, ty);
    const auto seen = [&](int i, int j) {
      const int row = diagonal + ty + 8 * i;
      return j < left && (!causal || (Keys ? j >= row : j <= row));
    };
#pragma unroll
    for (int c = 0; c < C; ++c) {
      const int j = tx + 16 * c;
      const float columnLse = Keys && (!Masked || j < left) ? lses[j] * kLog2e : 0.0f;
      const float columnDelta = Keys && (!Masked || j < left) ? deltas[j] : 0.0f;
#pragma unroll
      for (int i = 0; i < R; ++i) {
        float p = exp2f(s[i][c] * scale2 - (Keys ? columnLse : lse[Keys ? 0 : i]));
        if (Masked && !seen(i, j)) p = 0;
        s[i][c] = p;
        t[i][c] = p * (t[i][c] - (Keys ? columnDelta : delta[Keys ? 0 : i])) * scale;
        if (Masked && !seen(i, j)) t[i][c] = 0;
      }
    }
    // Where the tile of scores holds whole rows of the others it serves the sums as well.
    if constexpr (Keys)
      addRows<DP, Masked>(dw, s, weights, tile, others.weighted, wFrom, left, depth, DP <= 64, tx, ty, seen);
    addRows<DP, Masked>(ds, t, weights, tile, others.scores, sFrom, left, depth, false, tx, ty, seen);
  }
};

// Blocks on a multiprocessor for which nvcc saves registers, at least: three of them would spill on 10.0.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000 && __CUDA_ARCH__ < 1100
constexpr int kGradBlocks = 2;
#else
constexpr int kGradBlocks = 0;  // as it thinks best
#endif

// out: dk, dv where Keys, else dq twice.
template <int DP, int BM, bool Keys>
__global__ void __launch_bounds__(kAttentionThreads, kGradBlocks)
    attentionGradKernel(Heads<float> ds, Heads<float> dw, Side mine, Side others, const float* lse, const float* delta,
                        AttentionSizes sizes, Divisor64 tiles, std::int64_t jobs, float scale, float scale2) {
  using F = Backward<DP, BM, Keys>;
  using Tile = AttentionTile<DP>;
  GYRUS_DYNAMIC_SHARED(float, shared);
  F f;
  f.mineS = shared;
  f.mineW = f.mineS + BM * Tile::stride;
  f.tile = f.mineW + BM * Tile::stride;
  f.weights = f.tile + Tile::floats;
  f.tx = static_cast<int>(threadIdx.x) % 16;
  f.ty = static_cast<int>(threadIdx.x) / 16;
  const std::int64_t count = Keys ? sizes.keys : sizes.queries, others_ = Keys ? sizes.queries : sizes.keys;
#pragma unroll 1
  for (std::int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    // The tiles that see most first: causal ones, the first keys or the last queries.
    const std::int64_t pair = tiles.over(job), turn = job - pair * tiles.d;
    const std::int64_t first = (Keys ? turn : tiles.d - 1 - turn) * BM;
    const std::int64_t b = sizes.heads.over(pair), h = pair - b * sizes.heads.d;
    const std::int64_t rows = count - first < BM ? count - first : BM;
    const float *lses = lse + pair * sizes.queries, *deltas = delta + pair * sizes.queries;
    __syncthreads();  // the job before has used its tiles
    loadTile<BM, DP>(f.mineS, mine.scores.at(b, h) + first * mine.scores.time, mine.scores.time, mine.scores.step,
                     mine.scores.fours, rows, sizes.depth);
    loadTile<BM, DP>(f.mineW, mine.weighted.at(b, h) + first * mine.weighted.time, mine.weighted.time,
                     mine.weighted.step, mine.weighted.fours, rows, sizes.depth);
#pragma unroll
    for (int i = 0; i < F::R; ++i) {
      const std::int64_t row = f.ty + 8 * i;
      if constexpr (!Keys) {
        f.lse[i] = row < rows ? lses[first + row] * kLog2e : 0.0f;
        f.delta[i] = row < rows ? deltas[first + row] : 0.0f;
      }
#pragma unroll
      for (int n = 0; n < Tile::columns; ++n) {
        f.ds[i][n] = 0;
        if constexpr (Keys) f.dw[i][n] = 0;
      }
    }
    const std::int64_t begin = Keys && sizes.causal ? first : 0;
    const std::int64_t end = !Keys && sizes.causal && first + rows < others_ ? first + rows : others_;
#pragma unroll 1
    for (std::int64_t j = begin; j < end;) {
      const int left = static_cast<int>(end - j < 64 ? end - j : 64);
      const std::int64_t ahead = first - j;
      const int diagonal = static_cast<int>(ahead > 1 << 20 ? 1 << 20 : ahead < -(1 << 20) ? -(1 << 20) : ahead);
      const bool all = left == 64 && (!sizes.causal || (Keys ? diagonal + BM - 1 <= 0 : diagonal >= 63));
      const float* sFrom = others.scores.at(b, h) + j * others.scores.time;
      const float* wFrom = others.weighted.at(b, h) + j * others.weighted.time;
      if (all) {
        f.template step<4, false>(others, sFrom, wFrom, lses + j, deltas + j, left, diagonal, sizes.causal, sizes.depth,
                                  scale, scale2);
        j += 64;
      } else if (left > 32) {
        f.template step<4, true>(others, sFrom, wFrom, lses + j, deltas + j, left, diagonal, sizes.causal, sizes.depth,
                                 scale, scale2);
        j += 64;
      } else {
        f.template step<1, true>(others, sFrom, wFrom, lses + j, deltas + j, left, diagonal, sizes.causal, sizes.depth,
                                 scale, scale2);
        j += 16;
      }
    }
#pragma unroll
    for (int i = 0; i < F::R; ++i) {
      const std::int64_t row = f.ty + 8 * i;
      if (row >= rows) continue;
      storeRow<DP>(ds.at(b, h) + (first + row) * ds.time, ds.step, ds.fours, sizes.depth, f.tx, f.ds[i], 1.0f);
      if constexpr (Keys)
        storeRow<DP>(dw.at(b, h) + (first + row) * dw.time, dw.step, dw.fours, sizes.depth, f.tx, f.dw[i], 1.0f);
    }
  }
}

struct Call {
  Heads<float> dq, dk, dv;
  Side queries, keys;
  const float *lse, *delta;
  AttentionSizes sizes;
  float scale, scale2;
};

template <int DP, int BM>
void run(const Call& c) {
  const std::int64_t heads = c.sizes.pairs();
  const std::int64_t keyTiles = (c.sizes.keys + BM - 1) / BM, queryTiles = (c.sizes.queries + BM - 1) / BM;
  if (keyTiles > 0)
    launchAttention("attentionGrad", heads * keyTiles, Backward<DP, BM, true>::floats,
                    attentionGradKernel<DP, BM, true>, c.dk, c.dv, c.keys, c.queries, c.lse, c.delta, c.sizes,
                    Divisor64(keyTiles), heads * keyTiles, c.scale, c.scale2);
  if (queryTiles > 0)
    launchAttention("attentionGrad", heads * queryTiles, Backward<DP, BM, false>::floats,
                    attentionGradKernel<DP, BM, false>, c.dq, c.dq, c.queries, c.keys, c.lse, c.delta, c.sizes,
                    Divisor64(queryTiles), heads * queryTiles, c.scale, c.scale2);
}

}  // namespace

// dq, dk, dv <- g, y, lse, q, k, v
void attentionGrad(const Args& args) {
  const auto& p = args.as<AttentionGradParams>();
  const View &q = args.in[3], &k = args.in[4];
  if (q.size() == 0 && k.size() == 0) return;
  if (q.dtype != DType::F32 || q.shape[3] > 256) return attentionGradRows(args);
  const AttentionSizes s(q, k, p.causal != 0);
  const std::int64_t count = s.pairs() * s.queries;
  float* delta = args.scratch->array<float>(count > 0 ? count : 1);
  const Heads<const float> g(args.in[0]);
  if (count > 0)
    GYRUS_LAUNCH(blocksFor(count, kAttentionThreads / 32), kAttentionThreads, 0, deltaKernel, delta, g,
                 Heads<const float>(args.in[1]), s, count);
  const Call call{Heads<float>(args.out[0]),
                  Heads<float>(args.out[1]),
                  Heads<float>(args.out[2]),
                  {Heads<const float>(q), g},
                  {Heads<const float>(k), Heads<const float>(args.in[5])},
                  args.in[2].as<float>(),
                  delta,
                  s,
                  static_cast<float>(p.scale),
                  static_cast<float>(p.scale * 1.44269504088896340736)};
  if (s.depth <= 32) return run<32, 32>(call);
  if (s.depth <= 64) return run<64, 32>(call);
  if (s.depth <= 128) return run<128, 32>(call);
  run<256, 16>(call);
}

}  // namespace gyrus::cuda
