// Brings tiles of an operand into shared memory for kernels that multiply on tensor cores, by copies that run beside
// the arithmetic. A tile lies as its operand does, in rows of words (a float, or a pair of bfloat16) of which groups of
// four are moved so that neither copies nor fragments meet in a bank.
#pragma once
#include "cuda/gemm/product.cuh"

namespace gyrus::cuda::gemm {

// Place of word (line, depth) of a tile of Extent lines, Words of each.
//   Along: a line's words are a row. Eight neighbouring rows, whose same group of four a matrix is made of (mma.cuh),
//   have it in eight different places of the 128 bytes that the banks hold.
//   Across: a depth's are. A fragment is words 4g to 4g + 3 at depths t: those of the four depths are 8 banks apart.
template <int Extent, int Words, bool Along>
struct TileLayout {
  static constexpr int size = Extent * Words;
  static_assert(Words == 16 || Words == 32);
  __device__ static constexpr int at(int line, int depth) {
    return Along ? line * Words + ((depth / 4 ^ line / (32 / Words) % (Words / 4)) * 4 | depth % 4)
                 : depth * Extent + (line ^ depth % 4 * 8);
  }
};

template <int Extent, int Words, int Threads, bool Along>
class Feed {
  using Layout = TileLayout<Extent, Words, Along>;
  // A thread's groups of four are at one place of rows `apart` from each other.
  static constexpr int count = Layout::size / 4 / Threads, inner = (Along ? Words : Extent) / 4;
  static constexpr int apart = Threads / inner;
  static_assert(Layout::size / 4 % Threads == 0 && Threads % inner == 0);
  static_assert(apart % 8 == 0 || (!Along && apart % 4 == 0), "they are moved alike");

 public:
  // Lines from `line` on, of `lineEnd`; `steps` tiles from depth k on, of `depthEnd`. The first tile begins at `tile`.
  __device__ __forceinline__ Feed(const Operand<float>& o, const float* data, int tile, std::int64_t line,
                                  std::int64_t lineEnd, std::int64_t k, std::int64_t depthEnd, int steps)
      : o_(o), data_(data), line_(line), k_(k), steps_(steps) {
    lines_ = lineEnd - line < Extent ? static_cast<int>(lineEnd - line) : Extent;
    const std::int64_t last = depthEnd - k - std::int64_t{steps - 1} * Words;
    tail_ = last < Words ? static_cast<int>(last) : Words;
    const unsigned me = threadIdx.x;
    const int first = static_cast<int>(me % inner * 4), row = static_cast<int>(me / inner);
    to_ = tile + (Along ? Layout::at(row, first) : Layout::at(first, row));
    next_ = data + (line + (Along ? row : first)) * o.lineStride + (k + (Along ? first : row)) * o.depthStride;
    whole_ = o.fours && lines_ == Extent && !o.lines && !o.depths;
  }

  __device__ __forceinline__ void advance(int by) { to_ += by; }
  // Starts the copies of the next tile, which is number `step` and is there. Zeros outside of the operand.
  __device__ __forceinline__ void start(float* memory, int step) {
    const int depths = step + 1 < steps_ ? Words : tail_;
    if (whole_ && depths == Words) {
      const std::int64_t stride = apart * (Along ? o_.lineStride : o_.depthStride);
      const float* from = next_;
#pragma unroll
      for (int i = 0; i < count; ++i, from += stride)
        copyAsync<16>(memory + to_ + i * apart * (Along ? Words : Extent), from, 16);
    } else if (o_.fours) {
      copyFours(memory, depths, k_ + std::int64_t{step} * Words);
    } else {
      copyWords(memory, depths, k_ + std::int64_t{step} * Words);
    }
    next_ += Along ? Words : Words * o_.depthStride;
  }

 private:
  __device__ __forceinline__ void copyFours(float* memory, int depths, std::int64_t k) const {
    const int me = static_cast<int>(threadIdx.x), first = me % inner * 4;
    const int rest = (Along ? depths : lines_) - first, bytes = rest >= 4 ? 16 : rest > 0 ? rest * 4 : 0;
#pragma unroll 1
    for (int i = 0, row = me / inner; i < count; ++i, row += apart) {
      const bool inside = bytes > 0 && row < (Along ? lines_ : depths);
      const float* from = data_;
      if (inside) {
        const std::int64_t at = (Along ? line_ : k) + row;
        const int* const list = Along ? o_.lines : o_.depths;
        from += (list ? list[at] : at) * (Along ? o_.lineStride : o_.depthStride) + (Along ? k : line_) + first;
      }
      copyAsync<16>(memory + to_ + i * apart * (Along ? Words : Extent), from, inside ? bytes : 0);
    }
  }
  __device__ __forceinline__ void copyWords(float* memory, int depths, std::int64_t k) const {
    const int me = static_cast<int>(threadIdx.x);
    constexpr int across = Along ? Words : Extent;
    const int first = me % inner * 4, row = me / inner;
    float* const tile = memory + to_ - (Along ? Layout::at(row, first) : Layout::at(first, row));
#pragma unroll 2
    for (int i = 0; i < Layout::size / Threads; ++i) {
      const int c = me + i * Threads, l = Along ? c / across : c % across, d = Along ? c % across : c / across;
      const bool inside = l < lines_ && d < depths;
      const float* from = data_;
      if (inside)
        from += (o_.lines ? o_.lines[line_ + l] : line_ + l) * o_.lineStride +
                (o_.depths ? o_.depths[k + d] : k + d) * o_.depthStride;
      copyAsync<4>(tile + Layout::at(l, d), from, inside ? 4 : 0);
    }
  }

  const Operand<float>& o_;
  const float* data_;
  std::int64_t line_, k_;
  int steps_, tail_, lines_;
  int to_;  // the thread's first group in the next tile
  bool whole_;
  const float* next_;  // what it copies there of the next one, where nothing is beyond an edge and there are no lists
};

}  // namespace gyrus::cuda::gemm
