// One kernel table per instruction set of this binary, filled once, and the choice among them.
#include <vector>

#include "core/features.h"
#include "cpu/families.h"

namespace gyrus::cpu {
namespace {

struct Tables {
  KernelTable naive, scalar, avx2, avx512, neon;
  std::vector<const KernelTable*> usable;

  Tables() {
    naive.isa = "naive";
#define GYRUS_FILL(fn) cpu::naive::fn(this->naive);
    GYRUS_NAIVE_FAMILIES(GYRUS_FILL)
#undef GYRUS_FILL
    usable.push_back(&naive);
#define GYRUS_CALL(fn) ns::fn(table);
#ifdef GYRUS_HAVE_SCALAR
    {
      KernelTable& table = add(scalar, "scalar");
      namespace ns = cpu::scalar;
      GYRUS_VECTOR_FAMILIES(GYRUS_CALL)
    }
#endif
#ifdef GYRUS_HAVE_NEON
    if (cpuFeatures().neon) {
      KernelTable& table = add(neon, "neon");
      namespace ns = cpu::neon;
      GYRUS_VECTOR_FAMILIES(GYRUS_CALL)
    }
#endif
#ifdef GYRUS_HAVE_AVX2
    if (cpuFeatures().avx2) {
      KernelTable& table = add(avx2, "avx2");
      namespace ns = cpu::avx2;
      GYRUS_VECTOR_FAMILIES(GYRUS_CALL)
    }
#endif
#ifdef GYRUS_HAVE_AVX512
    if (cpuFeatures().avx512) {
      KernelTable& table = add(avx512, "avx512");
      namespace ns = cpu::avx512;
      GYRUS_VECTOR_FAMILIES(GYRUS_CALL)
    }
#endif
#undef GYRUS_CALL
  }

  KernelTable& add(KernelTable& table, const char* isa) {
    table = naive;
    table.isa = isa;
    usable.push_back(&table);
    return table;
  }
};

const Tables& all() {
  static const Tables tables;
  return tables;
}

const KernelTable& choose() {
  const auto& usable = all().usable;
  const std::string forced = environment("GYRUS_ISA");
  if (forced.empty()) return *usable.back();
  std::string names;
  for (const KernelTable* table : usable) {
    if (forced == table->isa) return *table;
    names += (names.empty() ? "" : ", ") + std::string(table->isa);
  }
  throw Error(Code::Config, "GYRUS_ISA: expected one of " + names + " on this CPU, got '" + forced + "'");
}

}  // namespace

const KernelTable* const* tables(int* count) {
  *count = static_cast<int>(all().usable.size());
  return all().usable.data();
}

const KernelTable& activeTable() {
  static const KernelTable& table = choose();
  return table;
}

}  // namespace gyrus::cpu
