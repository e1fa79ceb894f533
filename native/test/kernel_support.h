// Helpers of the kernel tests: tensors whose memory ends at a guard page, calls built from them, and `expectAgreement`,
// which runs one call through every kernel table of this CPU with 1, 2 and 4 threads, wants the same bits each time and
// the naive kernel's values within a tolerance. The CUDA kernels run too where cuda_support.h finds a device.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/pool.h"
#include "core/scratch.h"
#include "core/view.h"
#include "cpu/families.h"
#include "cuda_support.h"
#include "kernels/contract.h"
#include "vendor/doctest.h"

namespace gyrus::test {

using Shape = std::vector<std::int64_t>;

// Bytes that end right at an unreadable page (and begin after another): one byte too far crashes the test.
class GuardedBytes {
 public:
  explicit GuardedBytes(std::size_t n) : size_(n) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t body = (n + page - 1) / page * page;
    mapped_ = body + 2 * page;
    base_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) throw Error(Code::OutOfMemory, "test: mmap failed");
    if (body > 0) mprotect(base_ + page, body, PROT_READ | PROT_WRITE);
    data_ = base_ + page + body - n;
  }
  ~GuardedBytes() { munmap(base_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  char* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_, mapped_;
  char *base_, *data_;
};

// A view with its memory. Copies share memory; clone() does not.
struct Tensor {
  View view;
  std::shared_ptr<GuardedBytes> memory;

  std::int64_t size() const { return view.size(); }
  Tensor clone() const {
    Tensor t = *this;
    t.memory = std::make_shared<GuardedBytes>(memory->size());
    std::memcpy(t.memory->data(), memory->data(), memory->size());
    t.view.data = t.memory->data() + (static_cast<char*>(view.data) - memory->data());
    return t;
  }
  // Element number i in row-major order of the shape.
  std::int64_t offset(std::int64_t i) const {
    std::int64_t at = 0;
    for (int d = view.rank - 1; d >= 0; --d) {
      at += i % view.shape[d] * view.stride[d];
      i /= view.shape[d];
    }
    return at;
  }
  double at(std::int64_t i) const {
    const std::int64_t o = offset(i);
    switch (view.dtype) {
      case DType::F32:
        return view.as<float>()[o];
      case DType::F64:
        return view.as<double>()[o];
      case DType::I32:
        return view.as<std::int32_t>()[o];
      default:
        return view.as<std::uint8_t>()[o];
    }
  }
  void set(std::int64_t i, double x) {
    const std::int64_t o = offset(i);
    switch (view.dtype) {
      case DType::F32:
        view.as<float>()[o] = static_cast<float>(x);
        break;
      case DType::F64:
        view.as<double>()[o] = x;
        break;
      case DType::I32:
        view.as<std::int32_t>()[o] = static_cast<std::int32_t>(x);
        break;
      default:
        view.as<std::uint8_t>()[o] = static_cast<std::uint8_t>(x);
    }
  }
};

// A tensor with given strides (in elements), its last element right before the guard page; bytes all 0xA5.
inline Tensor makeStrided(DType dtype, const Shape& shape, const Shape& stride) {
  Tensor t;
  t.view.dtype = dtype;
  t.view.rank = static_cast<int>(shape.size());
  std::int64_t extent = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    t.view.shape[d] = shape[d];
    t.view.stride[d] = stride[d];
    extent += (shape[d] - 1) * stride[d];
  }
  if (t.view.size() == 0) extent = 0;
  t.memory = std::make_shared<GuardedBytes>(static_cast<std::size_t>(extent) * sizeOf(dtype));
  t.view.data = t.memory->data();
  if (t.memory->size() > 0) std::memset(t.memory->data(), 0xA5, t.memory->size());
  return t;
}

inline Shape contiguousStrides(const Shape& shape) {
  Shape s(shape.size());
  std::int64_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0; step *= shape[d]) s[d] = step;
  return s;
}

// How a tensor of a shape lies in memory. Padded: rows further apart than they are long (an active block of a
// parameter). Transposed: the axes in reverse order. Spread: every axis strided, the last one by 3.
enum class Layout { Contiguous, Padded, Transposed, Spread };
inline constexpr Layout kLayouts[] = {Layout::Contiguous, Layout::Padded, Layout::Transposed, Layout::Spread};

inline Tensor make(DType dtype, const Shape& shape, Layout layout = Layout::Contiguous) {
  Shape stride(shape.size());
  std::int64_t step = layout == Layout::Spread ? 3 : 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t d = layout == Layout::Transposed ? i : shape.size() - 1 - i;
    stride[d] = step;
    step *= shape[d] + (layout == Layout::Padded && i == 0 ? 5 : layout == Layout::Spread ? 1 : 0);
  }
  return makeStrided(dtype, shape, stride);
}

inline Tensor zeros(DType dtype, const Shape& shape, Layout layout = Layout::Contiguous) {
  Tensor t = make(dtype, shape, layout);
  if (t.memory->size() > 0) std::memset(t.memory->data(), 0, t.memory->size());
  return t;
}

inline Tensor of(DType dtype, const Shape& shape, const std::vector<double>& values,
                 Layout layout = Layout::Contiguous) {
  Tensor t = zeros(dtype, shape, layout);
  for (std::int64_t i = 0; i < t.size(); ++i) t.set(i, values[static_cast<std::size_t>(i)]);
  return t;
}
inline Tensor number(DType dtype, double x) { return of(dtype, {}, {x}); }

// Uniform values in [low, high) (integers truncated; bool: 0 or 1), the same for the same seed.
inline Tensor randomTensor(DType dtype, const Shape& shape, unsigned seed, double low = -3, double high = 3,
                           Layout layout = Layout::Contiguous) {
  Tensor t = zeros(dtype, shape, layout);
  std::mt19937_64 gen(seed);
  if (dtype == DType::Bool) low = 0, high = 2;
  if (dtype == DType::U8) low = 0, high = 256;
  std::uniform_real_distribution<double> u(low, high);
  for (std::int64_t i = 0; i < t.size(); ++i) t.set(i, u(gen));
  return t;
}

// The same memory with an axis repeated n times by stride 0. The axis must have extent 1.
inline Tensor broadcastAxis(Tensor t, int axis, std::int64_t n) {
  t.view.shape[axis] = n;
  t.view.stride[axis] = 0;
  return t;
}

inline bool onDevice(const KernelTable& table) { return &table == cudaTable(); }

// Naive first, the CPU's best last.
inline std::vector<const KernelTable*> allTables() {
  int count = 0;
  const KernelTable* const* t = cpu::tables(&count);
  std::vector<const KernelTable*> all(t, t + count);
  if (cudaTable() != nullptr) all.insert(all.begin() + 1, cudaTable());
  return all;
}
inline const KernelTable& naiveTable() { return *allTables().front(); }

// Runs one kernel; the tensors' memory is what it reads and writes.
inline void runKernel(const KernelTable& table, Op op, const std::vector<Tensor>& out, const std::vector<Tensor>& in,
                      const std::vector<double>& record) {
  DeviceMemory memory(onDevice(table));
  const auto viewsOf = [&](const std::vector<Tensor>& tensors) {
    std::vector<View> views;
    for (const Tensor& t : tensors) {
      views.push_back(t.view);
      views.back().data = memory.address(t.memory->data(), t.memory->size(), t.view.data);
    }
    return views;
  };
  const std::vector<View> outs = viewsOf(out), ins = viewsOf(in);
  std::vector<double> numbers = record;
  numbers.push_back(0);  // a record of no numbers still has an address
  ScratchArena scratch;
  const Args args{outs.data(),    static_cast<int>(outs.size()),   ins.data(), static_cast<int>(ins.size()),
                  numbers.data(), static_cast<int>(record.size()), &scratch};
  const bool filled = table.get(op) != nullptr;
  REQUIRE(filled);
  if (!onDevice(table)) return table.get(op)(args);
  runOnDevice(table.get(op), args, memory);
}

inline std::vector<Tensor> cloneAll(const std::vector<Tensor>& all) {
  std::vector<Tensor> copies;
  for (const Tensor& t : all) copies.push_back(t.clone());
  return copies;
}

// |a - b| <= absolute + relative * |b|; NaN equals NaN, infinities must agree.
struct Tolerance {
  double relative = 0, absolute = 0;
};

// "" when a matches b, else where it first does not.
inline std::string mismatch(const Tensor& a, const Tensor& b, Tolerance tol = {}) {
  for (std::int64_t i = 0; i < b.size(); ++i) {
    const double x = a.at(i), y = b.at(i);
    const bool same = std::isnan(x) || std::isnan(y)   ? std::isnan(x) && std::isnan(y)
                      : std::isinf(x) || std::isinf(y) ? x == y
                                                       : std::fabs(x - y) <= tol.absolute + tol.relative * std::fabs(y);
    if (!same) return "element " + std::to_string(i) + ": " + std::to_string(x) + " instead of " + std::to_string(y);
  }
  return "";
}

// All bytes, those between strided elements included: a kernel must not write there.
inline bool sameBytes(const Tensor& a, const Tensor& b) {
  return a.memory->size() == b.memory->size() &&
         (a.memory->size() == 0 || std::memcmp(a.memory->data(), b.memory->data(), a.memory->size()) == 0);
}

// Sets the thread count for a scope.
class Threads {
 public:
  explicit Threads(int n) : before_(Pool::threads()) { Pool::setThreads(n); }
  ~Threads() { Pool::setThreads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// True where no byte between the elements of `after` differs from `before`.
inline bool gapsUntouched(const Tensor& before, const Tensor& after) {
  const std::size_t width = sizeOf(after.view.dtype), n = after.memory->size();
  std::vector<bool> element(n, false);
  const auto start = static_cast<std::size_t>(static_cast<char*>(after.view.data) - after.memory->data());
  for (std::int64_t i = 0; i < after.size(); ++i)
    for (std::size_t b = 0; b < width; ++b)
      element[start + static_cast<std::size_t>(after.offset(i)) * width + b] = true;
  for (std::size_t i = 0; i < n; ++i)
    if (!element[i] && before.memory->data()[i] != after.memory->data()[i]) return false;
  return true;
}

// The call's outputs under the circumstances that must not change a bit: thread counts, or what changes on the device.
inline std::vector<std::vector<Tensor>> runInEveryWay(const KernelTable& table, Op op, const std::vector<Tensor>& out,
                                                      const std::vector<Tensor>& in,
                                                      const std::vector<double>& record) {
  std::vector<std::vector<Tensor>> all;
  const auto run = [&] {
    all.push_back(cloneAll(out));
    runKernel(table, op, all.back(), in, record);
  };
  if (onDevice(table)) {
    inEveryOrder(run);
    return all;
  }
  for (const int threads : {1, 2, 4}) {
    const Threads scope(threads);
    run();
  }
  return all;
}

// Runs the call through every table on copies of `out`; returns the naive outputs.
inline std::vector<Tensor> expectAgreement(Op op, const std::vector<Tensor>& out, const std::vector<Tensor>& in,
                                           const std::vector<double>& record, Tolerance tol = {}) {
  const std::vector<Tensor> expected = cloneAll(out);
  runKernel(naiveTable(), op, expected, in, record);
  for (const KernelTable* table : allTables()) {
    if (onDevice(*table) && !deviceCompares(op)) continue;
    const std::string call = std::string(nameOf(op)) + " on " + table->isa;
    const std::vector<std::vector<Tensor>> runs = runInEveryWay(*table, op, out, in, record);
    const std::vector<Tensor>& first = runs.front();
    for (const std::vector<Tensor>& got : runs)
      for (std::size_t i = 0; i < got.size(); ++i) {
        const bool same = sameBytes(first[i], got[i]);
        CHECK_MESSAGE(same, call, ": output ", i, " depends on the ",
                      onDevice(*table) ? "run or the order of threads" : "thread count");
      }
    for (std::size_t i = 0; i < first.size(); ++i) {
      const std::string wrong = mismatch(first[i], expected[i], tol);
      CHECK_MESSAGE(wrong.empty(), call, ", output ", i, ": ", wrong);
      const bool untouched = gapsUntouched(out[i], first[i]);
      CHECK_MESSAGE(untouched, call, " wrote between the elements of output ", i);
    }
  }
  return expected;
}

}  // namespace gyrus::test
