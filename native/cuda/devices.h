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

// Throws Error(Device) when there is no device of that name.
std::unique_ptr<Device> openDevice(const std::string& name, const Stream::Options& options);

}  // namespace gyrus::cuda
