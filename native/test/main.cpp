// The main of the native tests: says which kernels they run, then hands over to doctest.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <string>

#include "cpu/families.h"
#include "vendor/doctest.h"
#ifdef GYRUS_CUDA_EMULATED
#include "cuda/families.h"
#endif

int main(int argc, char** argv) {
  std::string isas;
  int count = 0;
  const gyrus::KernelTable* const* tables = gyrus::cpu::tables(&count);
  for (int i = 0; i < count; ++i) isas += std::string(i > 0 ? ", " : "") + tables[i]->isa;
#ifdef GYRUS_EMULATE_AVX512
  isas += " (emulated)";
#endif
#ifdef GYRUS_CUDA_EMULATED
  isas += std::string(", ") + gyrus::cuda::table().isa;
#endif
  std::printf("kernels: %s\n", isas.c_str());
  std::fflush(stdout);
  return doctest::Context(argc, argv).run();
}
