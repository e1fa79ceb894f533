// Matrix products by FMAs, tiled through shared memory and registers, the next tile on its way while one is multiplied.
#include "cuda/gemm/product.cuh"

namespace gyrus::cuda::gemm {
namespace {

// GX x GY threads, 32 neighbouring ones 8 x 4, with R x R sums each; Blocks of them share a multiprocessor.
template <int GX, int GY, int R, int Blocks>
struct Tile {
  static constexpr int gx = GX, gy = GY, r = R, rows = GY * R, cols = GX * R, threads = GX * GY, blocks = Blocks;
};
using Large = Tile<16, 16, 8, 2>;   // 128 x 128: 64 sums a thread for 16 numbers read a step
using Medium = Tile<16, 16, 4, 2>;  // 64 x 64
using Small = Tile<8, 8, 4, 8>;     // 32 x 32, 64 threads: many blocks of small products
using Wide = Tile<8, 8, 4, 4>;      // the same, with the registers that double takes

template <class T, class Tile, bool AlongA, bool AlongB>
struct alignas(16) Shared {
  using LayoutA = PaddedLayout<T, Tile::rows, AlongA>;
  using LayoutB = PaddedLayout<T, Tile::cols, AlongB>;
  struct Tiles {
    T a[2][LayoutA::size];
    T b[2][LayoutB::size];
  };
  static constexpr int stageRows = 4 * Tile::gy;
  union {
    Tiles tiles;
    T stage[stageRows * (Tile::cols + kStagePad)];
  };
};

// Line number i of a thread's R, the thread being number t of G: neighbouring lines go to neighbouring threads where
// lines are read 16 bytes along K, groups of four lines where they are read across.
template <int G, bool Along>
__device__ __forceinline__ int lineOf(int t, int i) {
  return Along ? t + i * G : t * 4 + i / 4 * (4 * G) + i % 4;
}

// The thread's numbers of R lines at depths [d, d + W).
template <class T, int G, int R, int W, bool Along, class Layout>
__device__ __forceinline__ void loadFragment(T (&out)[R][W], const T* tile, int t, int d) {
  constexpr int V = kVector<T>;
  if constexpr (Along) {
    struct alignas(W * sizeof(T)) Numbers {
      T v[W];
    };
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const Numbers p = *reinterpret_cast<const Numbers*>(tile + Layout::at(lineOf<G, true>(t, i), d));
#pragma unroll
      for (int w = 0; w < W; ++w) out[i][w] = p.v[w];
    }
  } else {
#pragma unroll
    for (int w = 0; w < W; ++w)
#pragma unroll
      for (int i = 0; i < R; i += V) {
        const Pack<T> p = *reinterpret_cast<const Pack<T>*>(tile + Layout::at(lineOf<G, false>(t, i), d + w));
#pragma unroll
        for (int j = 0; j < V; ++j) out[i + j][w] = p.v[j];
      }
  }
}

template <class T, class Tile, bool AlongA, bool AlongB>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) fmaProduct(Product<T> p, Epilogue<T> epilogue) {
  using Memory = Shared<T, Tile, AlongA, AlongB>;
  using LayoutA = typename Memory::LayoutA;
  using LayoutB = typename Memory::LayoutB;
  constexpr int R = Tile::r, V = kVector<T>, threads = Tile::threads;
  GYRUS_SHARED(Memory, memory);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int tx = warp % (Tile::gx / 8) * 8 + lane % 8, ty = warp / (Tile::gx / 8) * 4 + lane / 8;

  if (blockNumber() >= p.blocks()) return;
  const Place place = placeOf(p);
  std::int64_t offset[2];
  batchOffsets(p, offset);
  const T *const a = p.a.data + offset[0], *const b = p.b.data + offset[1];
  const auto copy = [&](int step) {
    const std::int64_t k = place.k + step * kDepth;
    auto& to = memory.tiles;
    copyTile<T, Tile::rows, threads, AlongA, LayoutA>(to.a[step % 2], p.a, a, std::int64_t{place.tileRow} * Tile::rows,
                                                      p.M, k, p.K);
    copyTile<T, Tile::cols, threads, AlongB, LayoutB>(to.b[step % 2], p.b, b, std::int64_t{place.tileCol} * Tile::cols,
                                                      p.N, k, p.K);
  };

  T sum[R][R] = {};
  if (place.steps > 0) copy(0);
  commitCopies();
#pragma unroll 1
  for (int step = 0; step < place.steps; ++step) {
    waitCopies<0>();
    __syncthreads();  // the tile is there, and nobody reads the other one any more
    if (step + 1 < place.steps) copy(step + 1);
    commitCopies();
    const T *const tileA = memory.tiles.a[step % 2], *const tileB = memory.tiles.b[step % 2];
    // Few depths at a time where 64 sums leave few registers for what they are made of.
    constexpr int W = R < 8 || (AlongA && AlongB) ? V : AlongA || AlongB ? 2 : 1;
#pragma unroll(R < 8 ? kDepth / W : W < 2 ? 2 : 1)
    for (int d = 0; d < kDepth; d += W) {
      T x[R][W], y[R][W];
      loadFragment<T, Tile::gy, R, W, AlongA, LayoutA>(x, tileA, ty, d);
      loadFragment<T, Tile::gx, R, W, AlongB, LayoutB>(y, tileB, tx, d);
#pragma unroll
      for (int w = 0; w < W; ++w)
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
          for (int j = 0; j < R; ++j) sum[i][j] = fma(x[i][w], y[j][w], sum[i][j]);
    }
  }
  waitCopies<0>();
  __syncthreads();

  T* const out = outputOf(p);
  const std::int64_t row = std::int64_t{place.tileRow} * Tile::rows, col = std::int64_t{place.tileCol} * Tile::cols;
  // Sums go out by way of shared memory, 4 rows of each thread at a time: then C is written in whole lines, and the
  // epilogue is there once, not once per sum.
#pragma unroll
  for (int part = 0; part < R / 4; ++part) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j)
        memory.stage[lineOf<Tile::gy, AlongA>(ty, i) * (Tile::cols + kStagePad) + lineOf<Tile::gx, AlongB>(tx, j)] =
            sum[part * 4 + i][j];
    __syncthreads();
    storeRows<T, Memory::stageRows, Tile::cols, threads>(p, epilogue, memory.stage, out, row + part * Memory::stageRows,
                                                         col);
    __syncthreads();
  }
}

template <class T, class Tile>
void launch(Product<T> p, const Epilogue<T>& epilogue) {
  p.tilesM = (p.M + Tile::rows - 1) / Tile::rows;
  p.tilesN = (p.N + Tile::cols - 1) / Tile::cols;
  const auto go = [&]<bool AlongA, bool AlongB>() {
    GYRUS_LAUNCH(gridOf(p.blocks()), Tile::threads, 0, (fmaProduct<T, Tile, AlongA, AlongB>), p, epilogue);
  };
  if (p.a.along)
    p.b.along ? go.template operator()<true, true>() : go.template operator()<true, false>();
  else
    p.b.along ? go.template operator()<false, true>() : go.template operator()<false, false>();
}

}  // namespace

template <>
void launchFma<float>(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue) {
  switch (size) {
    case TileSize::Large:
      return launch<float, Large>(p, epilogue);
    case TileSize::Medium:
      return launch<float, Medium>(p, epilogue);
    case TileSize::Small:
      return launch<float, Small>(p, epilogue);
  }
}
// For checks of gradients: one size will do.
template <>
void launchFma<double>(TileSize, const Product<double>& p, const Epilogue<double>& epilogue) {
  launch<double, Wide>(p, epilogue);
}

}  // namespace gyrus::cuda::gemm
