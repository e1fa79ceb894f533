#include "core/features.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace gyrus {
namespace {

#if defined(__x86_64__)
std::string registersAsText(const unsigned* words, int count) {
  std::string text(reinterpret_cast<const char*>(words), static_cast<std::size_t>(count) * 4);
  text.resize(std::strlen(text.c_str()));
  const auto first = text.find_first_not_of(' ');
  const auto last = text.find_last_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}
#endif

CpuFeatures detect() {
  CpuFeatures f;
  f.cores = static_cast<int>(std::thread::hardware_concurrency());
  if (f.cores < 1) f.cores = 1;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (__get_cpuid(0, &a, &b, &c, &d)) {
    const unsigned words[3] = {b, d, c};
    f.vendor = registersAsText(words, 3);
  }
  if (__get_cpuid(0x80000000u, &a, &b, &c, &d) && a >= 0x80000004u) {
    unsigned words[12];
    for (unsigned i = 0; i < 3; ++i)
      __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    f.brand = registersAsText(words, 12);
  }
  // __builtin_cpu_supports reads XCR0 as well: a feature whose registers the system doesn't save counts as absent.
  __builtin_cpu_init();
#define GYRUS_FEATURE(name) \
  if (__builtin_cpu_supports(name)) f.names.emplace_back(name);
  GYRUS_FEATURE("sse4.2")
  GYRUS_FEATURE("avx")
  GYRUS_FEATURE("avx2")
  GYRUS_FEATURE("fma")
  GYRUS_FEATURE("f16c")
  GYRUS_FEATURE("avx512f")
  GYRUS_FEATURE("avx512dq")
  GYRUS_FEATURE("avx512bw")
  GYRUS_FEATURE("avx512vl")
  GYRUS_FEATURE("avx512vnni")
  GYRUS_FEATURE("avx512bf16")
#undef GYRUS_FEATURE
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#ifdef GYRUS_EMULATE_AVX512
  f.avx512 = f.avx2;  // a test build: AVX2 code stands in for it
#endif
#elif defined(__aarch64__)
  f.vendor = "arm";
  f.neon = true;  // part of every aarch64
  f.names.emplace_back("neon");
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("CPU part", 0) == 0 || line.rfind("Model", 0) == 0) {
      const auto colon = line.find(": ");
      if (colon != std::string::npos) f.brand = line.substr(colon + 2);
    }
#endif
  return f;
}

}  // namespace

const CpuFeatures& cpuFeatures() {
  static const CpuFeatures features = detect();
  return features;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace gyrus
