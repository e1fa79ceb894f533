// The CUDA side of core's Backend: one CUDA stream per device object, driven by the in-order queue's thread.
#pragma once
#include <memory>

#include "core/backend.h"
#include "cuda/runtime.h"

namespace gyrus::cuda {

// A stream of its own on the device `ordinal`; `name` leads the messages of errors. Throws Error(Device).
std::unique_ptr<Backend> openBackend(int ordinal, const std::string& name, Precision precision = Precision::F32);

}  // namespace gyrus::cuda
