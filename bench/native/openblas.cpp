// OpenBLAS as a peer, found at run time.
#include <dlfcn.h>

#include "bench.h"

namespace {

constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;

using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);

class OpenBlas final : public Engine {
 public:
  explicit OpenBlas(int threads) {
    // The name with the ABI number first; the others where only a development package or another system's naming is
    // there.
    for (const char* name : {"libopenblas.so.0", "libopenblas.so", "libopenblas.dylib"}) {
      if ((library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL))) break;
    }
    if (!library_) throw std::runtime_error("no libopenblas.so.0 (Debian: apt-get install libopenblas0-pthread)");
    sgemm_ = symbol<Sgemm>("cblas_sgemm");
    symbol<void (*)(int)>("openblas_set_num_threads")(threads);
  }

  std::string version() const override { return symbol<char* (*)()>("openblas_get_config")(); }

  double measure(const Request& request) override {
    if (request.word(0) != "gemm" || request.size() != 7) throw std::runtime_error("openblas: only gemm");
    const int64_t m = request.count(1), n = request.count(2), k = request.count(3);
    const bool ta = request.count(4) != 0, tb = request.count(5) != 0;
    const Buffer a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n)), c(static_cast<size_t>(m * n));
    const int lda = static_cast<int>(ta ? m : k), ldb = static_cast<int>(tb ? k : n), ldc = static_cast<int>(n);
    return rate(
        [&] {
          sgemm_(kRowMajor, ta ? kTrans : kNoTrans, tb ? kTrans : kNoTrans, static_cast<int>(m), static_cast<int>(n),
                 static_cast<int>(k), 1.0f, a.data(), lda, b.data(), ldb, 0.0f, c.data(), ldc);
        },
        request.number(6));
  }

 private:
  template <class F>
  F symbol(const char* name) const {
    void* found = dlsym(library_, name);
    if (!found) throw std::runtime_error(std::string("openblas: no symbol ") + name);
    return reinterpret_cast<F>(found);
  }

  void* library_ = nullptr;
  Sgemm sgemm_ = nullptr;
};

}  // namespace

std::unique_ptr<Engine> makeOpenBlas(int threads) { return std::make_unique<OpenBlas>(threads); }
