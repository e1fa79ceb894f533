// The CUDA devices of this machine, and the core's Device on one of them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"

namespace gyrus::cuda {

struct DeviceInfo {
  std::string name;    // "cuda:0", ... or "cuda-emulated"
  std::string model;   // as the vendor calls it
  std::size_t memory;  // bytes
  int major, minor;    // compute capability
  int multiprocessors;
};

// Those that can be used; where there are none, `why` says what was looked for and where.
std::vector<DeviceInfo> devices(std::string* why);

// `precision` of products of f32: "f32", "tf32" or "bf16", sums being f32 in any case; "": GYRUS_PRECISION, or f32.
// Throws Error(Device) when there is no device of that name, Error(Config) for another precision.
std::unique_ptr<Device> openDevice(const std::string& name, const Stream::Options& options,
                                   const std::string& precision = "");

}  // namespace gyrus::cuda
