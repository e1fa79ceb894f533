// One launch for many tensors: a table of them goes along as the kernel's argument, so that a captured graph holds it,
// and every block takes a piece of one of them. What has too many axes or elements for the table goes alone.
#pragma once
#include "cuda/rows.cuh"
#include "cuda/strided.cuh"

namespace gyrus::cuda {

constexpr int kTensorBlock = 256;

// K operands of one shape, in packs of `width` elements, and what else belongs to them.
template <int K, class Divisor, int R, class Extra>
struct TensorItem {
  void* data[K];
  Mapper<K, Divisor, R> mapper;  // of pack i, in packs
  typename Divisor::Index packs;
  unsigned firstBlock;
  int width;
  Extra extra;
};

// Pieces are of kPiece packs for every thread of a block.
template <int K, class Divisor, int R, class Extra, int N, int kPiece_>
struct TensorTable {
  static constexpr int kPiece = kPiece_;
  using Index = typename Divisor::Index;
  int count;
  TensorItem<K, Divisor, R, Extra> item[N];

  // f(item, i, offsets) for this thread's packs, whose numbers are i.
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    int low = 0, high = count;  // the item of this block: low <= it < high
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (item[middle].firstBlock <= blockIdx.x)
        low = middle;
      else
        high = middle;
    }
    const auto& mine = item[low];
    const Index start = static_cast<Index>(blockIdx.x - mine.firstBlock) * (kPiece * kTensorBlock);
#pragma unroll 1
    for (int j = 0; j < kPiece; ++j) {
      const Index i = start + static_cast<Index>(j * kTensorBlock) + threadIdx.x;
      if (i >= mine.packs) break;
      Index at[K];
      mine.mapper.offsets(i, at);
      f(mine, at);
    }
  }
};

// Collects tensors and launches when a table is full. launch(table, number of the first block of all, blocks).
template <int K, class Extra, int N, int kPiece>
class Tensors {
 public:
  // The first `data` operands have `width` elements to a pack, the others lie beside them one by one.
  template <class Launch>
  void add(const View* const (&v)[K], const Nest<K>& nest, int width, const Extra& extra, Launch launch) {
    if (nest.count == 0) return;
    if (nest.small() && nest.rank <= kRank) {
      if (table_.count == N) flush(launch);
      fill(table_.item[table_.count++], v, nest, width, extra);
      return;
    }
    flush(launch);
    TensorTable<K, Divisor64, kMaxRank, Extra, 1, kPiece> alone{};
    alone.count = 1;
    fill(alone.item[0], v, nest, width, extra);
    send(alone, launch);
  }
  template <class Launch>
  void flush(Launch launch) {
    if (table_.count > 0) send(table_, launch);
    table_.count = 0;
  }

 private:
  static constexpr int kRank = 3;

  template <class Divisor, int R>
  void fill(TensorItem<K, Divisor, R, Extra>& item, const View* const (&v)[K], const Nest<K>& nest, int width,
            const Extra& extra) {
    for (int k = 0; k < K; ++k) item.data[k] = v[k]->data;
    item.mapper = nest.template mapper<Divisor, R>();
    item.packs = static_cast<typename Divisor::Index>(nest.count);
    item.firstBlock = blocks_;
    item.width = width;
    item.extra = extra;
    constexpr std::int64_t piece = kPiece * kTensorBlock;
    blocks_ += static_cast<unsigned>((nest.count + piece - 1) / piece);
  }
  template <class Table, class Launch>
  void send(const Table& table, Launch launch) {
    launch(table, done_, blocks_);
    done_ += blocks_;
    blocks_ = 0;
  }

  TensorTable<K, Divisor32, kRank, Extra, N, kPiece> table_{};
  unsigned blocks_ = 0;
  std::int64_t done_ = 0;
};

// Makes the nest one of packs of four floats, if the first `data` operands allow it; 4, or 1 if they don't. The other
// operands lie beside the packs' first elements.
template <int K>
int packFours(const View* const (&v)[K], Nest<K>& nest, int data) {
  const int last = nest.rank - 1;
  if (v[0]->dtype != DType::F32 || nest.count == 0 || last < 0 || nest.shape[last] % 4 != 0) return 1;
  for (int k = 0; k < data; ++k) {
    if (nest.stride[k][last] != 1 || !aligned(v[k]->data, 16)) return 1;
    for (int d = 0; d < last; ++d)
      if (nest.stride[k][d] % 4 != 0) return 1;
  }
  nest.shape[last] /= 4;
  nest.count /= 4;
  for (int k = 0; k < K; ++k) {
    if (k >= data)
      nest.stride[k][last] *= 4;
    else
      for (int d = 0; d < last; ++d) nest.stride[k][d] /= 4;
  }
  return 4;
}

}  // namespace gyrus::cuda
