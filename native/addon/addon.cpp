// The module: what src/device/native.ts calls NativeModule.
#include <iterator>

#include "core/features.h"
#include "core/host_memory.h"
#include "core/philox.h"
#include "core/pool.h"
#include "cpu/families.h"
#include "cuda.h"
#include "device.h"
#include "kernels/ops.h"

namespace gyrus::addon {
namespace {

template <std::size_t N>
Napi::Array names(Napi::Env env, const char* const (&list)[N]) {
  Napi::Array result = Napi::Array::New(env, N);
  for (std::size_t i = 0; i < N; ++i) result.Set(static_cast<std::uint32_t>(i), list[i]);
  return result;
}

napi_value threads(napi_env env, napi_callback_info) {
  return guarded(env, [&]() -> napi_value { return Napi::Number::New(env, Pool::threads()); });
}

napi_value setThreads(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "setThreads");
    Pool::setThreads(static_cast<int>(args.integer(0, "n", 1, 256)));
    return nullptr;
  });
}

napi_value philox(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "philox");
    const std::uint32_t key[2] = {static_cast<std::uint32_t>(args.integer(0, "seedLow", 0, 4294967295.0)),
                                  static_cast<std::uint32_t>(args.integer(1, "seedHigh", 0, 4294967295.0))};
    auto counter = static_cast<std::uint64_t>(args.integer(2, "counter", 0, 9007199254740991.0));
    const Bytes into = typedArray(env, args[3], "philox: into");
    if (into.type != napi_uint32_array) throw Error(Code::Config, "philox: into: expected a Uint32Array");
    auto* words = static_cast<std::uint32_t*>(into.data);
    for (std::size_t i = 0; i < into.length; i += 4, ++counter) {
      const std::uint32_t c[4] = {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0};
      std::uint32_t block[4];
      Philox::block(key, c, block);
      for (std::size_t j = 0; j < 4 && i + j < into.length; ++j) words[i + j] = block[j];
    }
    return nullptr;
  });
}

Napi::Object cpu(Napi::Env env) {
  const CpuFeatures& f = cpuFeatures();
  Napi::Object result = Napi::Object::New(env);
  result.Set("vendor", f.vendor);
  result.Set("brand", f.brand);
  result.Set("cores", f.cores);
  Napi::Array features = Napi::Array::New(env, f.names.size());
  for (std::size_t i = 0; i < f.names.size(); ++i) features.Set(static_cast<std::uint32_t>(i), f.names[i]);
  result.Set("features", features);
  return result;
}

// What is there now, which a driver may change while we run: [devices, why there are none].
napi_value cudaDevices(napi_env env, napi_callback_info) {
  return guarded(env, [&]() -> napi_value {
    std::string why;
    const std::vector<Gpu> found = gpus(&why);
    Napi::Array list = Napi::Array::New(env, found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      Napi::Object one = Napi::Object::New(env);
      one.Set("name", found[i].name);
      one.Set("model", found[i].model);
      one.Set("capability", found[i].capability);
      one.Set("memory", static_cast<double>(found[i].memory));
      one.Set("multiprocessors", found[i].multiprocessors);
      list.Set(static_cast<std::uint32_t>(i), one);
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("devices", list);
    result.Set("status", why);
    return result;
  });
}

std::string compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("gcc ") + __VERSION__;
#else
  return "unknown";
#endif
}

void fill(Napi::Env env, Napi::Object exports) {
  // What the environment variables force is checked first, so that a mistake is refused when the addon is loaded.
  const KernelTable& table = gyrus::cpu::activeTable();
  Pool::threads();
  memoryLimit();

  exports.Set("isa", table.isa);
  int count = 0;
  const KernelTable* const* tables = gyrus::cpu::tables(&count);
  Napi::Array isas = Napi::Array::New(env, static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) isas.Set(static_cast<std::uint32_t>(i), tables[i]->isa);
  exports.Set("isas", isas);
  exports.Set("forcedIsa", environment("GYRUS_ISA"));
  exports.Set("cpu", cpu(env));
  exports.Set("napiVersion", NAPI_VERSION);
  exports.Set("compiler", compiler());
  exports.Set("ops", names(env, kOpNames));
  Napi::Object kinds = Napi::Object::New(env);
  kinds.Set("unary", names(env, kUnaryKindNames));
  kinds.Set("binary", names(env, kBinaryKindNames));
  kinds.Set("reduce", names(env, kReduceKindNames));
  kinds.Set("arg", names(env, kArgKindNames));
  kinds.Set("activation", names(env, kActivationKindNames));
  kinds.Set("pool", names(env, kPoolKindNames));
  kinds.Set("random", names(env, kRandomKindNames));
  kinds.Set("score", names(env, kScoreKindNames));
  exports.Set("kinds", kinds);

  const auto function = [&](const char* name, napi_callback callback) {
    napi_value f;
    must(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &f), name);
    exports.Set(name, Napi::Value(env, f));
  };
  function("threads", threads);
  function("setThreads", setThreads);
  function("philox", philox);
  function("cudaDevices", cudaDevices);
  function("createDevice", createDevice);
}

napi_value init(napi_env env, napi_value exports) {
  return guarded(env, [&]() -> napi_value {
    auto data = std::make_unique<Environment>();
    Environment& environment = *data;
    must(env,
         napi_set_instance_data(
             env, data.get(), [](napi_env, void* d, void*) { delete static_cast<Environment*>(d); }, nullptr),
         "load");
    data.release();
    defineClasses(env, environment);
    fill(env, Napi::Object(env, exports));
    // The first hook of the environment, so the last to run: the devices are gone when the pool may join its workers.
    Pool::retain();
    must(env,
         napi_add_env_cleanup_hook(
             env, [](void*) { Pool::release(); }, nullptr),
         "load");
    return exports;
  });
}

}  // namespace
}  // namespace gyrus::addon

NAPI_MODULE(gyrus, gyrus::addon::init)
