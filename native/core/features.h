// What this CPU is and can do, read once.
#pragma once
#include <string>
#include <vector>

namespace gyrus {

struct CpuFeatures {
  std::string vendor, brand;
  int cores = 1;
  bool avx2 = false;    // AVX2 + FMA + F16C, and the system saves the registers
  bool avx512 = false;  // F + DQ + BW + VL, the same
  bool neon = false;
  std::vector<std::string> names;  // what `gyrus doctor` lists
};

const CpuFeatures& cpuFeatures();

// The value of an environment variable, or "".
std::string environment(const char* name);

}  // namespace gyrus
