// What a device implements: one Kernel per Op, and what it is handed. Shape and dtype rules are checked once for
// all devices by check() (kernels/check.cpp) when a call is enqueued, so kernels trust their arguments; only values
// (labels, indices) are left for the kernel to check, by throwing Error while it runs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/view.h"
#include "kernels/ops.h"
#include "kernels/params.h"

namespace gyrus {

// Memory a kernel borrows while it runs; 64-byte aligned; given back when the kernel returns. Reused from call to
// call. Not thread-safe: take what the whole kernel needs before going parallel.
class Scratch {
 public:
  virtual void* take(std::size_t bytes) = 0;
  template <class T>
  T* array(std::int64_t n) {
    return static_cast<T*>(take(static_cast<std::size_t>(n) * sizeof(T)));
  }

 protected:
  ~Scratch() = default;
};

struct Args {
  const View* out;
  int outputs;
  const View* in;
  int inputs;
  const double* record;  // the parameter record
  int numbers;           // its length
  Scratch* scratch;

  template <class P>
  const P& as() const {
    return *reinterpret_cast<const P*>(record);
  }
};

using Kernel = void (*)(const Args&);

struct KernelTable {
  const char* isa = "";
  Kernel kernel[kOpCount] = {};
  void set(Op op, Kernel k) { kernel[static_cast<int>(op)] = k; }
  Kernel get(Op op) const { return kernel[static_cast<int>(op)]; }
};

// Throws Error(Shape | DType | Config) naming the op, what was expected and what came. Reads no element.
void check(Op op, const Args& args);

// "[128, 784]"
std::string describeShape(const View& v);

}  // namespace gyrus
