// The main of the native tests: says which kernels they run, then hands over to doctest.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <string>

#include "cpu/families.h"
#include "cuda_support.h"
#include "vendor/doctest.h"

int main(int argc, char** argv) {
  std::string isas;
  int count = 0;
  const gyrus::KernelTable* const* tables = gyrus::cpu::tables(&count);
  for (int i = 0; i < count; ++i) isas += std::string(i > 0 ? ", " : "") + tables[i]->isa;
#ifdef GYRUS_EMULATE_AVX512
  isas += " (emulated)";
#endif
  if (gyrus::test::cudaTable() != nullptr) isas += std::string(", ") + gyrus::test::cudaTable()->isa;
  std::printf("kernels: %s\n", isas.c_str());
  doctest::Context context(argc, argv);
#ifdef GYRUS_CUDA_TESTS
  if (gyrus::test::cudaTable() == nullptr) {
    std::printf("no CUDA device: the cases 'cuda *' are left out\n");
    context.addFilter("test-case-exclude", "cuda *");
  }
#endif
  std::fflush(stdout);
  return context.run();
}
