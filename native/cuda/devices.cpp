#include "cuda/devices.h"

#include <dlfcn.h>

#include <cstdlib>

#include "core/features.h"
#include "cuda/backend.h"
#include "cuda/families.h"

namespace gyrus::cuda {
namespace {

#ifndef GYRUS_CUDA_EMULATED
std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

// Empty where there is a driver.
std::string driverMissing() {
  if (void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL)) {
    dlclose(library);
    return "";
  }
  const char* error = dlerror();
  return std::string(
             "no NVIDIA driver: the library libcuda.so.1 was looked for in LD_LIBRARY_PATH and the system's "
             "folders (") +
         (error ? error : "not found") + ")";
}
#endif

std::string nameOf([[maybe_unused]] int ordinal) {
#ifdef GYRUS_CUDA_EMULATED
  return "cuda-emulated";
#else
  return "cuda:" + std::to_string(ordinal);
#endif
}

// How many there are; none: why.
int count(std::string* why) {
#ifndef GYRUS_CUDA_EMULATED
  *why = driverMissing();
  if (!why->empty()) return 0;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver / 1000 < CUDART_VERSION / 1000) {
    *why = "the NVIDIA driver is for CUDA " + version(driver) + "; this build needs " +
           version(CUDART_VERSION / 1000 * 1000) + " or newer";
    return 0;
  }
#endif
  int n = 0;
  const cudaError_t error = cudaGetDeviceCount(&n);
  if (error == cudaSuccess && n > 0) return n;
  cudaGetLastError();
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  *why = "the NVIDIA driver has no device for us: ";
  *why += error == cudaSuccess ? "it counts 0" : cudaGetErrorString(error);
  if (visible) *why += std::string(" (CUDA_VISIBLE_DEVICES is '") + visible + "')";
  return 0;
}

Precision precisionOf(const std::string& option) {
  const std::string text = option.empty() ? environment("GYRUS_PRECISION") : option;
  if (text.empty() || text == "f32") return Precision::F32;
  if (text == "tf32") return Precision::TF32;
  if (text == "bf16") return Precision::BF16;
  throw Error(Code::Config, (option.empty() ? "GYRUS_PRECISION" : "createDevice: precision") +
                                std::string(": expected f32, tf32 or bf16, got '") + text + "'");
}

}  // namespace

std::vector<DeviceInfo> devices(std::string* why) {
  std::vector<DeviceInfo> result;
  const int n = count(why);
  for (int i = 0; i < n; ++i) {
    cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, i);
    if (error != cudaSuccess) {
      cudaGetLastError();
      *why = nameOf(i) + ": cudaGetDeviceProperties: " + cudaGetErrorString(error);
      continue;
    }
    result.push_back({nameOf(i), p.name, p.totalGlobalMem, p.major, p.minor, p.multiProcessorCount});
  }
  if (!result.empty()) why->clear();
  return result;
}

std::unique_ptr<Device> openDevice(const std::string& name, const Stream::Options& options,
                                   const std::string& precision) {
  std::string why;
  const int n = count(&why);
  for (int i = 0; i < n; ++i)
    if (nameOf(i) == name)
      return std::make_unique<Device>(table(), options, openBackend(i, name, precisionOf(precision)));
  throw Error(Code::Device, "device: no '" + name + "' here" +
                                (n > 0 ? ", only " + nameOf(0) + (n > 1 ? " to " + nameOf(n - 1) : "") : ": " + why));
}

}  // namespace gyrus::cuda
