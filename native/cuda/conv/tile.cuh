// The tile a block multiplies: BM x BN of the product, BK of the depth at a time through two buffers in shared memory,
// 4*RM x 4*RN of it per thread. G slices of threads share the depth: each holds sums of the whole tile over its own
// part of every step, so that small tiles have large pieces per thread and many threads; the slices' sums are added in
// the end, each slice a part of the tile. A thread's rows and columns lie in runs of four, BM/RM and BN/RN apart.
#pragma once
#include "cuda/async_copy.cuh"
#include "cuda/quad.cuh"

namespace gyrus::cuda {

// Whether quads are copied to shared memory beside the arithmetic rather than through registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kAsyncQuads = false;
#else
constexpr bool kAsyncQuads = true;
#endif

// A quad on its way from global to shared memory: started before the arithmetic, finished behind it. Unless it comes
// by itself, registers hold it meanwhile.
template <class T, bool Async>
struct StagedQuad {
  Quad<T> held;

  __device__ __forceinline__ void start(T*, const T* from, bool there) {
    held = zeroQuad<T>();
    if (there) held = loadQuad(from);
  }
  __device__ __forceinline__ void finish(T* to) const { storeQuad(to, held); }
};
template <class T>
struct StagedQuad<T, true> {
  __device__ __forceinline__ void start(T* to, const T* from, bool there) {
    constexpr int some = 16 / static_cast<int>(sizeof(T));
#pragma unroll
    for (int e = 0; e < 4; e += some) copyAsync<16>(to + e, from + e, there ? 16 : 0);
  }
  __device__ __forceinline__ void finish(T*) const {}
};

// Blocks of some shared memory on a multiprocessor where `wanted` are. Only 7.5 has less than all tiles want.
__host__ __device__ constexpr int blocksTogether(int wanted, std::size_t shared) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  const int room = static_cast<int>(64 * 1024 / shared);
  return room < wanted ? room : wanted;
#else
  return shared > 0 ? wanted : 0;
#endif
}

// B: blocks together on a multiprocessor, which bounds the registers of a thread.
template <class Number, int BM, int BN, int BK, int RM, int RN, int G, int B>
struct Tile {
  using T = Number;
  static constexpr int kRows = BM, kCols = BN, kDepth = BK, kRowRuns = RM, kColRuns = RN, kSlices = G, kBlocks = B;
  static constexpr int kAcross = BN / (4 * RN), kDown = BM / (4 * RM), kSlice = kAcross * kDown, kThreads = kSlice * G;
  static constexpr int kLane = kAcross % 8 == 0 ? 8 : kAcross, kDeep = BK / G;
  // A slice ends with kPart of a thread's quads, numbered column run by column run.
  static constexpr int kQuads = 4 * RM * RN, kPart = kQuads / G;
  static_assert(kAcross * 4 * RN == BN && kDown * 4 * RM == BM && kDeep * G == BK && kPart * G == kQuads);
  static_assert(kAcross % 4 == 0 && kDown % 4 == 0 && kThreads % 32 == 0);

  // Whether what depth k + 1 multiplies is read before the products of k. For these architectures nvcc finds no
  // registers for it in tiles of 128 x 64; there the other warps hide the reads.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ < 800 || __CUDA_ARCH__ >= 1000)
  static constexpr bool kReadsAhead = BM != 128 || BN != 64;
#else
  static constexpr bool kReadsAhead = true;
#endif

  // Rows are padded by four, which keeps them on 16 bytes.
  struct alignas(16) Buffers {
    T a[2][BK][BM + 4];
    T b[2][BK][BN + 4];
  };
  // Where row m of depth k lies in a[..][k]: so that a warp that stores quads of the depth of neighbouring rows, a
  // transposition, meets every bank once. Keeps quads of rows together.
  static constexpr int kTurns = BK == 16 ? 2 : BK == 32 ? 4 : 1;
  static_assert(kTurns == 1 || (kDeep % 8 == 0 && BM / RM % 16 == 0));
  __device__ static int turn(int eighth) { return eighth % kTurns * (16 / kTurns); }
  __device__ static int swizzled(int k, int m) { return m ^ turn(k / 8); }

  struct Place {
    int slice, row, col;  // of the thread's first run
  };
  // Lanes side by side share a column, those two apart a row: so the hardware serves a warp's quads in two passes
  // rather than four.
  __device__ static Place place() {
    const int t = static_cast<int>(threadIdx.x) % kSlice;
    constexpr int bands = kAcross / kLane;
    const int col = t / 2 % kLane + t / (4 * kLane) % bands * kLane;
    const int row = t % 2 + t / (2 * kLane) % 2 * 2 + t / (4 * kLane * bands) * 4;
    return {static_cast<int>(threadIdx.x) / kSlice, row * 4, col * 4};
  }
  __device__ static int row(const Place& at, int i) { return at.row + i / 4 * (BM / RM) + i % 4; }
  __device__ static int col(const Place& at, int j) { return at.col + j * (BN / RN); }

  // A thread's quads after the slices are added: of[q] is quad first + q, in row run (first + q) % (4*RM) and column
  // run (first + q) / (4*RM).
  struct Part {
    Quad<T> of[kPart];
    int first;
  };

  struct Sums {
    Quad<T> of[4 * RM][RN];

    __device__ void clear() {
#pragma unroll
      for (int i = 0; i < 4 * RM; ++i)
#pragma unroll
        for (int j = 0; j < RN; ++j) of[i][j] = zeroQuad<T>();
    }
    // The slice's part of a step.
    __device__ __forceinline__ void add(const T (&a)[BK][BM + 4], const T (&b)[BK][BN + 4], const Place& at) {
      const int first = G == 1 ? 0 : at.slice * kDeep;
      constexpr int buffers = kReadsAhead ? 2 : 1;
      Quad<T> left[buffers][RM], right[buffers][RN];
      const auto read = [&](int k) {
        const int turned = kTurns == 1 ? 0 : turn((G == 1 ? 0 : at.slice * (kDeep / 8)) + k / 8);
#pragma unroll
        for (int i = 0; i < RM; ++i) left[k % buffers][i] = loadQuad(&a[first + k][(at.row ^ turned) + i * (BM / RM)]);
#pragma unroll
        for (int j = 0; j < RN; ++j) right[k % buffers][j] = loadQuad(&b[first + k][col(at, j)]);
      };
      if (kReadsAhead) read(0);
#pragma unroll
      for (int k = 0; k < kDeep; ++k) {
        if (k + kReadsAhead < kDeep) read(k + kReadsAhead);
#pragma unroll
        for (int i = 0; i < 4 * RM; ++i)
#pragma unroll
          for (int j = 0; j < RN; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e)
              of[i][j].v[e] = multiplyAdd(left[k % buffers][i / 4].v[i % 4], right[k % buffers][j].v[e], of[i][j].v[e]);
      }
    }
    // Adds the sums of the slices: the thread's own, then the others' in their order. All threads of the block; the
    // buffers are overwritten.
    __device__ __forceinline__ Part collected(Buffers& buffers, const Place& at) const {
      Part part;
      part.first = at.slice * kPart;
      if constexpr (G == 1) {
#pragma unroll
        for (int q = 0; q < kPart; ++q) part.of[q] = of[q % (4 * RM)][q / (4 * RM)];
      } else {
        static_assert(sizeof(Buffers) >= sizeof(Quad<T>) * (G - 1) * kPart * kSlice);
        auto* const room = reinterpret_cast<Quad<T>*>(&buffers) + threadIdx.x % kSlice;
#pragma unroll
        for (int s = 0; s < G; ++s) {
          __syncthreads();
          if (at.slice != s) {
            const int other = at.slice < s ? at.slice : at.slice - 1;
#pragma unroll
            for (int q = 0; q < kPart; ++q)
              room[(other * kPart + q) * kSlice] = of[(s * kPart + q) % (4 * RM)][(s * kPart + q) / (4 * RM)];
          }
          __syncthreads();
          if (at.slice == s) {
#pragma unroll
            for (int q = 0; q < kPart; ++q) {
              part.of[q] = of[(s * kPart + q) % (4 * RM)][(s * kPart + q) / (4 * RM)];
              // One at a time: the sums of the tile still take most registers.
#pragma unroll 1
              for (int other = 0; other < G - 1; ++other)
#pragma unroll
                for (int e = 0; e < 4; ++e) part.of[q].v[e] += room[(other * kPart + q) * kSlice].v[e];
            }
          }
        }
      }
      return part;
    }
  };
};

}  // namespace gyrus::cuda
