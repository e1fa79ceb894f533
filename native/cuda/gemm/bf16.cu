// Matrix products in bfloat16. f32 in shared memory is twice the bytes, and those bound large products: their operands
// are rounded and packed before, once instead of by every tile that reads them. Smaller ones round with the fragments.
#include "cuda/gemm/tensor.cuh"

namespace gyrus::cuda::gemm {
namespace {

using Huge = Tile<4, 2, 4, 8, 16, 4, 1>;  // packed
using LargePacked = Tile<2, 2, 4, 8, 16, 4, 2>;
using Large = Tile<2, 4, 4, 4, 32, 3, 1>;
using Tall = Tile<2, 2, 4, 4, 32, 3, 2>;
using Medium = Tile<2, 2, 2, 4, 32, 3, 4>;

constexpr int kPacked = 64;  // lines and depths of a block's tile

struct Packing {
  Operand<float> from;
  std::int64_t lines;
  const int* active;  // how many lines, null for all
  unsigned* to;       // [lines][words]
};

// One operand's tiles of lines, then the other's. Read along the axis in which the operand lies, written along K.
__global__ void __launch_bounds__(256, 4)
    packPairs(Packing a, Packing b, std::int64_t K, std::int64_t words, const int* activeK) {
  using Numbers = float[kPacked][kPacked + 1];
  GYRUS_SHARED(Numbers, tile);
  const std::int64_t tilesA = (a.lines + kPacked - 1) / kPacked;
  const bool first = blockIdx.x < tilesA;
  const Packing of = first ? a : b;
  const Operand<float>& o = of.from;
  const std::int64_t line = (first ? blockIdx.x : blockIdx.x - tilesA) * kPacked;
  const std::int64_t lines = activeOf(of.active, of.lines), depths = activeOf(activeK, K);
  if (line >= lines) return;
  const int me = static_cast<int>(threadIdx.x);
  for (std::int64_t k = std::int64_t{blockIdx.y} * kPacked; k < depths; k += std::int64_t{gridDim.y} * kPacked) {
#pragma unroll 8
    for (int i = 0; i < kPacked * kPacked / 256; ++i) {
      const int inner = me % kPacked, outer = me / kPacked + i * (256 / kPacked);
      const int l = o.along ? outer : inner, d = o.along ? inner : outer;
      float x = 0;
      if (line + l < lines && k + d < depths)
        x = o.data[(o.lines ? o.lines[line + l] : line + l) * o.lineStride +
                   (o.depths ? o.depths[k + d] : k + d) * o.depthStride];
      tile[l][d] = x;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kPacked * kPacked / 8 / 256; ++i) {
      const int c = me + i * 256, l = c / (kPacked / 8), d = c % (kPacked / 8) * 8;
      if (line + l < of.lines && (k + d) / 2 < words)
        *reinterpret_cast<uint4*>(of.to + (line + l) * words + (k + d) / 2) =
            make_uint4(toBf16(tile[l][d], tile[l][d + 1]), toBf16(tile[l][d + 2], tile[l][d + 3]),
                       toBf16(tile[l][d + 4], tile[l][d + 5]), toBf16(tile[l][d + 6], tile[l][d + 7]));
    }
    __syncthreads();
  }
}

}  // namespace

Product<float> packBf16(const Args& args, const Product<float>& p) {
  Product<float> packed = p;
  const std::int64_t words = (p.K + 7) / 8 * 4;
  const Packing a{p.a, p.M, p.activeM, args.scratch->array<unsigned>(p.M * words)};
  const Packing b{p.b, p.N, p.activeN, args.scratch->array<unsigned>(p.N * words)};
  const auto tiles = [](std::int64_t n) { return (n + kPacked - 1) / kPacked; };
  const std::int64_t deep = tiles(p.K) < 65535 ? tiles(p.K) : 65535;
  if (p.K > 0)
    GYRUS_LAUNCH(dim3(static_cast<unsigned>(tiles(p.M) + tiles(p.N)), static_cast<unsigned>(deep)), 256, 0, packPairs,
                 a, b, p.K, words, p.activeK);
  packed.K = packed.kPerSplit = words;
  packed.a = {reinterpret_cast<const float*>(a.to), words, 1, nullptr, nullptr, true, true};
  packed.b = {reinterpret_cast<const float*>(b.to), words, 1, nullptr, nullptr, true, true};
  return packed;
}

void launchPackedBf16(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue) {
  if (size == TileSize::Huge)
    launch<Form::PackedBf16, Huge>(p, epilogue);
  else
    launch<Form::PackedBf16, LargePacked>(p, epilogue);
}

void launchBf16(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue) {
  switch (size) {
    case TileSize::Huge:
    case TileSize::Large:
      return launch<Form::Bf16, Large>(p, epilogue);
    case TileSize::Tall:
      return launch<Form::Bf16, Tall>(p, epilogue);
    default:
      return launch<Form::Bf16, Medium>(p, epilogue);
  }
}

}  // namespace gyrus::cuda::gemm
