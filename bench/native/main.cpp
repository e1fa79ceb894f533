// gyrus_bench_native limits|openblas|onednn|gpu|cublas THREADS: measures one library, or the machine, in a process of
// its own.
//
// Reads requests, one a line; S, the last word of a measurement, is its time in seconds. Each gets a line of JSON:
// {"rate": per second}, {"version": text} or {"error": text}.
//
// all:       version
// limits:    fma S                              FLOP of fused multiply-adds in registers
//            stream read|copy|triad|nt BYTES S  bytes moved to and from arrays of so many bytes in all
// libraries: gemm M N K TA TB S                 calls of C[M,N] = op(A) * op(B), row-major; TA, TB are 0 or 1
// onednn:    conv PASS N H W C K R S STRIDE PAD GROUPS LAYOUT S
//                                               calls; PASS is fwd, bwd_data or bwd_weights; C channels in, K out;
//                                               images are nhwc, or any for the layout that the library likes best
//            linear PASS M N K S                calls of an inner product of M rows, K inputs, N outputs
// gpu:       as limits, of the first GPU; where the program was built with nvcc on a machine that has one
// cublas:    gemm M N K TA TB PRECISION S       as the libraries; PRECISION is f32, tf32 or bf16 (inputs of that type)
#include <cstdio>
#include <iostream>
#include <sstream>

#include "bench.h"

namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

std::string answer(Engine& engine, const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  const Request request(std::move(words));
  if (request.word(0) == "version") return "{\"version\": " + quoted(engine.version()) + "}";
  char text[64];
  std::snprintf(text, sizeof text, "{\"rate\": %.9g}", engine.measure(request));
  return text;
}

std::unique_ptr<Engine> make(const std::string& name, int threads) {
  if (name == "limits") return makeLimits(threads);
  if (name == "openblas") return makeOpenBlas(threads);
  if (name == "onednn") return makeOneDnn(threads);
#ifdef GYRUS_BENCH_CUDA
  if (name == "gpu") return makeGpu();
  if (name == "cublas") return makeCuBlas();
  throw std::runtime_error("expected limits, openblas, onednn, gpu or cublas, got " + name);
#else
  throw std::runtime_error("expected limits, openblas or onednn, got " + name);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::atoi(argv[2]) < 1) {
    std::cerr << "usage: gyrus_bench_native limits|openblas|onednn THREADS\n";
    return 2;
  }
  std::unique_ptr<Engine> engine;
  std::string absent;
  try {
    engine = make(argv[1], std::atoi(argv[2]));
  } catch (const std::exception& error) {
    absent = error.what();
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::string reply;
    try {
      if (!engine) throw std::runtime_error(absent);
      reply = answer(*engine, line);
    } catch (const std::exception& error) {
      reply = "{\"error\": " + quoted(error.what()) + "}";
    }
    std::cout << reply << std::endl;
  }
}
