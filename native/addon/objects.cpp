// The Graph and Loader classes of the addon.
#include <cstring>

#include "device.h"

namespace gyrus::addon {
namespace {

constexpr napi_type_tag kGraphTag = {0x6779727573477261ull, 0x5ae2c7b8104d93f6ull};
constexpr napi_type_tag kLoaderTag = {0x67797275734c6f61ull, 0xc30f58d9a6721be4ull};

struct GraphObject {
  std::shared_ptr<Holder> holder;
  std::shared_ptr<Graph> graph;
  std::size_t calls;
  GraphObject(std::shared_ptr<Holder> h, std::shared_ptr<Graph> g)
      : holder(std::move(h)), graph(std::move(g)), calls(graph->program()->calls()) {}
  GraphObject(const GraphObject&) = delete;
  GraphObject& operator=(const GraphObject&) = delete;
  ~GraphObject() { graph->dispose(); }
};

struct LoaderObject {
  std::shared_ptr<Holder> holder;
  std::shared_ptr<Loader> loader;
  LoaderObject(std::shared_ptr<Holder> h, std::shared_ptr<Loader> l) : holder(std::move(h)), loader(std::move(l)) {}
  LoaderObject(const LoaderObject&) = delete;
  LoaderObject& operator=(const LoaderObject&) = delete;
  ~LoaderObject() { loader->dispose(); }
};

napi_value replay(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "replay");
    const std::vector<double> inputs = args.numbers(0, "inputs");
    auto& object = *static_cast<GraphObject*>(unwrap(env, args.self(), kGraphTag, "replay"));
    object.holder->device().replay(*object.graph, inputs);
    return nullptr;
  });
}

napi_value calls(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "calls");
    auto& object = *static_cast<GraphObject*>(unwrap(env, args.self(), kGraphTag, "calls"));
    napi_value result;
    must(env, napi_create_double(env, static_cast<double>(object.calls), &result), "calls");
    return result;
  });
}

napi_value disposeGraph(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "dispose");
    auto& object = *static_cast<GraphObject*>(unwrap(env, args.self(), kGraphTag, "dispose"));
    object.graph->dispose();
    if (!object.holder->device().disposed()) object.holder->reportMemory();
    return nullptr;
  });
}

napi_value start(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "start");
    auto& object = *static_cast<LoaderObject*>(unwrap(env, args.self(), kLoaderTag, "start"));
    const Bytes order = typedArray(env, args[0], "start: order");
    if (order.type != napi_int32_array) throw Error(Code::Config, "start: order: expected an Int32Array");
    const auto batchSize = static_cast<std::int64_t>(args.integer(1, "batchSize", 1, 2147483647));
    const bool dropLast = args.boolean(2, "dropLast");
    const auto epoch = static_cast<std::uint32_t>(args.integer(3, "epoch", 0, 4294967295.0));
    const auto first = static_cast<std::int64_t>(args.integer(4, "first", 0, 4503599627370496.0));
    const auto* from = static_cast<const std::int32_t*>(order.data);
    object.loader->start(std::vector<std::int32_t>(from, from + order.length), batchSize, dropLast, epoch, first);
    return nullptr;
  });
}

napi_value next(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "next");
    auto& object = *static_cast<LoaderObject*>(unwrap(env, args.self(), kLoaderTag, "next"));
    const std::optional<Device::Batch> batch = object.holder->device().nextBatch(object.loader);
    if (!batch) return Napi::Env(env).Null();
    object.holder->reportMemory();
    Napi::Array result = Napi::Array::New(env, object.loader->mixes() ? 5 : 3);
    result.Set(0u, batch->x);
    result.Set(1u, batch->y);
    result.Set(2u, static_cast<double>(batch->rows));
    if (object.loader->mixes()) {
      result.Set(3u, batch->other);
      result.Set(4u, batch->share);
    }
    return result;
  });
}

napi_value disposeLoader(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, "dispose");
    static_cast<LoaderObject*>(unwrap(env, args.self(), kLoaderTag, "dispose"))->loader->dispose();
    return nullptr;
  });
}

napi_value constructGraph(napi_env env, napi_callback_info info) {
  return construct<GraphObject>(env, info, kGraphTag, "NativeGraph");
}

napi_value constructLoader(napi_env env, napi_callback_info info) {
  return construct<LoaderObject>(env, info, kLoaderTag, "NativeLoader");
}

}  // namespace

void defineGraph(Napi::Env env, Environment& environment) {
  environment.graph = defineClass(env, "NativeGraph", constructGraph,
                                  {{"replay", replay}, {"dispose", disposeGraph}, {"calls", calls, true}});
}

void defineLoader(Napi::Env env, Environment& environment) {
  environment.loader =
      defineClass(env, "NativeLoader", constructLoader, {{"start", start}, {"next", next}, {"dispose", disposeLoader}});
}

napi_value createGraph(napi_env env, const std::shared_ptr<Holder>& holder, std::shared_ptr<Graph> graph) {
  auto object = std::make_unique<GraphObject>(holder, std::move(graph));
  return instantiate(env, environmentOf(env).graph, std::move(object));
}

napi_value createLoader(napi_env env, const std::shared_ptr<Holder>& holder, std::shared_ptr<Loader> loader) {
  auto object = std::make_unique<LoaderObject>(holder, std::move(loader));
  return instantiate(env, environmentOf(env).loader, std::move(object));
}

}  // namespace gyrus::addon
