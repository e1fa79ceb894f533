// Matrix products of f32 on tensor cores, with inputs rounded to TF32 or bfloat16: several tiles are on their way to
// shared memory while one is multiplied, and fragments of the next depths are read while those before are multiplied.
#pragma once
#include "cuda/gemm/feed.cuh"
#include "cuda/mma.cuh"

#ifdef __CUDACC__
#pragma nv_diag_suppress 177  // below sm_80 the kernel is empty, and what it would call is unused
#endif

namespace gyrus::cuda::gemm {

// WM x WN warps with MI x NI products of 16 x 8 each; Stages tiles of Words a line; Blocks share a multiprocessor.
template <int WM, int WN, int MI, int NI, int Words, int Stages, int Blocks>
struct Tile {
  static constexpr int wn = WN, mi = MI, ni = NI, words = Words, stages = Stages, blocks = Blocks;
  static constexpr int warpRows = 16 * MI, warpCols = 8 * NI;
  static constexpr int rows = WM * warpRows, cols = WN * warpCols, threads = WM * WN * 32;
  static constexpr int stageRows = 64;  // of sums, on their way out
  static constexpr int memory = Stages * (rows + cols) * Words, stage = stageRows * (cols + kStagePad);
  static constexpr int bytes = (memory > stage ? memory : stage) * 4;
  static_assert(bytes <= 99 * 1024, "what each GPU from compute capability 8.0 on has for a block");
};

// What is in memory, and what a product of fragments makes of it. Raw: as read, `parts` of 8 words' depth. Ready: as
// multiplied.
enum class Form { Tf32, Bf16, PackedBf16 };
template <Form, int MI, int NI>
struct Fragments;

template <int Parts, int MI, int NI>
struct RawFragments {
  static constexpr int parts = Parts;
  unsigned a[Parts][MI][4], b[Parts][NI][2];
};

template <int MI, int NI>
struct Fragments<Form::Tf32, MI, NI> {
  using Raw = RawFragments<1, MI, NI>;
  unsigned a[MI][4], b[NI][2];
  __device__ __forceinline__ void take(const Raw& raw) {
#pragma unroll
    for (int i = 0; i < MI; ++i)
#pragma unroll
      for (int r = 0; r < 4; ++r) a[i][r] = toTf32(__uint_as_float(raw.a[0][i][r]));
#pragma unroll
    for (int j = 0; j < NI; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) b[j][r] = toTf32(__uint_as_float(raw.b[0][j][r]));
  }
  __device__ __forceinline__ void multiply(float (&d)[4], int i, int j) const { multiplyTf32(d, a[i], b[j]); }
};
template <int MI, int NI>
struct Fragments<Form::PackedBf16, MI, NI> {
  using Raw = RawFragments<1, MI, NI>;
  Raw raw;
  __device__ __forceinline__ void take(const Raw& r) { raw = r; }
  __device__ __forceinline__ void multiply(float (&d)[4], int i, int j) const {
    multiplyBf16(d, raw.a[0][i], raw.b[0][j]);
  }
};
// Which of 16 depths is which is free as long as A and B agree: pairs are of depths t and t + 4, which a lane has.
template <int MI, int NI>
struct Fragments<Form::Bf16, MI, NI> {
  using Raw = RawFragments<2, MI, NI>;
  unsigned a[MI][4], b[NI][2];
  __device__ static __forceinline__ unsigned pair(unsigned low, unsigned high) {
    return toBf16(__uint_as_float(low), __uint_as_float(high));
  }
  __device__ __forceinline__ void take(const Raw& raw) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < MI; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          a[i][2 * part + half] = pair(raw.a[part][i][half], raw.a[part][i][2 + half]);
#pragma unroll
      for (int j = 0; j < NI; ++j) b[j][part] = pair(raw.b[part][j][0], raw.b[part][j][1]);
    }
  }
  __device__ __forceinline__ void multiply(float (&d)[4], int i, int j) const { multiplyBf16(d, a[i], b[j]); }
};

// Reads a warp's lines of a tile, 8 depths at a time: words(c, low, high) gets a lane's words at depths t and t + 4 of
// line c * 8 + g if the tile lies along K. Across, it is line c / 4 * 32 + 4g + c % 4: four neighbours are read at
// once, and which line is which is settled where the sums go out. Where a lane's words are goes along from tile to
// tile: as a number that is kept, and not worked out again for each tile for the sake of a register.
template <int Extent, int Words, bool Along, int Lines, bool OfA>
class Reader {
  using Layout = TileLayout<Extent, Words, Along>;
  static_assert(Lines % 32 == 0);

 public:
  // Lines from `first` on of the tile that begins at `tile`.
  __device__ __forceinline__ Reader(int tile, int first, int lane) {
    // Registers of a matrix product's a are to be of one read, and so those of b, in their order.
    const int line = OfA ? lane % 16 : lane / 16 * 8 + lane % 8, four = OfA ? lane / 16 : lane / 8 % 2;
    at_ = tile + (Along ? Layout::at(first + line, four * 4) : Layout::at(first + lane / 4 * 4, lane % 4));
  }
  __device__ __forceinline__ void advance(int by) { at_ += by; }
  template <class F>
  __device__ __forceinline__ void read(const float* memory, int depth, F words) const {
    if constexpr (Along) {
      const float* const from = memory + (at_ ^ depth);
#pragma unroll
      for (int c = 0; c < Lines / 8; c += 2) {
        unsigned x[4];
        loadMatrices(x, from + c * 8 * Words);
        words(c, x[0], x[OfA ? 2 : 1]);
        words(c + 1, x[OfA ? 1 : 2], x[3]);
      }
    } else {
      const float* const from = memory + at_ + depth * Extent;
#pragma unroll
      for (int c = 0; c < Lines / 8; c += 4) {
        const uint4 low = *reinterpret_cast<const uint4*>(from + c * 8);
        const uint4 high = *reinterpret_cast<const uint4*>(from + c * 8 + 4 * Extent);
        words(c, low.x, high.x);
        words(c + 1, low.y, high.y);
        words(c + 2, low.z, high.z);
        words(c + 3, low.w, high.w);
      }
    }
  }

 private:
  int at_;
};

// Row r of the stage where A lies across: a lane's four neighbours are 8 apart.
struct ByLanes {
  __device__ static int of(int row) { return (row & ~31) | (row & 3) << 3 | (row >> 2 & 7); }
};

template <Form F, class Tile, bool AlongA, bool AlongB>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks)
    tensorProduct(Product<float> p, Epilogue<float> epilogue) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  constexpr int words = Tile::words, stages = Tile::stages, threads = Tile::threads;
  constexpr int sizeA = Tile::rows * words, size = sizeA + Tile::cols * words;
  using Ready = Fragments<F, Tile::mi, Tile::ni>;
  using Raw = typename Ready::Raw;
  constexpr int depth = 8 * Raw::parts, rounds = words / depth;
  static_assert(rounds >= 2 && stages >= 3);
  GYRUS_DYNAMIC_SHARED(float, memory);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int warpRow = warp / Tile::wn * Tile::warpRows, warpCol = warp % Tile::wn * Tile::warpCols;

  if (blockNumber() >= p.blocks()) return;
  Extents active = extentsOf<true>(p);
  if (F == Form::PackedBf16) active.K = (activeOf(p.activeK, 2 * p.K) + 1) / 2;
  Place place = placeOf<words>(p, active.K);
  const std::int64_t row = std::int64_t{place.tileRow} * Tile::rows, col = std::int64_t{place.tileCol} * Tile::cols;
  if (row >= active.M || col >= active.N) place.steps = 0;
  std::int64_t offset[2];
  batchOffsets(p, offset);
  Feed<Tile::rows, words, threads, AlongA> a(p.a, p.a.data + offset[0], 0, row, active.M, place.k, active.K,
                                             place.steps);
  Feed<Tile::cols, words, threads, AlongB> b(p.b, p.b.data + offset[1], sizeA, col, active.N, place.k, active.K,
                                             place.steps);
  // Tiles go round through the memory of `stages`; `by` is the way from one to the next.
  const auto next = [](int& slot) {
    slot = slot + 1 < stages ? slot + 1 : 0;
    return slot == 0 ? size - stages * size : size;
  };
  int to = 0;
  const auto feed = [&](int step) {
    if (step < place.steps) {
      a.start(memory, step);
      b.start(memory, step);
    }
    commitCopies();
    const int by = next(to);
    a.advance(by);
    b.advance(by);
  };

  Reader<Tile::rows, words, AlongA, Tile::warpRows, true> rows(0, warpRow, lane);
  Reader<Tile::cols, words, AlongB, Tile::warpCols, false> cols(sizeA, warpCol, lane);
  Raw raw;
  const auto read = [&](int round) {
#pragma unroll
    for (int part = 0; part < Raw::parts; ++part) {
      rows.read(memory, round * depth + part * 8, [&](int c, unsigned low, unsigned high) {
        raw.a[part][c / 2][c % 2] = low;
        raw.a[part][c / 2][2 + c % 2] = high;
      });
      cols.read(memory, round * depth + part * 8, [&](int c, unsigned low, unsigned high) {
        raw.b[part][c][0] = low;
        raw.b[part][c][1] = high;
      });
    }
  };

  float sum[Tile::mi][Tile::ni][4] = {};
#pragma unroll
  for (int step = 0; step < stages - 1; ++step) feed(step);
  waitCopies<stages - 2>();
  __syncthreads();
  read(0);
  int from = 0;
#pragma unroll 1
  for (int step = 0; step < place.steps; ++step) {
#pragma unroll
    for (int round = 0; round < rounds; ++round) {
      Ready ready;
      ready.take(raw);
      if (round == rounds - 1) {
        waitCopies<stages - 2>();
        __syncthreads();  // the next tile is there, and nobody reads this one any more
        const int by = next(from);
        rows.advance(by);
        cols.advance(by);
      }
      read((round + 1) % rounds);
      if (round == 0) feed(step + stages - 1);
#pragma unroll
      for (int i = 0; i < Tile::mi; ++i)
#pragma unroll
        for (int j = 0; j < Tile::ni; ++j) ready.multiply(sum[i][j], i, j);
    }
  }
  waitCopies<0>();
  __syncthreads();

  // Out by way of shared memory, some rows at a time.
  float* const out = outputOf(p);
  constexpr int pitch = Tile::cols + kStagePad;
  const int g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int part = 0; part < Tile::rows / Tile::stageRows; ++part) {
    const int first = warpRow - part * Tile::stageRows;
    if (first >= 0 && first < Tile::stageRows) {
#pragma unroll
      for (int i = 0; i < Tile::mi; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float* const line = memory + (first + i * 16 + half * 8 + g) * pitch + warpCol;
          if constexpr (AlongB) {
#pragma unroll
            for (int j = 0; j < Tile::ni; ++j)
              *reinterpret_cast<float2*>(line + j * 8 + 2 * t) =
                  make_float2(sum[i][j][2 * half], sum[i][j][2 * half + 1]);
          } else {
#pragma unroll
            for (int j = 0; j < Tile::ni; j += 4)
#pragma unroll
              for (int e = 2 * half; e < 2 * half + 2; ++e)
                *reinterpret_cast<float4*>(line + j * 8 + 8 * t + 4 * (e % 2)) =
                    make_float4(sum[i][j][e], sum[i][j + 1][e], sum[i][j + 2][e], sum[i][j + 3][e]);
          }
        }
    }
    __syncthreads();
    storeRows<float, Tile::stageRows, Tile::cols, threads, true, 1, std::conditional_t<AlongA, InOrder, ByLanes>>(
        p, active, epilogue, memory, out, row + part * Tile::stageRows, col);
    __syncthreads();
  }
#endif
}

template <Form F, class Tile, bool AlongA, bool AlongB>
void launchOne(const Product<float>& p, const Epilogue<float>& epilogue) {
  const auto kernel = tensorProduct<F, Tile, AlongA, AlongB>;
  if (Tile::bytes > 48 * 1024)
    checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::bytes), "matmul");
  GYRUS_LAUNCH(gridOf(p.blocks()), Tile::threads, Tile::bytes, (tensorProduct<F, Tile, AlongA, AlongB>), p, epilogue);
}
template <Form F, class Tile>
void launch(Product<float> p, const Epilogue<float>& epilogue) {
  p.cut(Tile::rows, Tile::cols);
  if constexpr (F == Form::PackedBf16)
    launchOne<F, Tile, true, true>(p, epilogue);
  else if (p.a.along)
    p.b.along ? launchOne<F, Tile, true, true>(p, epilogue) : launchOne<F, Tile, true, false>(p, epilogue);
  else
    p.b.along ? launchOne<F, Tile, false, true>(p, epilogue) : launchOne<F, Tile, false, false>(p, epilogue);
}

}  // namespace gyrus::cuda::gemm
