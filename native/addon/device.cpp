// The Device class of the addon: each method checks its arguments and hands them to core/device.h.
#include "device.h"

#include <cmath>

#include "cuda.h"

namespace gyrus::addon {
namespace {

constexpr napi_type_tag kDeviceTag = {0x6779727573446576ull, 0x9b1d6c0f3e57a241ull};
constexpr double kMost = 9007199254740991.0;
constexpr std::size_t kCommandNumbers = std::size_t{1} << 18;
constexpr std::size_t kReleasedNumbers = 64;

using Shared = std::shared_ptr<Holder>;

Shared& holderOf(napi_env env, const Arguments& args, const char* method) {
  auto& holder = *static_cast<Shared*>(unwrap(env, args.self(), kDeviceTag, method));
  if (holder->device().disposed()) throw Error(Code::Disposed, std::string(method) + ": the device was disposed of");
  return holder;
}

napi_value toNumber(napi_env env, double v) {
  napi_value result;
  must(env, napi_create_double(env, v, &result), "number");
  return result;
}

// The methods share this frame: arguments, the device behind `this`, errors.
template <class F>
napi_value method(napi_env env, napi_callback_info info, const char* name, F&& f) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, name);
    const Shared holder = holderOf(env, args, name);
    return f(args, holder);
  });
}

napi_value alloc(napi_env env, napi_callback_info info) {
  return method(env, info, "alloc", [&](const Arguments& args, const Shared& holder) {
    const double handle = holder->device().alloc(args.number(0, "bytes"));
    holder->reportMemory();
    return toNumber(env, handle);
  });
}

napi_value release(napi_env env, napi_callback_info info) {
  return method(env, info, "release", [&](const Arguments& args, const Shared& holder) -> napi_value {
    holder->device().release(args.number(0, "handle"));
    holder->reportMemory();
    return nullptr;
  });
}

napi_value write(napi_env env, napi_callback_info info) {
  return method(env, info, "write", [&](const Arguments& args, const Shared& holder) -> napi_value {
    const double handle = args.number(0, "handle"), offset = args.number(1, "byteOffset");
    const Bytes b = typedArray(env, args[2], "write: data");
    holder->device().write(handle, offset, b.data, b.bytes);
    return nullptr;
  });
}

napi_value read(napi_env env, napi_callback_info info) {
  return method(env, info, "read", [&](const Arguments& args, const Shared& holder) -> napi_value {
    const double handle = args.number(0, "handle"), offset = args.number(1, "byteOffset");
    const Bytes b = typedArray(env, args[2], "read: into");
    Completion completion;
    const napi_value promise = holder->promise(args.self(), args[2], b.bytes, &completion);
    try {
      holder->device().read(handle, offset, b.bytes, std::move(completion));
    } catch (...) {
      holder->abandon();
      throw;
    }
    return promise;
  });
}

napi_value readSync(napi_env env, napi_callback_info info) {
  return method(env, info, "readSync", [&](const Arguments& args, const Shared& holder) -> napi_value {
    const double handle = args.number(0, "handle"), offset = args.number(1, "byteOffset");
    const Bytes b = typedArray(env, args[2], "readSync: into");
    holder->device().readSync(handle, offset, b.data, b.bytes);
    return nullptr;
  });
}

// The hot path: functions of their own per device, bound to the holder, so that nothing has to be unwrapped. Their
// arguments are whole numbers, 0 for a missing one.
template <std::size_t N, class F>
napi_value bound(napi_env env, napi_callback_info info, const char* name, F&& f) {
  std::size_t count = N;
  napi_value given[N];
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, given, nullptr, &data) != napi_ok) return nullptr;
  Holder& holder = **static_cast<Shared*>(data);
  return guarded(env, [&]() -> napi_value {
    if (holder.device().disposed()) throw Error(Code::Disposed, std::string(name) + ": the device was disposed of");
    double arguments[N] = {};
    for (std::size_t i = 0; i < N && i < count; ++i)
      if (napi_get_value_double(env, given[i], &arguments[i]) != napi_ok) arguments[i] = -1;
    f(holder, arguments);
    holder.reportMemory();
    return nullptr;
  });
}

// Gives the buffers back whose handles stand in the first `count` places of the shared array.
void releaseFirst(napi_env env, Holder& holder, double count, const char* name) {
  std::size_t most = 0;
  double* handles = holder.released.get(env, &most);
  if (!(count >= 0 && count <= static_cast<double>(most)))
    throw Error(Code::Config, std::string(name) + ": expected a number of released buffers, 0 to " +
                                  std::to_string(most) + ", got " + describeNumber(count));
  const auto n = static_cast<std::size_t>(count);
  std::optional<Error> first;  // the others are given back all the same
  for (std::size_t i = 0; i < n; ++i) try {
      holder.device().release(handles[i]);
    } catch (const Error& e) {
      if (!first) first = e;
    }
  if (first) throw *first;
}

napi_value enqueue(napi_env env, napi_callback_info info) {
  return bound<2>(env, info, "enqueue", [&](Holder& holder, const double* arguments) {
    if (arguments[1] != 0) releaseFirst(env, holder, arguments[1], "enqueue");
    std::size_t most = 0;
    double* command = holder.command.get(env, &most);
    const double length = arguments[0];
    if (!(length >= 0 && length <= static_cast<double>(most)))
      throw Error(Code::Config, "enqueue: expected the length of a command, 4 to " + std::to_string(most) +
                                    " numbers, got " + describeNumber(length));
    holder.device().enqueue(command, static_cast<std::size_t>(length));
  });
}

napi_value releaseMany(napi_env env, napi_callback_info info) {
  return bound<1>(env, info, "releaseMany", [&](Holder& holder, const double* arguments) {
    releaseFirst(env, holder, arguments[0], "releaseMany");
  });
}

napi_value fence(napi_env env, napi_callback_info info) {
  return method(env, info, "fence", [&](const Arguments& args, const Shared& holder) -> napi_value {
    Completion completion;
    const napi_value promise = holder->promise(args.self(), nullptr, 0, &completion);
    try {
      holder->device().fence(std::move(completion));
    } catch (...) {
      holder->abandon();
      throw;
    }
    return promise;
  });
}

napi_value sync(napi_env env, napi_callback_info info) {
  return method(env, info, "sync", [&](const Arguments&, const Shared& holder) -> napi_value {
    holder->device().sync();
    return nullptr;
  });
}

napi_value beginCapture(napi_env env, napi_callback_info info) {
  return method(env, info, "beginCapture", [&](const Arguments& args, const Shared& holder) -> napi_value {
    const std::vector<double> inputs = args.numbers(0, "inputs");
    holder->device().beginCapture(inputs);
    return nullptr;
  });
}

napi_value endCapture(napi_env env, napi_callback_info info) {
  return method(env, info, "endCapture", [&](const Arguments&, const Shared& holder) -> napi_value {
    return createGraph(env, holder, holder->device().endCapture());
  });
}

napi_value abortCapture(napi_env env, napi_callback_info info) {
  return method(env, info, "abortCapture", [&](const Arguments&, const Shared& holder) -> napi_value {
    holder->device().abortCapture();
    holder->reportMemory();
    return nullptr;
  });
}

napi_value memory(napi_env env, napi_callback_info info) {
  return method(env, info, "memory", [&](const Arguments&, const Shared& holder) -> napi_value {
    const MemoryInfo m = holder->device().memory();
    Napi::Object result = Napi::Object::New(env);
    const auto set = [&](const char* key, std::size_t v) { result.Set(key, static_cast<double>(v)); };
    set("bytesInUse", m.bytesInUse);
    set("peakBytes", m.peakBytes);
    set("bytesReserved", m.bytesReserved);
    set("buffers", m.buffers);
    set("graphBytes", m.graphBytes);
    set("queued", m.queued);
    return result;
  });
}

napi_value trim(napi_env env, napi_callback_info info) {
  return method(env, info, "trim", [&](const Arguments&, const Shared& holder) -> napi_value {
    holder->device().trim();
    return nullptr;
  });
}

// An argument of createLoader: nothing, or [height, width, channels, padding, flip, key, key].
std::optional<Loader::Augment> augmentOf(const Arguments& args, std::size_t features) {
  constexpr double kWord = 4294967295.0, kExtent = 2147483647.0;
  const std::vector<double> given = args.numbers(6, "augment");
  if (given.empty()) return std::nullopt;
  const auto whole = [&](std::size_t i, double most) {
    return given[i] >= 0 && given[i] <= most && given[i] == std::floor(given[i]);
  };
  if (given.size() != 7 || !whole(0, kExtent) || !whole(1, kExtent) || !whole(2, kExtent) || !whole(3, 65535) ||
      !(given[4] >= 0 && given[4] <= 1) || !whole(5, kWord) || !whole(6, kWord))
    throw Error(Code::Config,
                "createLoader: augment: expected [height, width, channels, padding, flip, key, key] or nothing");
  // As doubles the product can't overflow; equal to a number of 31 bits it is exact.
  if (given[0] * given[1] * given[2] != static_cast<double>(features))
    throw Error(Code::Shape, "createLoader: augment: expected height, width and channels of a row of " +
                                 std::to_string(features) + " numbers");
  const auto at = [&](std::size_t i) { return static_cast<std::int64_t>(given[i]); };
  return Loader::Augment{at(0), at(1),    at(2),
                         at(3), given[4], {static_cast<std::uint32_t>(at(5)), static_cast<std::uint32_t>(at(6))}};
}

// The last argument of createLoader: nothing, or [kind, alpha, probability, kappa, tau, epochs, height, width,
// channels, key, key].
std::optional<Mix> mixOf(const Arguments& args, std::size_t features) {
  constexpr double kWord = 4294967295.0, kExtent = 2147483647.0;
  const std::vector<double> given = args.numbers(7, "mix");
  if (given.empty()) return std::nullopt;
  const auto whole = [&](std::size_t i, double most) {
    return given[i] >= 0 && given[i] <= most && given[i] == std::floor(given[i]);
  };
  const auto fraction = [&](std::size_t i) { return given[i] >= 0 && given[i] <= 1; };
  if (given.size() != 11 || !whole(0, 2) || !(given[1] > 0 && std::isfinite(given[1])) || !fraction(2) ||
      !(given[3] >= 1 && std::isfinite(given[3])) || !fraction(4) || !whole(5, kWord) || !whole(6, kExtent) ||
      !whole(7, kExtent) || !whole(8, kExtent) || !whole(9, kWord) || !whole(10, kWord))
    throw Error(
        Code::Config,
        "createLoader: mix: expected [kind, alpha, probability, kappa, tau, epochs, height, width, channels, key, "
        "key] or nothing");
  const auto at = [&](std::size_t i) { return static_cast<std::int64_t>(given[i]); };
  const Mix mix{static_cast<Mix::Kind>(at(0)),
                given[1],
                given[2],
                given[3],
                given[4],
                at(5),
                at(6),
                at(7),
                at(8),
                {static_cast<std::uint32_t>(at(9)), static_cast<std::uint32_t>(at(10))}};
  if (mix.kind == Mix::Kind::CutMix && given[6] * given[7] * given[8] != static_cast<double>(features))
    throw Error(Code::Shape, "createLoader: mix: expected height, width and channels of a row of " +
                                 std::to_string(features) + " numbers");
  return mix;
}

napi_value makeLoader(napi_env env, napi_callback_info info) {
  return method(env, info, "createLoader", [&](const Arguments& args, const Shared& holder) -> napi_value {
    const auto features = static_cast<std::size_t>(args.integer(2, "features", 1, 2147483647));
    Loader::Data d;
    // Before the arrays, since the elements of these may run JavaScript.
    d.augment = augmentOf(args, features);
    d.mix = mixOf(args, features);
    const Bytes data = typedArray(env, args[0], "createLoader: data");
    const Bytes labels = typedArray(env, args[1], "createLoader: labels");
    if (data.type != napi_uint8_array && data.type != napi_float32_array)
      throw Error(Code::Config, "createLoader: data: expected a Uint8Array or a Float32Array");
    if (labels.type != napi_int32_array) throw Error(Code::Config, "createLoader: labels: expected an Int32Array");
    if (data.length % features != 0 || data.length / features != labels.length)
      throw Error(Code::Shape, "createLoader: expected rows of " + std::to_string(features) + " numbers for " +
                                   std::to_string(labels.length) + " labels, got " + std::to_string(data.length) +
                                   " numbers");
    if (labels.length > 2147483647) throw Error(Code::Shape, "createLoader: more than 2^31 - 1 rows");
    d.rows = static_cast<std::int64_t>(labels.length);
    d.features = static_cast<std::int64_t>(features);
    const auto perChannel = [&](std::size_t i, const char* name, std::vector<float>& into) {
      const Bytes given = typedArray(env, args[i], std::string("createLoader: ") + name);
      if (given.type != napi_float32_array || given.length < 1 || features % given.length != 0)
        throw Error(Code::Config, std::string("createLoader: ") + name +
                                      ": expected a Float32Array whose length divides " + std::to_string(features));
      const auto* from = static_cast<const float*>(given.data);
      into.assign(from, from + given.length);
    };
    perChannel(3, "scale", d.scale);
    perChannel(4, "shift", d.shift);
    const std::size_t channels = d.scale.size();
    if (d.shift.size() != channels ||
        (d.augment && channels > 1 && static_cast<std::size_t>(d.augment->channels) != channels))
      throw Error(Code::Config, "createLoader: expected one scale and shift, or one for each channel");
    const int prefetch = static_cast<int>(args.integer(5, "prefetch", 1, 64));
    if (data.type == napi_uint8_array) {
      const auto* from = static_cast<const std::uint8_t*>(data.data);
      d.bytes.assign(from, from + data.length);
    } else {
      const auto* from = static_cast<const float*>(data.data);
      d.floats.assign(from, from + data.length);
    }
    const auto* from = static_cast<const std::int32_t*>(labels.data);
    d.labels.assign(from, from + labels.length);
    return createLoader(env, holder, holder->device().createLoader(std::move(d), prefetch));
  });
}

napi_value dispose(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "dispose");
    const Shared holder = *static_cast<Shared*>(unwrap(env, args.self(), kDeviceTag, "dispose"));
    holder->dispose();
    return nullptr;
  });
}

napi_value constructDevice(napi_env env, napi_callback_info info) {
  return construct<Shared>(env, info, kDeviceTag, "Device");
}

// A whole number from an options object; absent or undefined leaves the default.
void option(Napi::Object options, const char* name, double most, std::size_t* value) {
  const Napi::Value given = options.Get(name);
  if (given.IsUndefined()) return;
  const double v = given.IsNumber() ? given.As<Napi::Number>().DoubleValue() : -1;
  if (!(v >= 1 && v <= most) || v != static_cast<double>(static_cast<std::uint64_t>(v)))
    throw Error(Code::Config, std::string("createDevice: ") + name + ": expected an integer from 1 to " +
                                  describeNumber(most) + ", got " +
                                  (given.IsNumber() ? describeNumber(v) : std::string("no number")));
  *value = static_cast<std::size_t>(v);
}

void text(Napi::Object options, const char* name, std::string* value) {
  const Napi::Value given = options.Get(name);
  if (given.IsString())
    *value = given.As<Napi::String>();
  else if (!given.IsUndefined())
    throw Error(Code::Config, std::string("createDevice: ") + name + ": expected a name");
}

}  // namespace

void defineClasses(Napi::Env env, Environment& environment) {
  environment.device = defineClass(env, "NativeDevice", constructDevice,
                                   {{"alloc", alloc},
                                    {"release", release},
                                    {"write", write},
                                    {"read", read},
                                    {"readSync", readSync},
                                    {"fence", fence},
                                    {"sync", sync},
                                    {"beginCapture", beginCapture},
                                    {"endCapture", endCapture},
                                    {"abortCapture", abortCapture},
                                    {"memory", memory},
                                    {"trim", trim},
                                    {"createLoader", makeLoader},
                                    {"dispose", dispose}});
  defineGraph(env, environment);
  defineLoader(env, environment);
}

napi_value createDevice(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "createDevice");
    Stream::Options options;
    std::string name = "cpu", precision;
    const Napi::Value given(env, args[0]);
    if (given.IsObject()) {
      text(given.As<Napi::Object>(), "device", &name);
      text(given.As<Napi::Object>(), "precision", &precision);
      option(given.As<Napi::Object>(), "maxQueuedCalls", 1 << 20, &options.maxCalls);
      option(given.As<Napi::Object>(), "maxQueuedBytes", kMost, &options.maxBytes);
    } else if (!given.IsUndefined()) {
      throw Error(Code::Config, "createDevice: expected an object of options");
    }
    const Shared holder = std::make_shared<Holder>(env, openDevice(name, options, precision));
    const napi_value wrapper = instantiate(env, environmentOf(env).device, std::make_unique<Shared>(holder));

    const auto own = [&](const char* name, napi_callback callback) {
      napi_value function;
      auto* data = new Shared(holder);
      must(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function), "createDevice");
      must(env,
           napi_add_finalizer(
               env, function, data, [](napi_env, void* d, void*) { delete static_cast<Shared*>(d); }, nullptr, nullptr),
           "createDevice");
      return napi_property_descriptor{name, nullptr, nullptr, nullptr, nullptr, function, napi_enumerable, nullptr};
    };
    const auto array = [&](const char* name, SharedNumbers& numbers, std::size_t count) {
      return napi_property_descriptor{
          name, nullptr, nullptr, nullptr, nullptr, numbers.make(env, count), napi_enumerable, nullptr};
    };
    Napi::Array missing = Napi::Array::New(env);
    for (int op = 0; op < kOpCount; ++op)
      if (!holder->device().has(static_cast<Op>(op))) missing.Set(missing.Length(), kOpNames[op]);
    const napi_property_descriptor properties[] = {
        {"missing", nullptr, nullptr, nullptr, nullptr, missing, napi_enumerable, nullptr},
        own("enqueue", enqueue),
        own("releaseMany", releaseMany),
        array("command", holder->command, kCommandNumbers),
        array("released", holder->released, kReleasedNumbers),
    };
    must(env, napi_define_properties(env, wrapper, std::size(properties), properties), "createDevice");
    return wrapper;
  });
}

}  // namespace gyrus::addon
