// Which devices besides the CPU this binary can open.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"

namespace gyrus::addon {

struct Gpu {
  std::string name, model, capability;
  std::size_t memory;  // bytes
  int multiprocessors;
};

// Looked for at each call; where there are none `why` says so.
std::vector<Gpu> gpus(std::string* why);

// "cpu", "cuda:0", ...; `precision` of a CUDA device's products: "f32", "tf32", "bf16" or "", its default. Throws
// Error(Device) for a device that isn't here, Error(Config) for a precision it doesn't have.
std::unique_ptr<Device> openDevice(const std::string& name, const Stream::Options& options,
                                   const std::string& precision);

}  // namespace gyrus::addon
