// The wrapped objects: Device, Graph and Loader, and what they share.
#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <unordered_set>

#include "core/device.h"
#include "support.h"

namespace gyrus::addon {

class Holder;

// A promise that the stream will settle.
struct Pending {
  Holder* holder;
  napi_deferred deferred = nullptr;
  napi_ref device = nullptr;  // keeps the wrapper, and with it the holder, until the promise is settled
  napi_ref into = nullptr;    // null for a fence
  std::size_t bytes = 0;
  std::optional<Error> error;
  std::unique_ptr<char[]> data;
};

// Numbers shared with a Float64Array of JavaScript's.
class SharedNumbers {
 public:
  // Creates the array, on first use of a new device.
  napi_value make(napi_env env, std::size_t count);
  double* get(napi_env env, std::size_t* length) {
    if (!memory_) return ask(env, length);
    *length = count_;
    return memory_.get();
  }

 private:
  double* ask(napi_env env, std::size_t* length);

  std::size_t count_ = 0;
  std::shared_ptr<double[]> memory_;
  napi_ref array_ = nullptr;  // where external memory isn't allowed: the array itself is asked each time
};

// One device and its ties to an environment. Lives as long as a wrapper or a bound function refers to it.
class Holder {
 public:
  Holder(napi_env env, std::unique_ptr<Device> device);
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder();

  Device& device() { return *device_; }
  SharedNumbers command, released;

  // A promise and the completion that settles it. `into` may be null.
  napi_value promise(napi_value wrapper, napi_value into, std::size_t bytes, Completion* completion);
  void abandon();  // the completion just made was never enqueued
  // Tells V8 how much memory hangs on its objects, once it has changed by some megabytes.
  void reportMemory() {
    const std::int64_t change = static_cast<std::int64_t>(device_->bytesInUse()) - reported_;
    if (change >= kReportStep || change <= -kReportStep) reportChange();
  }
  void dispose();

 private:
  static void onCleanup(void* self);
  static void onSettled(napi_env env, napi_value, void* context, void* data);
  void reportChange();
  void settle(napi_env env, Pending* pending);
  void forget(napi_env env, Pending* pending);
  void finishQueue();

  static constexpr std::int64_t kReportStep = std::int64_t{8} << 20;

  napi_env env_;
  std::unique_ptr<Device> device_;
  napi_threadsafe_function settled_ = nullptr;
  std::unordered_set<Pending*> pending_;
  Pending* newest_ = nullptr;
  std::atomic<bool> closing_{false};  // read by the stream's thread
  std::int64_t reported_ = 0;
};

void defineClasses(Napi::Env env, Environment& environment);
napi_value createDevice(napi_env env, napi_callback_info info);
napi_value createGraph(napi_env env, const std::shared_ptr<Holder>& holder, std::shared_ptr<Graph> graph);
napi_value createLoader(napi_env env, const std::shared_ptr<Holder>& holder, std::shared_ptr<Loader> loader);
void defineGraph(Napi::Env env, Environment& environment);
void defineLoader(Napi::Env env, Environment& environment);

// A class whose instances only this addon makes: the constructor wraps what stands in Environment::constructing.
template <class T>
napi_value construct(napi_env env, napi_callback_info info, const napi_type_tag& tag, const char* name) {
  return guarded(env, [&]() -> napi_value {
    Arguments args(env, info, name);
    Environment& environment = environmentOf(env);
    auto* object = static_cast<T*>(environment.constructing);
    if (!object) throw Error(Code::Config, std::string(name) + ": only the addon makes these");
    must(env,
         napi_wrap(
             env, args.self(), object, [](napi_env, void* data, void*) { delete static_cast<T*>(data); }, nullptr,
             nullptr),
         name);
    environment.constructing = nullptr;
    must(env, napi_type_tag_object(env, args.self(), &tag), name);
    return args.self();
  });
}

template <class T>
napi_value instantiate(napi_env env, Napi::FunctionReference& constructor, std::unique_ptr<T> object) {
  Environment& environment = environmentOf(env);
  environment.constructing = object.get();
  napi_value result;
  const napi_status status = napi_new_instance(env, constructor.Value(), 0, nullptr, &result);
  if (!environment.constructing) {
    object.release();  // wrapped: the wrapper frees it
  }
  environment.constructing = nullptr;
  must(env, status, "new");
  return result;
}

}  // namespace gyrus::addon
