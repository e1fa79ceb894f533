// Matrix products of f32 on tensor cores, with inputs rounded to TF32 or bfloat16 on their way from shared memory into
// registers. Two tiles are on their way while one is multiplied.
#include "cuda/gemm/product.cuh"
#include "cuda/mma.cuh"

#ifdef __CUDACC__
#pragma nv_diag_suppress 177  // below sm_80 the kernel is empty, and what it would call is unused
#endif

namespace gyrus::cuda::gemm {
namespace {

constexpr int kStages = 3;

// WM x WN warps with MI x NI products of 16 x 8 each.
template <int WM, int WN, int MI, int NI>
struct Tile {
  static constexpr int wn = WN, mi = MI, ni = NI, warpRows = 16 * MI, warpCols = 8 * NI;
  static constexpr int rows = WM * warpRows, cols = WN * warpCols, threads = WM * WN * 32;
};
using Large = Tile<2, 2, 4, 8>;   // 128 x 128: 64 x 64 sums a warp for the fewest reads of shared memory
using Medium = Tile<2, 2, 2, 4>;  // 64 x 64

// Place of number (line, depth). A lane reads depths 4t to 4t + 3 of line g. Along K, that is 16 bytes of two lines a
// quarter of a warp, one row of the banks. Across, it is four numbers at depths 4 apart from lane to lane: moving each
// group of four depths by 8 lines spreads them over the banks.
template <int Extent, bool Along>
struct SwizzledLayout {
  static constexpr int size = Extent * kDepth;
  __device__ static int at(int line, int depth) {
    return Along ? line * kDepth + depth : depth * Extent + (line ^ (depth / 4 * 8));
  }
};

// Which number of a lane's four goes where is free as long as A and B agree. TF32: two products of depth 8, from
// numbers 0, 1 and 2, 3. BF16: one of depth 16.
template <Precision>
struct Format;
template <>
struct Format<Precision::TF32> {
  using A = unsigned[2][4];
  using B = unsigned[2][2];
  __device__ static void roundA(A& a, const float (&top)[4], const float (&bottom)[4]) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      a[s][0] = toTf32(top[2 * s]);
      a[s][1] = toTf32(bottom[2 * s]);
      a[s][2] = toTf32(top[2 * s + 1]);
      a[s][3] = toTf32(bottom[2 * s + 1]);
    }
  }
  __device__ static void roundB(B& b, const float (&x)[4]) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      b[s][0] = toTf32(x[2 * s]);
      b[s][1] = toTf32(x[2 * s + 1]);
    }
  }
  __device__ static void multiply(float (&d)[4], const A& a, const B& b) {
    multiplyTf32(d, a[0], b[0]);
    multiplyTf32(d, a[1], b[1]);
  }
};
template <>
struct Format<Precision::BF16> {
  using A = unsigned[4];
  using B = unsigned[2];
  __device__ static void roundA(A& a, const float (&top)[4], const float (&bottom)[4]) {
    a[0] = toBf16(top[0], top[1]);
    a[1] = toBf16(bottom[0], bottom[1]);
    a[2] = toBf16(top[2], top[3]);
    a[3] = toBf16(bottom[2], bottom[3]);
  }
  __device__ static void roundB(B& b, const float (&x)[4]) {
    b[0] = toBf16(x[0], x[1]);
    b[1] = toBf16(x[2], x[3]);
  }
  __device__ static void multiply(float (&d)[4], const A& a, const B& b) { multiplyBf16(d, a, b); }
};

// Depths 4t to 4t + 3 of line `first` + c + g, `first` a multiple of 32 and c known to the compiler: written so that
// few addresses are to be kept.
template <bool Along, class Layout>
__device__ __forceinline__ void loadFour(float (&out)[4], const float* tile, int first, int c, int g, int t) {
  if constexpr (Along) {
    const float4 v = *reinterpret_cast<const float4*>(tile + Layout::at(first + g, 4 * t) + Layout::at(c, 0));
    out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
  } else {
    const float* from = tile + 4 * t * (Layout::size / kDepth) + first + g + ((c & 24) ^ (8 * t));
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = from[i * (Layout::size / kDepth) + (c & ~31)];
  }
}

template <class Tile, bool AlongA, bool AlongB>
struct alignas(16) Shared {
  using LayoutA = SwizzledLayout<Tile::rows, AlongA>;
  using LayoutB = SwizzledLayout<Tile::cols, AlongB>;
  struct Tiles {
    float a[kStages][LayoutA::size];
    float b[kStages][LayoutB::size];
  };
  union {
    Tiles tiles;
    float stage[64 * (Tile::cols + kStagePad)];
  };
};

template <Precision P, class Tile, bool AlongA, bool AlongB, bool Counted>
__global__ void __launch_bounds__(Tile::threads, 2) tensorProduct(Product<float> p, Epilogue<float> epilogue) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Memory = Shared<Tile, AlongA, AlongB>;
  using LayoutA = typename Memory::LayoutA;
  using LayoutB = typename Memory::LayoutB;
  constexpr int threads = Tile::threads;
  GYRUS_SHARED(Memory, memory);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, t = lane % 4;
  const int warpRow = warp / Tile::wn * Tile::warpRows, warpCol = warp % Tile::wn * Tile::warpCols;

  if (blockNumber() >= p.blocks()) return;
  const Extents active = extentsOf<Counted>(p);
  Place place = placeOf(p, active.K);
  if (Counted &&
      (std::int64_t{place.tileRow} * Tile::rows >= active.M || std::int64_t{place.tileCol} * Tile::cols >= active.N))
    place.steps = 0;
  std::int64_t offset[2];
  batchOffsets(p, offset);
  const float *const a = p.a.data + offset[0], *const b = p.b.data + offset[1];
  const auto copy = [&](int step) {
    if (step < place.steps) {
      const std::int64_t k = place.k + step * kDepth;
      auto& to = memory.tiles;
      copyTile<float, Tile::rows, threads, AlongA, LayoutA>(
          to.a[step % kStages], p.a, a, std::int64_t{place.tileRow} * Tile::rows, active.M, k, active.K);
      copyTile<float, Tile::cols, threads, AlongB, LayoutB>(
          to.b[step % kStages], p.b, b, std::int64_t{place.tileCol} * Tile::cols, active.N, k, active.K);
    }
    commitCopies();
  };

  float sum[Tile::mi][Tile::ni][4] = {};
  copy(0);
  copy(1);
#pragma unroll 1
  for (int step = 0; step < place.steps; ++step) {
    waitCopies<kStages - 2>();
    __syncthreads();  // the tile is there, and nobody reads the one before it any more
    copy(step + kStages - 1);
    const float *const tileA = memory.tiles.a[step % kStages], *const tileB = memory.tiles.b[step % kStages];
    typename Format<P>::B right[Tile::ni];
#pragma unroll
    for (int j = 0; j < Tile::ni; ++j) {
      float x[4];
      loadFour<AlongB, LayoutB>(x, tileB, warpCol, j * 8, g, t);
      Format<P>::roundB(right[j], x);
    }
#pragma unroll
    for (int i = 0; i < Tile::mi; ++i) {
      float top[4], bottom[4];
      loadFour<AlongA, LayoutA>(top, tileA, warpRow, i * 16, g, t);
      loadFour<AlongA, LayoutA>(bottom, tileA, warpRow, i * 16 + 8, g, t);
      typename Format<P>::A left;
      Format<P>::roundA(left, top, bottom);
#pragma unroll
      for (int j = 0; j < Tile::ni; ++j) Format<P>::multiply(sum[i][j], left, right[j]);
    }
  }
  waitCopies<0>();
  __syncthreads();

  // Out by way of shared memory, 64 rows at a time.
  float* const out = outputOf(p);
  const std::int64_t row = std::int64_t{place.tileRow} * Tile::rows, col = std::int64_t{place.tileCol} * Tile::cols;
#pragma unroll
  for (int part = 0; part < Tile::rows / 64; ++part) {
    const int to = warpRow - part * 64;
    if (to >= 0 && to < 64) {
#pragma unroll
      for (int i = 0; i < Tile::mi; ++i)
#pragma unroll
        for (int j = 0; j < Tile::ni; ++j)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            *reinterpret_cast<float2*>(memory.stage + (to + i * 16 + half * 8 + g) * (Tile::cols + kStagePad) +
                                       warpCol + j * 8 + 2 * t) =
                make_float2(sum[i][j][2 * half], sum[i][j][2 * half + 1]);
    }
    __syncthreads();
    storeRows<float, 64, Tile::cols, threads, Counted>(p, active, epilogue, memory.stage, out, row + part * 64, col);
    __syncthreads();
  }
#endif
}

template <Precision P, class Tile>
void launch(Product<float> p, const Epilogue<float>& epilogue) {
  p.cut(Tile::rows, Tile::cols);
  const auto go = [&]<bool AlongA, bool AlongB>() {
    if (p.counted())
      GYRUS_LAUNCH(gridOf(p.blocks()), Tile::threads, 0, (tensorProduct<P, Tile, AlongA, AlongB, true>), p, epilogue);
    else
      GYRUS_LAUNCH(gridOf(p.blocks()), Tile::threads, 0, (tensorProduct<P, Tile, AlongA, AlongB, false>), p, epilogue);
  };
  if (p.a.along)
    p.b.along ? go.template operator()<true, true>() : go.template operator()<true, false>();
  else
    p.b.along ? go.template operator()<false, true>() : go.template operator()<false, false>();
}

}  // namespace

void launchTensorCores(Precision precision, TileSize size, const Product<float>& p, const Epilogue<float>& epilogue) {
  const bool large = size == TileSize::Large;
  if (precision == Precision::TF32)
    large ? launch<Precision::TF32, Large>(p, epilogue) : launch<Precision::TF32, Medium>(p, epilogue);
  else
    large ? launch<Precision::BF16, Large>(p, epilogue) : launch<Precision::BF16, Medium>(p, epilogue);
}

}  // namespace gyrus::cuda::gemm
