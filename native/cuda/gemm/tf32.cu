// Matrix products in TF32: f32 is copied as it is, and rounded with the fragments.
#include "cuda/gemm/tensor.cuh"

namespace gyrus::cuda::gemm {
namespace {

// 64 x 64 sums a warp for the fewest reads of shared memory; smaller ones for products that would leave
// multiprocessors without work.
using Huge = Tile<4, 2, 4, 8, 16, 4, 1>;
using Large = Tile<2, 2, 4, 8, 16, 4, 2>;
using Tall = Tile<2, 2, 4, 4, 16, 4, 3>;
using Medium = Tile<2, 2, 2, 4, 32, 3, 4>;

}  // namespace

void launchTf32(TileSize size, const Product<float>& p, const Epilogue<float>& epilogue) {
  switch (size) {
    case TileSize::Huge:
      return launch<Form::Tf32, Huge>(p, epilogue);
    case TileSize::Large:
      return launch<Form::Tf32, Large>(p, epilogue);
    case TileSize::Tall:
      return launch<Form::Tf32, Tall>(p, epilogue);
    default:
      return launch<Form::Tf32, Medium>(p, epilogue);
  }
}

}  // namespace gyrus::cuda::gemm
