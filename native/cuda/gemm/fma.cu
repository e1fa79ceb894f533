// Matrix products by FMAs, tiled through shared memory and registers, the next tile on its way while one is multiplied.
#include "cuda/gate_tile.cuh"
#include "cuda/gemm/loader.cuh"

namespace gyrus::cuda::gemm {
namespace {

// Slices of GX x GY threads, 32 neighbouring ones 8 x 4, with RY x RX sums each. Every slice takes a part of K, and the
// sums of the slices are added in their order: so that a small product has enough threads for the memory's latency.
// Blocks of them share a multiprocessor.
template <int GX, int GY, int RX, int RY, int Slices, int Blocks>
struct Tile {
  static constexpr int gx = GX, gy = GY, rx = RX, ry = RY, slices = Slices, blocks = Blocks;
  static constexpr int rows = GY * RY, cols = GX * RX, perSlice = GX * GY, threads = perSlice * Slices;
};
using Large = Tile<16, 16, 8, 8, 1, 2>;  // 128 x 128
using Medium = Tile<8, 8, 8, 8, 4, 2>;   // 64 x 64
using Small = Tile<8, 4, 4, 8, 8, 2>;    // 32 x 32
using Thin = Tile<8, 8, 4, 4, 1, 8>;     // 32 x 32
using Doubles = Tile<8, 8, 4, 4, 1, 4>;  // 32 x 32

template <class T, class Tile, bool AlongA, bool AlongB>
struct alignas(16) Shared {
  // Registers for a tile on its way are left where a slice is a block, and for one of the two.
  static constexpr bool staged = Tile::slices == 1 && Tile::rx == 8;
  using LoaderA = Loader<T, Tile::rows, Tile::perSlice, AlongA, staged>;
  using LoaderB = Loader<T, Tile::cols, Tile::perSlice, AlongB, staged && !AlongA>;
  struct Tiles {
    T a[2][LoaderA::size];
    T b[2][LoaderB::size];
  };
  static constexpr int stageRows = 4 * Tile::gy;
  using Stage = T[stageRows * (Tile::cols + kStagePad)];
  union {
    Tiles tiles[Tile::slices];
    Stage stage[Tile::slices];
  };
};

// Line number i of a thread's R, the thread being number t of G: groups of four go to neighbouring threads.
template <int G>
__device__ __forceinline__ constexpr int lineOf(int t, int i) {
  return t * 4 + i / 4 * (4 * G) + i % 4;
}

// The thread's numbers of R lines at a depth, from a tile of theirs.
template <class T, int G, int R>
__device__ __forceinline__ void loadFragment(T (&out)[R], const T* lines, int t) {
  constexpr int V = kVector<T>;
#pragma unroll
  for (int i = 0; i < R; i += V) {
    const Pack<T> p = *reinterpret_cast<const Pack<T>*>(lines + lineOf<G>(t, i));
#pragma unroll
    for (int j = 0; j < V; ++j) out[i + j] = p.v[j];
  }
}

// Scores of a tile: where a kernel has any, their room lies behind the tiles.
template <class T, class Memory, class Tile>
using Scores = TileScores<T, Tile::rows, Tile::cols, Tile::threads, Memory::stageRows, Tile::cols + kStagePad>;

// `scoresOf` makes the scores of the tile at some place.
template <class T, class Tile, bool AlongA, bool AlongB, bool Counted, class Scored>
__device__ __forceinline__ void multiplyTile(const Product<T>& p, const Epilogue<T>& epilogue, const Scored& scoresOf) {
  using Memory = Shared<T, Tile, AlongA, AlongB>;
  using LoaderA = typename Memory::LoaderA;
  using LoaderB = typename Memory::LoaderB;
  constexpr int RX = Tile::rx, RY = Tile::ry, V = kVector<T>;
  // Whether numbers of a depth are read before those of the depth before are multiplied. Slices hide each other's
  // reads.
  constexpr bool ahead = Memory::staged;
  GYRUS_DYNAMIC_SHARED(Memory, memory);
  const int slice = Tile::slices == 1 ? 0 : static_cast<int>(threadIdx.x) / Tile::perSlice;
  const int thread = static_cast<int>(threadIdx.x) - slice * Tile::perSlice, warp = thread / 32, lane = thread % 32;
  const int tx = warp % (Tile::gx / 8) * 8 + lane % 8, ty = warp / (Tile::gx / 8) * 4 + lane / 8;

  if (blockNumber() >= p.blocks()) return;
  const Extents active = extentsOf<Counted>(p);
  Place place = placeOf(p, active.K);
  if (Counted &&
      (std::int64_t{place.tileRow} * Tile::rows >= active.M || std::int64_t{place.tileCol} * Tile::cols >= active.N))
    place.steps = 0;
  std::int64_t offset[2];
  batchOffsets(p, offset);
  // The slice's part of K.
  const int each = (place.steps + Tile::slices - 1) / Tile::slices, first = slice * each;
  const int steps = place.steps - first < each ? place.steps - first : each;  // none, or fewer, for the last
  const std::int64_t k = place.k + std::int64_t{first} * kDepth;
  LoaderA a(p.a, p.a.data + offset[0], thread, std::int64_t{place.tileRow} * Tile::rows, active.M, k, active.K, steps);
  LoaderB b(p.b, p.b.data + offset[1], thread, std::int64_t{place.tileCol} * Tile::cols, active.N, k, active.K, steps);
  auto& tiles = memory->tiles[slice];
  auto scores = scoresOf(memory + 1, place, active.N);
  using Scores = decltype(scores);

  T sum[RY][RX] = {};
  if (steps > 0) {
    a.start(tiles.a[0], 0);
    b.start(tiles.b[0], 0);
    a.finish(tiles.a[0]);
    b.finish(tiles.b[0]);
  }
  commitCopies();
  if constexpr (Scores::on) scores.readLabels();
#pragma unroll 1
  for (int step = 0; step < each; ++step) {
    waitCopies<0>();
    __syncthreads();  // the tile is there, and nobody reads the other one any more
    const int other = (step + 1) % 2;
    const bool more = step + 1 < steps;
    if (more) {
      a.start(tiles.a[other], step + 1);
      b.start(tiles.b[other], step + 1);
    }
    commitCopies();
    if (step < steps) {
      const T *const tileA = tiles.a[step % 2], *const tileB = tiles.b[step % 2];
      T x[ahead ? 2 : 1][RY], y[ahead ? 2 : 1][RX];
      const auto load = [&](int d) {
        loadFragment<T, Tile::gy>(x[ahead ? d % 2 : 0], tileA + LoaderA::at(0, d), ty);
        loadFragment<T, Tile::gx>(y[ahead ? d % 2 : 0], tileB + LoaderB::at(0, d), tx);
      };
      if constexpr (ahead) load(0);
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        if (!ahead) load(d);
        if (ahead && d + 1 < kDepth) load(d + 1);
#pragma unroll
        for (int i = 0; i < RY; ++i)
#pragma unroll
          for (int j = 0; j < RX; ++j) sum[i][j] = fma(x[ahead ? d % 2 : 0][i], y[ahead ? d % 2 : 0][j], sum[i][j]);
      }
    }
    if (more) {
      a.finish(tiles.a[other]);
      b.finish(tiles.b[other]);
    }
  }
  waitCopies<0>();
  __syncthreads();
  if constexpr (Scores::on) scores.checkLabels();

  T* const out = outputOf(p);
  const std::int64_t row = std::int64_t{place.tileRow} * Tile::rows, col = std::int64_t{place.tileCol} * Tile::cols;
  // Sums go out by way of shared memory, 4 rows of each thread at a time: then C is written in whole lines, and the
  // epilogue is there once, not once per sum.
#pragma unroll
  for (int part = 0; part < RY / 4; ++part) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < RX; j += V) {
        Pack<T> sums;
#pragma unroll
        for (int n = 0; n < V; ++n) sums.v[n] = sum[part * 4 + i][j + n];
        *reinterpret_cast<Pack<T>*>(memory->stage[slice] + (ty * 4 + i) * (Tile::cols + kStagePad) +
                                    lineOf<Tile::gx>(tx, j)) = sums;
      }
    __syncthreads();
    storeRows<T, Memory::stageRows, Tile::cols, Tile::threads, Counted, Tile::slices, InOrder, Scores::on>(
        p, active, epilogue, memory->stage[0], out, row + part * Memory::stageRows, col);
    if constexpr (Scores::on) scores.takeRows(memory->stage[0], part);
    __syncthreads();
    if constexpr (Scores::on) {
      scores.addClasses(memory->stage[0], part, part + 1 == RY / 4);
      __syncthreads();
    }
  }
  if constexpr (Scores::on) {
    static_assert(Scores::totalBytes <= sizeof(Memory));
    scores.finish(memory->stage[0]);
  }
}

template <class T, class Tile, bool AlongA, bool AlongB, bool Counted>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) fmaProduct(Product<T> p, Epilogue<T> epilogue) {
  multiplyTile<T, Tile, AlongA, AlongB, Counted>(p, epilogue,
                                                 [](void*, const Place&, std::int64_t) { return NoScores{}; });
}
// A gradient of the input and the scores of its neurons: the left side along K, the right one across.
template <class T, class Tile, bool Counted>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks) fmaScored(Product<T> p, TileGate<T> gate) {
  using Memory = Shared<T, Tile, true, false>;
  multiplyTile<T, Tile, true, false, Counted>(
      p, Epilogue<T>{}, [&](void* room, const Place& place, std::int64_t active) {
        return Scores<T, Memory, Tile>(gate, room, place.tileRow, place.tileCol, active);
      });
}

template <class T, class Kernel, class Last>
void launchTiles(const char* name, Kernel* kernel, int threads, std::size_t bytes, const Product<T>& p,
                 const Last& last) {
  if (bytes > 48 * 1024)
    checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
  cuda::launch(name, gridOf(p.blocks()), dim3(threads), bytes, kernel, p, last);
}

// Doubles are for checks of gradients: those that count will do.
template <class T, class F>
void byCounted(const Product<T>& p, const F& run) {
  if constexpr (std::is_same_v<T, float>)
    if (!p.counted()) return run.template operator()<false>();
  run.template operator()<true>();
}

template <class T, class Tile>
void launch(Product<T> p, const Epilogue<T>& epilogue) {
  p.cut(Tile::rows, Tile::cols);
  const auto go = [&]<bool AlongA, bool AlongB>() {
    byCounted(p, [&]<bool Counted>() {
      launchTiles("fmaProduct", fmaProduct<T, Tile, AlongA, AlongB, Counted>, Tile::threads,
                  sizeof(Shared<T, Tile, AlongA, AlongB>), p, epilogue);
    });
  };
  if (p.a.along)
    p.b.along ? go.template operator()<true, true>() : go.template operator()<true, false>();
  else
    p.b.along ? go.template operator()<false, true>() : go.template operator()<false, false>();
}
template <class T, class Tile>
void launch(Product<T> p, const TileGate<T>& gate) {
  p.cut(Tile::rows, Tile::cols);
  using Memory = Shared<T, Tile, true, false>;
  byCounted(p, [&]<bool Counted>() {
    launchTiles("fmaScored", fmaScored<T, Tile, Counted>, Tile::threads,
                sizeof(Memory) + Scores<T, Memory, Tile>::roomFor(gate.labels.classes), p, gate);
  });
}

template <class Last>
void launchFloats(TileSize size, const Product<float>& p, const Last& last) {
  switch (size) {
    case TileSize::Huge:
    case TileSize::Large:
      return launch<float, Large>(p, last);
    case TileSize::Tall:
    case TileSize::Medium:
      return launch<float, Medium>(p, last);
    case TileSize::Small:
      return launch<float, Small>(p, last);
    case TileSize::Thin:
      return launch<float, Thin>(p, last);
  }
}

}  // namespace

template <>
void launchFma<float>(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue) {
  launchFloats(size, p, epilogue);
}
template <>
void launchFma<float>(TileSize size, const Product<float>& p, const TileGate<float>& gate) {
  launchFloats(size, p, gate);
}
// One size will do.
template <>
void launchFma<double>(TileSize, const Product<double>& p, const Epilogue<double>& epilogue) {
  launch<double, Doubles>(p, epilogue);
}
template <>
void launchFma<double>(TileSize, const Product<double>& p, const TileGate<double>& gate) {
  launch<double, Doubles>(p, gate);
}

}  // namespace gyrus::cuda::gemm
