// A device with four kernels of its own, so that the core is tested without the CPU kernels.
#pragma once
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "core/device.h"
#include "vendor/doctest.h"

namespace gyrus::test {

inline KernelTable& table() {
  static KernelTable t = [] {
    KernelTable k;
    k.isa = "test";
    k.set(Op::Fill, [](const Args& a) {
      for (std::int64_t i = 0; i < a.out[0].size(); ++i) a.out[0].as<float>()[i] = static_cast<float>(a.record[0]);
    });
    // y = x + x; slow when the first element is negative
    k.set(Op::Unary, [](const Args& a) {
      const float* x = a.in[0].as<float>();
      if (x[0] < 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      for (std::int64_t i = 0; i < a.out[0].size(); ++i) a.out[0].as<float>()[i] = 2 * x[i];
    });
    k.set(Op::Attention, [](const Args&) {});
    k.set(Op::Copy, [](const Args&) { throw Error(Code::Shape, "broken on purpose"); });
    return k;
  }();
  return t;
}

struct TestDevice : Device {
  explicit TestDevice(Stream::Options options = {}) : Device(table(), options) {}
  double command[64];

  double fill(double handle, std::int64_t n, double value) {
    const double c[] = {double(int(Op::Fill)), 1, 0, 1, handle, 0, 0, 1, double(n), 1, value};
    return call(c, std::size(c));
  }
  double twice(double x, std::int64_t n, double y = 0) {
    const double c[] = {double(int(Op::Unary)),      1, 1, 3, y, 0, 0, 1, double(n), 1, x, 0, 0, 1, double(n), 1,
                        double(int(UnaryKind::Abs)), 0, 0};
    return call(c, std::size(c));
  }
  double broken(double x, std::int64_t n) {
    const double c[] = {double(int(Op::Copy)), 1, 1, 0, 0, 0, 0, 1, double(n), 1, x, 0, 0, 1, double(n), 1};
    return call(c, std::size(c));
  }
  // Two fresh outputs, about n floats each, from an input of one.
  void twoOutputs(double x, double n) {
    std::vector<double> c = {double(int(Op::Attention)), 2, 3, 2};
    const auto add = [&](double handle, std::initializer_list<double> shape) {
      c.insert(c.end(), {handle, 0, 0, double(shape.size())});
      c.insert(c.end(), shape);
      if (handle != 0) return static_cast<void>(c.insert(c.end(), shape.size(), 0));
      std::vector<double> strides;
      double step = 1;
      for (auto s = std::rbegin(shape); s != std::rend(shape); step *= *s++) strides.insert(strides.begin(), step);
      c.insert(c.end(), strides.begin(), strides.end());
    };
    add(0, {1, n, 1, 1});
    add(0, {1, 1, n});
    add(x, {1, n, 1, 1});
    add(x, {1, 1, 1, 1});
    add(x, {1, 1, 1, 1});
    c.insert(c.end(), {0, 1});
    call(c.data(), c.size());
  }
  double call(const double* c, std::size_t n) {
    std::memcpy(command, c, n * sizeof(double));
    enqueue(command, n);
    return command[4];
  }
  float first(double handle) {
    float v = 0;
    readSync(handle, 0, &v, sizeof v);
    return v;
  }
};

template <class F>
Code codeOf(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  return Code::Internal;
}

}  // namespace gyrus::test
