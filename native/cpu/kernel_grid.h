// Kernels that are compiled for every height and width of a tile.
#pragma once
#include <utility>

namespace gyrus::cpu::GYRUS_ISA {

// of(v)[m - 1]: the kernel m rows high and v vectors wide.
template <class Kernel, int MR, int NV>
struct KernelGrid {
  Kernel kernel[NV][MR];
  constexpr const Kernel* of(int vectors) const { return kernel[vectors - 1]; }
};

// get.operator()<m, v>() gives the kernel of m rows and v vectors.
template <class Kernel, int MR, int NV, class F>
constexpr KernelGrid<Kernel, MR, NV> kernelGrid(F get) {
  return [get]<int... I>(std::integer_sequence<int, I...>) {
    return KernelGrid<Kernel, MR, NV>{{get.template operator()<I % MR + 1, I / MR + 1>()...}};
  }
  (std::make_integer_sequence<int, MR * NV>());
}

}  // namespace gyrus::cpu::GYRUS_ISA
