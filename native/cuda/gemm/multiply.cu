// Chooses how a product is computed: how the operands are read, the size of the tiles, and whether K is split.
#include <algorithm>

#include "cuda/gate_tile.cuh"
#include "cuda/gemm/product.cuh"
#include "cuda/mma.cuh"

namespace gyrus::cuda::gemm {
namespace {

// Enough to fill a large GPU. A constant, for the sums of a split product are added in another order when the number of
// splits is another: results are the same on every GPU.
constexpr std::int64_t kEnoughBlocks = 128;
constexpr std::int64_t kLeastPerSplit = 256, kMostSplits = 32, kLeastSliced = 64;
// Splits end between tiles of any depth.
constexpr std::int64_t kSplitMultiple = 32;

std::int64_t ceilDiv(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Sets how the operand is read; `lines` of them, batches at multiples of `batchStrides`.
template <class T>
void orient(Operand<T>& o, std::int64_t lines, std::int64_t depths, const Mapper<2, Divisor64>& batches, int operand) {
  const auto multiple = [](std::int64_t stride, std::int64_t extent) {
    return extent <= 1 || stride % kVector<T> == 0;
  };
  bool even = aligned(o.data, 16);
  for (int d = 0; d < batches.rank; ++d) even = even && batches.stride[operand][d] % kVector<T> == 0;
  const bool alongFours = even && !o.depths && (o.depthStride == 1 || depths == 1) && multiple(o.lineStride, lines);
  const bool acrossFours = even && !o.lines && (o.lineStride == 1 || lines == 1) && multiple(o.depthStride, depths);
  o.fours = alongFours || acrossFours;
  // An operand of stride 0 is one number again and again: the other direction is the one to be read in runs.
  const bool depthNearer = o.lineStride == 0 || (o.depthStride != 0 && o.depthStride <= o.lineStride);
  o.along = alongFours && acrossFours ? depths >= lines : o.fours ? alongFours : depthNearer || lines == 1;
}

struct Plan {
  TileSize size;
  std::int64_t splits;
};

// A function of the shape, of whether tensor cores are used, and of whether a block has the shared memory of compute
// capability 8.0.
template <class T>
Plan planOf(const Product<T>& p, bool tensorCores, bool largeMemory) {
  const auto tiles = [&](std::int64_t rows, std::int64_t cols) {
    return p.batch * ceilDiv(p.M, rows) * ceilDiv(p.N, cols);
  };
  const auto blocks = [&](std::int64_t tile) { return tiles(tile, tile); };
  const auto splits = [&](std::int64_t tile) {
    const std::int64_t wanted = kEnoughBlocks / blocks(tile), most = p.K / kLeastPerSplit;
    return std::max<std::int64_t>(1, std::min({wanted, most, kMostSplits}));
  };
  if (tensorCores && p.M > 128 && p.N > 64 && tiles(256, 128) >= kEnoughBlocks) return {TileSize::Huge, 1};
  if (std::is_same_v<T, float> && p.M > 64 && p.N > 64 && blocks(128) >= kEnoughBlocks) return {TileSize::Large, 1};
  if (tensorCores && p.M > 64 && tiles(128, 64) >= kEnoughBlocks * 3 / 4) return {TileSize::Tall, 1};
  if (tensorCores) return {TileSize::Medium, splits(64)};
  if (std::is_same_v<T, float> && largeMemory && p.M > 32 && p.N > 32 &&
      blocks(64) * splits(64) >= kEnoughBlocks * 3 / 4)
    return {TileSize::Medium, splits(64)};
  // Slices of a block's K are for products of few blocks, and their tiles fill 64 KiB and more.
  if (!largeMemory || p.K < kLeastSliced || blocks(32) >= 4 * kEnoughBlocks) return {TileSize::Thin, splits(32)};
  return {TileSize::Small, splits(32)};
}

// Whether operands are packed before. To pack a number moves 6 bytes to and from memory; each tile that then reads it
// saves 2, which mostly come from L2, at about twice the rate.
bool worthPacking(const Product<float>& p, TileSize size) {
  if (p.batch > 1 || (size != TileSize::Huge && size != TileSize::Large)) return false;
  const std::int64_t readsA = ceilDiv(p.N, 128), readsB = ceilDiv(p.M, size == TileSize::Huge ? 256 : 128);
  return p.M * readsA + p.N * readsB >= 6 * (p.M + p.N);
}

// Adds up the parts of a product, in their order, and lets the sums through the epilogue. V: numbers of a row at a
// time.
template <class T, int V>
__global__ void __launch_bounds__(256) addParts(const T* parts, Product<T> p, Epilogue<T> epilogue) {
  using Numbers = cuda::Pack<T, V>;
  const std::int64_t rows = activeOf(p.activeM, p.M), cols = activeOf(p.activeN, p.N);
  const bool counted = p.activeM || p.activeN;
  const std::int64_t perRow = p.N / V, count = p.batch * p.M * perRow, total = p.batch * p.M * p.N;
  for (std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x; i < count; i += std::int64_t{gridDim.x} * 256) {
    const std::int64_t row = i / perRow, col = (i - row * perRow) * V, at = row * p.N + col;
    Numbers sum = *reinterpret_cast<const Numbers*>(parts + at), added = {};
    for (std::int64_t s = 1; s < p.splits; ++s) {
      const Numbers part = *reinterpret_cast<const Numbers*>(parts + s * total + at);
#pragma unroll
      for (int j = 0; j < V; ++j) sum.v[j] += part.v[j];
    }
    if (epilogue.residual) added = *reinterpret_cast<const Numbers*>(epilogue.residual + at);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      sum.v[j] = epilogue.apply(sum.v[j], epilogue.column(col + j), added.v[j]);
      if (counted && (row >= rows || col + j >= cols)) sum.v[j] = T(0);
    }
    T* const to = p.c.data + (p.c.rows ? p.c.rows[row] : row) * p.c.ld;
    if constexpr (V == 1)
      to[p.c.cols ? p.c.cols[col] : col] = sum.v[0];
    else
      *reinterpret_cast<Numbers*>(to + col) = sum;
  }
}

}  // namespace

template <class T>
bool multiply(const Args& args, Product<T> p, const Epilogue<T>& epilogue, const Gate* gate) {
  if (p.batch * p.M * p.N == 0) return false;
  orient(p.a, p.M, p.K, p.batches, 0);
  orient(p.b, p.N, p.K, p.batches, 1);
  p.c.batchStride = p.M * p.c.ld;
  p.c.fours = !p.c.cols && p.c.ld % kVector<T> == 0 && aligned(p.c.data, 16) &&
              (!epilogue.residual || (p.N % kVector<T> == 0 && aligned(epilogue.residual, 16)));
  const bool ampere = atLeastAmpere();
  const Precision precision = std::is_same_v<T, float> && ampere ? currentPrecision() : Precision::F32;
  const Plan plan = planOf(p, precision != Precision::F32, ampere);
  const auto launch = [&](const Product<T>& product, const Epilogue<T>& last) {
    if constexpr (std::is_same_v<T, float>) {
      if (precision == Precision::TF32) return launchTf32(plan.size, product, last);
      if (precision == Precision::BF16 && worthPacking(product, plan.size))
        return launchPackedBf16(plan.size, packBf16(args, product), last);
      if (precision == Precision::BF16) return launchBf16(plan.size, product, last);
    }
    launchFma(plan.size, product, last);
  };
  p.splits = plan.splits;
  p.kPerSplit = ceilDiv(ceilDiv(p.K, p.splits), kSplitMultiple) * kSplitMultiple;
  if (p.splits > 1) p.splits = ceilDiv(p.K, p.kPerSplit);
  if (p.splits == 1) {
    const std::int64_t rows = plan.size == TileSize::Large ? 128 : plan.size == TileSize::Medium ? 64 : 32;
    const bool scored = gate && precision == Precision::F32 && p.a.along && !p.b.along &&
                        gatePaysByTiles(gate->samples(), gate->classes(), rows);
    if (!scored) {
      launch(p, epilogue);
    } else {
      const TileGate<T> tiles = gateTiles<T>(args, *gate, rows);
      launchFma(plan.size, p, tiles);
      addGateTiles(*gate, rows, tiles);
    }
    return scored;
  }

  Product<T> parts = p;
  const std::int64_t item = p.M * p.N;
  parts.c = {args.scratch->array<T>(p.splits * p.batch * item),
             p.N,
             item,
             p.batch * item,
             nullptr,
             nullptr,
             p.N % kVector<T> == 0};
  launch(parts, Epilogue<T>{});
  const T* from = parts.c.data;
  if (p.c.fours && p.N % kVector<T> == 0)
    GYRUS_LAUNCH(blocksFor(p.batch * item, 256 * kVector<T>), 256, 0, (addParts<T, kVector<T>>), from, p, epilogue);
  else
    GYRUS_LAUNCH(blocksFor(p.batch * item, 256), 256, 0, (addParts<T, 1>), from, p, epilogue);
  return false;
}

template bool multiply<float>(const Args&, Product<float>, const Epilogue<float>&, const Gate*);
template bool multiply<double>(const Args&, Product<double>, const Epilogue<double>&, const Gate*);

}  // namespace gyrus::cuda::gemm
