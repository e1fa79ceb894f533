#include "cuda.h"

#include "cpu/families.h"
#ifdef GYRUS_HAVE_CUDA
#include "cuda/devices.h"
#endif

namespace gyrus::addon {

#ifdef GYRUS_HAVE_CUDA
std::vector<Gpu> gpus(std::string* why) {
  std::vector<Gpu> result;
  for (const cuda::DeviceInfo& d : cuda::devices(why))
    result.push_back(
        {d.name, d.model, std::to_string(d.major) + "." + std::to_string(d.minor), d.memory, d.multiprocessors});
  return result;
}
#else
std::vector<Gpu> gpus(std::string* why) {
  *why = "built without CUDA: no nvcc was found when the addon was built, or it was built with GYRUS_CUDA=OFF";
  return {};
}
#endif

std::unique_ptr<Device> openDevice(const std::string& name, const Stream::Options& options,
                                   const std::string& precision) {
  if (name == "cpu" && !precision.empty() && precision != "f32")
    throw Error(Code::Config, "createDevice: precision: expected f32 on the CPU, got '" + precision + "'");
  if (name == "cpu") return std::make_unique<Device>(cpu::activeTable(), options);
#ifdef GYRUS_HAVE_CUDA
  return cuda::openDevice(name, options, precision);
#else
  std::string why;
  gpus(&why);
  throw Error(Code::Device, "device: no '" + name + "' here: " + why);
#endif
}

}  // namespace gyrus::addon
