// The CUDA device on the emulated runtime: order of writes and reads, captured programs, errors of the device's own and
// of CUDA, memory that runs out, disposal, several devices and threads.
#include <atomic>
#include <functional>

#include "core_support.h"
#include "cuda/backend.h"
#include "cuda/devices.h"
#include "cuda/families.h"
#include "cuda/fault.cuh"

using namespace gyrus;
using namespace gyrus::test;
namespace emulation = gyrus::cuda::emulation;

namespace {

__global__ void checkIndices(cuda::Fault fault, float* y, const std::int32_t* index, int n, std::int64_t size) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < n) y[i] = fault.accepts(index[i], size) ? static_cast<float>(index[i]) : 0.f;
}

// The device's kernels and one of the test's own: y = index, where x has that many elements.
const KernelTable& tableOfTest() {
  static const KernelTable t = [] {
    KernelTable k = cuda::table();
    k.set(Op::IndexSelect, [](const Args& a) {
      GYRUS_LAUNCH(1, 32, 0, checkIndices, cuda::faultOf(Op::IndexSelect), a.out[0].as<float>(),
                   a.in[1].as<std::int32_t>(), static_cast<int>(a.in[1].size()), a.in[0].size());
    });
    return k;
  }();
  return t;
}

struct CudaDevice {
  // Injected failures and what they left behind belong to one test.
  struct Clean {
    Clean() { emulation::reset(); }
    ~Clean() {
      emulation::reset();
      emulation::setCapacity(std::size_t{1} << 30);
    }
  } clean;
  std::unique_ptr<Device> device =
      std::make_unique<Device>(tableOfTest(), Stream::Options{}, cuda::openBackend(0, "cuda-emulated"));
  Device* operator->() { return device.get(); }

  double call(std::vector<double> c) {
    c.resize(64);
    device->enqueue(c.data(), length_);
    return c[4];
  }
  // y = x * a + b
  double affine(double x, std::int64_t n, double a, double b, double y = 0) {
    std::vector<double> c = {
        double(int(Op::Unary)),         1, 1, 3, y, 0, 0, 1, double(n), 1, x, 0, 0, 1, double(n), 1,
        double(int(UnaryKind::Affine)), a, b};
    length_ = c.size();
    return call(std::move(c));
  }
  // y [M, N] = x [M, K] w^T, of which counts say how much is active
  double countedLinear(double x, double w, double outputs, double inputs, double M, double N, double K) {
    const double F = int(DType::F32), I = int(DType::I32);
    std::vector<double> c = {double(int(Op::Linear)), 1, 4, 5, 0, F, 0, 2, M, N, N, 1, x, F, 0, 2, M, K, K, 1};
    c.insert(c.end(), {w, F, 0, 2, N, K, K, 1, outputs, I, 0, 1, 1, 1, inputs, I, 0, 1, 1, 1});
    c.insert(c.end(), {0, 0, 0, double(int(Neurons::Counted)), double(int(Neurons::Counted))});
    length_ = c.size();
    return call(std::move(c));
  }
  double fill(std::int64_t n, double value, double y = 0) {
    std::vector<double> c = {double(int(Op::Fill)), 1, 0, 1, y, 0, 0, 1, double(n), 1, value};
    length_ = c.size();
    return call(std::move(c));
  }
  std::vector<float> values(double handle, std::size_t n) {
    std::vector<float> v(n);
    device->readSync(handle, 0, v.data(), n * sizeof(float));
    return v;
  }
  float first(double handle) { return values(handle, 1)[0]; }

 private:
  std::size_t length_ = 0;
};

std::string messageOf(const std::function<void()>& f, Code code) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return "";
}

// A read that waits without being read by this thread.
struct Read {
  std::atomic<bool> done{false};
  std::optional<Error> error;
  std::unique_ptr<char[]> data;
  Completion completion() {
    return [this](const Error* e, std::unique_ptr<char[]> d) {
      if (e) error = *e;
      data = std::move(d);
      done = true;
    };
  }
  void wait() {
    while (!done) std::this_thread::yield();
  }
  float value() const { return *reinterpret_cast<const float*>(data.get()); }
};

}  // namespace

TEST_CASE("cuda: the devices of a binary with the emulated one") {
  std::string why = "?";
  const std::vector<cuda::DeviceInfo> found = cuda::devices(&why);
  REQUIRE(found.size() == 1);
  CHECK(why.empty());
  CHECK(found[0].name == "cuda-emulated");
  CHECK(found[0].memory > 0);
  const std::string message = messageOf([] { cuda::openDevice("cuda:3", {}); }, Code::Device);
  CHECK(message == "device: no 'cuda:3' here, only cuda-emulated");
}

TEST_CASE("cuda: writes, calls and reads in order, small and large") {
  CudaDevice d;
  for (const std::size_t n : {std::size_t{1}, std::size_t{1000}, std::size_t{3} << 20}) {
    const double x = d->alloc(static_cast<double>(n * 4));
    std::vector<float> data(n);
    for (std::size_t i = 0; i < n; ++i) data[i] = static_cast<float>(i % 1000);
    d->write(x, 0, data.data(), n * 4);
    const double y = d.affine(x, static_cast<std::int64_t>(n), 2, 1);
    const float other = -1;
    d->write(x, 0, &other, 4);  // behind the call that read the old value
    Read read, fence;
    d->read(y, 0, n * 4, read.completion());
    d->fence(fence.completion());
    d->release(y);
    const double reused = d.fill(static_cast<std::int64_t>(n), -5);  // may take y's place, after the read
    read.wait();
    REQUIRE(!read.error);
    for (std::size_t i = 0; i < n; ++i) REQUIRE(reinterpret_cast<const float*>(read.data.get())[i] == 2 * data[i] + 1);
    fence.wait();
    CHECK(!fence.error);
    CHECK(d.first(x) == -1);
    CHECK(d.values(reused, n).back() == -5);
    d->release(reused);
    d->release(x);
  }
}

TEST_CASE("cuda: more staged data than the ring holds, and host data that changes at once") {
  CudaDevice d;
  constexpr std::size_t n = std::size_t{1} << 20;
  std::vector<double> handles;
  std::vector<float> data(n);
  for (int i = 0; i < 12; ++i) {  // 48 MiB through 16
    handles.push_back(d->alloc(n * 4));
    std::fill(data.begin(), data.end(), static_cast<float>(i));
    if (i % 3 == 0) d.fill(n, -1, handles.back());
    d->write(handles.back(), 0, data.data(), n * 4);
  }
  for (int i = 0; i < 12; ++i) {
    const std::vector<float> got = d.values(handles[static_cast<std::size_t>(i)], n);
    CHECK(got.front() == static_cast<float>(i));
    CHECK(got.back() == static_cast<float>(i));
  }
}

TEST_CASE("cuda: a captured program is replayed with other inputs, in more places than graphs are kept") {
  CudaDevice d;
  constexpr std::int64_t n = 100;
  const double x = d.fill(n, 1);
  d->beginCapture({x});
  const float seven = 7;
  const double constant = d->alloc(4);
  d->write(constant, 0, &seven, 4);
  const double y = d.affine(x, n, 2, 0), z = d.affine(y, n, 1, 3);
  d->release(y);
  std::shared_ptr<Graph> graph = d->endCapture();
  CHECK(d.first(z) == 5);
  std::vector<double> inputs;
  for (int i = 0; i < 7; ++i) inputs.push_back(d.fill(n, i));
  for (int round = 0; round < 3; ++round)
    for (int i = 0; i < 7; ++i) {
      if (round == 1) {
        const float zero = 0;
        d->write(constant, 0, &zero, 4);
      }
      d->replay(*graph, {inputs[static_cast<std::size_t>(i)]});
      CHECK(d.values(z, n).back() == static_cast<float>(2 * i + 3));
      CHECK(d.first(constant) == 7);
    }
  // Disposed of with replays under way: what they read must last.
  const float zero = 0;
  d->write(constant, 0, &zero, 4);
  d->replay(*graph, {inputs[3]});
  Read read;
  d->read(constant, 0, 4, read.completion());
  graph->dispose();
  graph.reset();
  read.wait();
  CHECK(read.value() == 7);
}

TEST_CASE("cuda: a captured graph follows counts that change, and is launched as it is") {
  CudaDevice d;
  constexpr int M = 3, N = 40, K = 70;
  const double x = d.fill(M * K, 1), w = d.fill(N * K, 1);
  const double outputs = d->alloc(4), inputs = d->alloc(4);
  const auto count = [&](double handle, std::int32_t n) { d->write(handle, 0, &n, 4); };
  count(outputs, 1);
  count(inputs, 1);
  d->beginCapture({x});
  const double y = d.countedLinear(x, w, outputs, inputs, M, N, K);
  const std::shared_ptr<Graph> graph = d->endCapture();
  d->replay(*graph, {x});
  d->sync();
  // From here on the device would be lost with another capture.
  emulation::failCall("cudaStreamBeginCapture", 1, cudaErrorIllegalAddress);
  for (const std::int32_t n : {0, 1, 33, N})
    for (const std::int32_t k : {0, 1, 17, K}) {
      count(outputs, n);
      count(inputs, k);
      d->replay(*graph, {x});
      const std::vector<float> got = d.values(y, std::size_t{M} * N);
      for (int i = 0; i < M * N; ++i)
        CHECK(got[static_cast<std::size_t>(i)] == (i % N < n ? static_cast<float>(k) : 0));
    }
}

TEST_CASE("cuda: a program that can't be captured runs call by call") {
  CudaDevice d;
  const double x = d.fill(64, 1);
  d->beginCapture({x});
  const double y = d.affine(x, 64, 3, 0);
  const std::shared_ptr<Graph> graph = d->endCapture();
  d->sync();
  SUBCASE("because a launch is refused") {
    emulation::failCall("cudaLaunchKernel", 2, cudaErrorStreamCaptureUnsupported);  // behind the fill
  }
  SUBCASE("because no capture begins") {
    emulation::failCall("cudaStreamBeginCapture", 1, cudaErrorStreamCaptureUnsupported);
  }
  SUBCASE("because the graph can't be instantiated") {
    emulation::failCall("cudaGraphInstantiate", 1, cudaErrorMemoryAllocation);
  }
  const double other = d.fill(64, 4);
  d->replay(*graph, {other});
  CHECK(d.first(y) == 12);
  d->replay(*graph, {x});
  CHECK(d.first(y) == 3);
}

TEST_CASE("cuda: an error that a kernel finds is the CPU's, is reported once and holds nothing up") {
  CudaDevice d;
  const double x = d.fill(4, 1);
  const std::int32_t index[2] = {1, 9};
  const double at = d->alloc(8);
  d->write(at, 0, index, 8);
  const auto gather = [&] {
    // y [2] = x[index]
    std::vector<double> c = {
        double(int(Op::IndexSelect)), 1, 2, 2, 0, 0, 0, 1, 2, 1, x, 0, 0, 1, 4, 1, at, 2, 0, 1, 2, 1, 0, 0};
    d->enqueue(c.data(), c.size());
    return c[4];
  };
  const double y = gather();
  const std::string message = messageOf([&] { d.first(y); }, Code::Shape);
  CHECK(message == "indexSelect: index 9 is outside 0..3");
  CHECK(d.first(x) == 1);
  gather();
  d.fill(4, 2, x);
  Read read;
  d->read(x, 0, 4, read.completion());
  read.wait();
  REQUIRE(read.error);
  CHECK(read.error->code() == Code::Shape);
  CHECK(std::string(read.error->what()) == message);
  CHECK(d.first(x) == 2);
}

TEST_CASE("cuda: memory that runs out") {
  CudaDevice d;
  emulation::setCapacity(std::size_t{8} << 20);
  const double held = d->alloc(3 << 20), cached = d->alloc(3 << 20);
  d->release(cached);
  const double other = d->alloc(4 << 20);  // the cached block goes back first
  const std::string message = messageOf([&] { d->alloc(5 << 20); }, Code::OutOfMemory);
  CHECK(message.find("alloc: no memory for 5242880 bytes") == 0);
  CHECK(d.first(d.fill(16, 3)) == 3);
  d->release(other);
  d->release(d->alloc(4 << 20));
  d->release(held);
  emulation::failCall("cudaMalloc", 2, cudaErrorMemoryAllocation);
  d->trim();
  CHECK_NOTHROW(d->release(d->alloc(1 << 20)));
  CHECK_NOTHROW(d->release(d->alloc(2 << 20)));
}

TEST_CASE("cuda: a call that CUDA refuses is reported by name, and the device goes on") {
  CudaDevice d;
  const double x = d.fill(16, 1);
  d->sync();
  emulation::failCall("cudaLaunchKernel", 1, cudaErrorInvalidConfiguration);
  d.fill(16, 2, x);
  d.fill(16, 3, x);  // skipped, as behind any error
  const std::string message = messageOf([&] { d->sync(); }, Code::Device);
  CHECK(message.find("fill: cuda-emulated: ") == 0);
  CHECK(message.find("cudaErrorInvalidConfiguration") != std::string::npos);
  CHECK(d.first(x) == 1);
  emulation::failCall("cudaMemcpyAsync", 1, cudaErrorInvalidValue);
  CHECK(messageOf([&] { d.first(x); }, Code::Device).find("read: cuda-emulated: cudaMemcpyAsync") == 0);
  CHECK(d.first(x) == 1);
  emulation::failCall("cudaMemcpyAsync", 1, cudaErrorInvalidValue);
  Read read;
  d->read(x, 0, 4, read.completion());
  read.wait();
  REQUIRE(read.error);
  CHECK(read.error->code() == Code::Device);
}

TEST_CASE("cuda: a device that was lost says so at every use, and lets itself be disposed of") {
  CudaDevice d;
  const double x = d.fill(16, 1);
  d->sync();
  SUBCASE("noticed by the one who waits") { emulation::failCall("cudaStreamSynchronize", 1, cudaErrorIllegalAddress); }
  SUBCASE("noticed by the launch") { emulation::failCall("cudaLaunchKernel", 1, cudaErrorIllegalAddress); }
  d.fill(16, 2, x);
  const std::string first = messageOf([&] { d->sync(); }, Code::Device);
  CHECK(first.find("cudaErrorIllegalAddress") != std::string::npos);
  CHECK(first.find("this process can't use the device any more") != std::string::npos);
  for (int i = 0; i < 3; ++i) {
    d.fill(16, 2, x);
    CHECK(messageOf([&] { d->sync(); }, Code::Device) == first);
    Read read;
    d->read(x, 0, 4, read.completion());
    read.wait();
    REQUIRE(read.error);
    CHECK(std::string(read.error->what()) == first);
  }
  CHECK(codeOf([&] { d->alloc(123456); }) == Code::Device);
}

TEST_CASE("cuda: a loader's batches") {
  CudaDevice d;
  Loader::Data data;
  data.rows = 6;
  data.features = 3;
  for (int i = 0; i < 18; ++i) data.floats.push_back(static_cast<float>(i));
  for (int i = 0; i < 6; ++i) data.labels.push_back(i % 2);
  const std::shared_ptr<Loader> loader = d->createLoader(std::move(data), 2);
  loader->start({5, 4, 3, 2, 1, 0}, 4, false);
  const auto one = d->nextBatch(loader), two = d->nextBatch(loader);
  REQUIRE(one);
  REQUIRE(two);
  CHECK(!d->nextBatch(loader));
  CHECK(d.values(one->x, 12) == std::vector<float>{15, 16, 17, 12, 13, 14, 9, 10, 11, 6, 7, 8});
  CHECK(d.values(two->x, 6) == std::vector<float>{3, 4, 5, 0, 1, 2});
  std::int32_t labels[4];
  d->readSync(one->y, 0, labels, sizeof labels);
  CHECK(labels[0] == 1);
  CHECK(labels[1] == 0);
}

TEST_CASE("cuda: disposal with work and reads queued answers every read and gives all memory back") {
  emulation::reset();
  const std::size_t before = emulation::allocated().bytes;
  std::vector<std::unique_ptr<Read>> reads;
  {
    CudaDevice d;
    const double x = d.fill(1 << 16, 1);
    d->beginCapture({x});
    d.affine(x, 1 << 16, 2, 0);
    const std::shared_ptr<Graph> graph = d->endCapture();
    for (int i = 0; i < 50; ++i) {
      d->replay(*graph, {x});
      reads.push_back(std::make_unique<Read>());
      d->read(x, 0, 1 << 18, reads.back()->completion());
    }
  }
  for (const auto& read : reads) {
    CHECK(read->done);
    if (read->error) CHECK(read->error->code() == Code::Disposed);
  }
  CHECK(emulation::allocated().bytes == before);
}

TEST_CASE("cuda: two devices in two threads") {
  emulation::reset();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([t, &wrong] {
      const std::unique_ptr<Device> device = cuda::openDevice("cuda-emulated", {});
      std::vector<float> data(512, static_cast<float>(t)), got(512);
      const double x = device->alloc(2048);
      device->write(x, 0, data.data(), 2048);
      std::vector<double> c = {double(int(Op::Unary)),         1, 1, 3, 0, 0, 0, 1, 512, 1, x, 0, 0, 1, 512, 1,
                               double(int(UnaryKind::Affine)), 1, 1};
      device->beginCapture({x});
      device->enqueue(c.data(), c.size());
      const double y = c[4];
      const std::shared_ptr<Graph> graph = device->endCapture();
      for (int i = 0; i < 20; ++i) {
        data.assign(512, static_cast<float>(100 * t + i));
        device->write(x, 0, data.data(), 2048);
        device->replay(*graph, {x});
        device->readSync(y, 0, got.data(), 2048);
        for (const float v : got) wrong += v != static_cast<float>(100 * t + i + 1);
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}
