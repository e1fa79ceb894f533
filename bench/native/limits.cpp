// The limits of the machine: fused multiply-adds per second in registers, and bytes per second between memory and
// registers.
#include <atomic>
#include <barrier>
#include <thread>

#include "bench.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

// A run of multiply-adds long enough that the clock does not count; gives the FLOP done. The values stay near 1, and
// the sum goes to `sink` so that no compiler can leave the work out. Enough independent chains to hide the latency on
// every machine: latency (4 or 5) times units (2, or 4 of NEON).
using FmaRun = double (*)(float* sink);
constexpr int kSteps = 20000;

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) double fmaAvx2(float* sink) {
  constexpr int kChains = 12;
  __m256 sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = _mm256_set1_ps(1.0f + 0.01f * static_cast<float>(i));
  const __m256 scale = _mm256_set1_ps(0.999f), shift = _mm256_set1_ps(0.001f);
  for (int step = 0; step < kSteps; step++) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; i++) sums[i] = _mm256_fmadd_ps(sums[i], scale, shift);
  }
  for (int i = 1; i < kChains; i++) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  *sink = _mm256_cvtss_f32(sums[0]);
  return 2.0 * 8 * kChains * kSteps;
}

__attribute__((target("avx512f"))) double fmaAvx512(float* sink) {
  constexpr int kChains = 12;
  __m512 sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = _mm512_set1_ps(1.0f + 0.01f * static_cast<float>(i));
  const __m512 scale = _mm512_set1_ps(0.999f), shift = _mm512_set1_ps(0.001f);
  for (int step = 0; step < kSteps; step++) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; i++) sums[i] = _mm512_fmadd_ps(sums[i], scale, shift);
  }
  for (int i = 1; i < kChains; i++) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  *sink = _mm512_cvtss_f32(sums[0]);
  return 2.0 * 16 * kChains * kSteps;
}

__attribute__((target("avx2"))) float readAvx2(const float* x, size_t count) {
  __m256 sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (size_t i = 0; i + 64 <= count; i += 64) {
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; j++) sums[j] = _mm256_add_ps(sums[j], _mm256_loadu_ps(x + i + 8 * j));
  }
  for (int j = 1; j < 8; j++) sums[0] = _mm256_add_ps(sums[0], sums[j]);
  return _mm256_cvtss_f32(sums[0]);
}

__attribute__((target("avx2"))) void copyAvx2(float* y, const float* x, size_t count) {
  for (size_t i = 0; i + 32 <= count; i += 32) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 32; j += 8) _mm256_storeu_ps(y + i + j, _mm256_loadu_ps(x + i + j));
  }
}

template <bool kNonTemporal>
__attribute__((target("avx2,fma"))) void triadAvx2(float* z, const float* x, const float* y, size_t count) {
  const __m256 scale = _mm256_set1_ps(0.5f);
  for (size_t i = 0; i + 32 <= count; i += 32) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 32; j += 8) {
      const __m256 value = _mm256_fmadd_ps(_mm256_loadu_ps(y + i + j), scale, _mm256_loadu_ps(x + i + j));
      if constexpr (kNonTemporal) {
        _mm256_stream_ps(z + i + j, value);
      } else {
        _mm256_storeu_ps(z + i + j, value);
      }
    }
  }
  if constexpr (kNonTemporal) _mm_sfence();
}

bool hasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#elif defined(__aarch64__)

double fmaNeon(float* sink) {
  constexpr int kChains = 20;
  float32x4_t sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = vdupq_n_f32(1.0f + 0.01f * static_cast<float>(i));
  const float32x4_t scale = vdupq_n_f32(0.001f), shift = vdupq_n_f32(0.999f);
  for (int step = 0; step < kSteps; step++) {
#pragma GCC unroll 20
    // The instruction adds a product to its destination, so each chain grows by the same small number.
    for (int i = 0; i < kChains; i++) sums[i] = vfmaq_f32(sums[i], scale, shift);
  }
  for (int i = 1; i < kChains; i++) sums[0] = vaddq_f32(sums[0], sums[i]);
  *sink = vgetq_lane_f32(sums[0], 0);
  return 2.0 * 4 * kChains * kSteps;
}

#endif

double fmaPlain(float* sink) {
  constexpr int kChains = 16;
  float sums[kChains];
  for (int i = 0; i < kChains; i++) sums[i] = 1.0f + 0.01f * static_cast<float>(i);
  for (int step = 0; step < kSteps; step++) {
    for (int i = 0; i < kChains; i++) sums[i] = sums[i] * 0.999f + 0.001f;
  }
  for (int i = 1; i < kChains; i++) sums[0] += sums[i];
  *sink = sums[0];
  return 2.0 * kChains * kSteps;
}

std::vector<FmaRun> fmaRuns() {
  std::vector<FmaRun> runs;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) runs.push_back(fmaAvx512);
  if (hasAvx2()) runs.push_back(fmaAvx2);
#elif defined(__aarch64__)
  runs.push_back(fmaNeon);
#endif
  if (runs.empty()) runs.push_back(fmaPlain);
  return runs;
}

enum class Stream { kRead, kCopy, kTriad, kNonTemporal };

// Parts of an array that one thread goes over, and how often its bytes cross: read 1, copy 2, triad 3 times. What a
// store reads of the line it writes to is not counted.
struct Part {
  float *x, *y, *z;
  size_t count;
};

void pass(Stream kind, const Part& part, float* sink) {
#if defined(__x86_64__)
  if (hasAvx2()) {
    switch (kind) {
      case Stream::kRead:
        *sink = readAvx2(part.x, part.count);
        return;
      case Stream::kCopy:
        return copyAvx2(part.y, part.x, part.count);
      case Stream::kTriad:
        return triadAvx2<false>(part.z, part.x, part.y, part.count);
      case Stream::kNonTemporal:
        return triadAvx2<true>(part.z, part.x, part.y, part.count);
    }
  }
#endif
  float sums[16] = {};
  switch (kind) {
    case Stream::kRead:
      for (size_t i = 0; i + 16 <= part.count; i += 16) {
        for (size_t j = 0; j < 16; j++) sums[j] += part.x[i + j];
      }
      for (const float sum : sums) *sink += sum;
      return;
    case Stream::kCopy:
      std::memcpy(part.y, part.x, part.count * sizeof(float));
      return;
    case Stream::kTriad:
    case Stream::kNonTemporal:
      for (size_t i = 0; i < part.count; i++) part.z[i] = part.x[i] + 0.5f * part.y[i];
      return;
  }
}

class Limits final : public Engine {
 public:
  explicit Limits(int threads) : threads_(threads) {}

  std::string version() const override { return "the machine"; }

  double measure(const Request& request) override {
    if (request.word(0) == "fma" && request.size() == 2) return fma(request.number(1));
    if (request.word(0) == "stream" && request.size() == 4) {
      return stream(request.word(1), request.count(2), request.number(3));
    }
    throw std::runtime_error("limits: unknown request " + request.word(0));
  }

 private:
  double fma(double seconds) {
    double best = 0;
    const auto runs = fmaRuns();
    for (const FmaRun run : runs) {
      const double share = seconds / static_cast<double>(runs.size());
      best = std::max(best, together(share, [run](int, float* sink) { return run(sink); }));
    }
    return best;
  }

  double stream(const std::string& name, int64_t bytes, double seconds) {
    const Stream kind = name == "read"    ? Stream::kRead
                        : name == "copy"  ? Stream::kCopy
                        : name == "triad" ? Stream::kTriad
                        : name == "nt"    ? Stream::kNonTemporal
                                          : throw std::runtime_error("expected read, copy, triad or nt, got " + name);
    const size_t arrays = kind == Stream::kRead ? 1 : kind == Stream::kCopy ? 2 : 3;
    const size_t whole = static_cast<size_t>(bytes) / sizeof(float) / arrays;
    const size_t part = whole / static_cast<size_t>(threads_) / 64 * 64;
    if (part == 0) throw std::runtime_error("stream: " + std::to_string(bytes) + " bytes are too few");
    const size_t count = part * static_cast<size_t>(threads_);
    if (!memory_ || capacity_ < count * arrays) {
      memory_.reset();
      memory_ = std::make_unique<Buffer>(count * arrays);
      capacity_ = count * arrays;
    }
    float* x = memory_->data();
    float* y = arrays > 1 ? x + count : x;
    float* z = arrays > 2 ? x + 2 * count : x;
    return together(seconds, [=](int thread, float* sink) {
      const size_t at = part * static_cast<size_t>(thread);
      const Part mine{x + at, y + at, z + at, part};
      // Small parts many times, so that the clock is read seldom.
      const int times = static_cast<int>(std::max<size_t>(1, (size_t{1} << 20) / part));
      for (int i = 0; i < times; i++) pass(kind, mine, sink);
      return static_cast<double>(times) * static_cast<double>(arrays * part * sizeof(float));
    });
  }

  // All threads do `work` from a common start until the time is over; the sum of what they did, per second.
  double together(double seconds, const std::function<double(int, float*)>& work) {
    std::barrier start(threads_);
    std::vector<double> rates(static_cast<size_t>(threads_));
    const auto run = [&](int thread) {
      float sink = 0;
      work(thread, &sink);
      start.arrive_and_wait();
      const double began = now();
      double done = 0, spent = 0;
      do {
        done += work(thread, &sink);
        spent = now() - began;
      } while (spent < seconds);
      rates[static_cast<size_t>(thread)] = done / spent;
      sink_ = sink;
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads_; thread++) others.emplace_back(run, thread);
    run(0);
    for (auto& other : others) other.join();
    double sum = 0;
    for (const double one : rates) sum += one;
    return sum;
  }

  int threads_;
  std::unique_ptr<Buffer> memory_;
  size_t capacity_ = 0;
  std::atomic<float> sink_{0};
};

}  // namespace

std::unique_ptr<Engine> makeLimits(int threads) { return std::make_unique<Limits>(threads); }
