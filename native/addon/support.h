// What every function of the addon needs: arguments read with checks, C++ exceptions turned into JavaScript errors with
// a `code`, and the data kept per environment.
#pragma once
#include <napi.h>

#include <new>
#include <string>
#include <vector>

#include "core/error.h"

namespace gyrus::addon {

// Per environment (main thread or worker).
struct Environment {
  Napi::FunctionReference device, graph, loader;  // constructors
  void* constructing = nullptr;                   // what the constructor that runs now shall wrap
};

Environment& environmentOf(napi_env env);

// Throws in C++ when a Node-API call fails; a pending JavaScript exception goes on as it is.
void must(napi_env env, napi_status status, const char* what);

void throwToJavaScript(napi_env env, const Error& error);
napi_value makeError(napi_env env, const Error& error);

// Runs f and turns whatever it throws into a JavaScript exception.
template <class F>
napi_value guarded(napi_env env, F&& f) noexcept {
  try {
    return f();
  } catch (const Error& e) {
    throwToJavaScript(env, e);
  } catch (const Napi::Error& e) {
    e.ThrowAsJavaScriptException();
  } catch (const std::bad_alloc&) {
    throwToJavaScript(env, Error(Code::OutOfMemory, "no memory left"));
  } catch (const std::exception& e) {
    throwToJavaScript(env, Error(Code::Internal, e.what()));
  }
  return nullptr;
}

// The arguments of one call; a missing one is undefined.
class Arguments {
 public:
  static constexpr std::size_t kMost = 8;
  Arguments(napi_env env, napi_callback_info info, const char* method);
  napi_value self() const { return self_; }
  void* data() const { return data_; }
  napi_value operator[](std::size_t i) const { return values_[i]; }

  double number(std::size_t i, const char* name) const;
  // An integer from low to high.
  double integer(std::size_t i, const char* name, double low, double high) const;
  bool boolean(std::size_t i, const char* name) const;
  std::vector<double> numbers(std::size_t i, const char* name) const;

 private:
  napi_env env_;
  const char* method_;
  napi_value self_ = nullptr;
  void* data_ = nullptr;
  napi_value values_[kMost];
};

struct Bytes {
  napi_typedarray_type type;
  void* data;
  std::size_t length;  // elements
  std::size_t bytes;
};

// A typed array that isn't detached; the pointer is good until JavaScript runs again.
Bytes typedArray(napi_env env, napi_value value, const std::string& what);

// A class without methods of its own and functions on its prototype: unlike those of a class template they are called
// on any `this`, so that a foreign one gets our typed error and not V8's.
struct Method {
  const char* name;
  napi_callback callback;
  bool getter = false;
};
Napi::FunctionReference defineClass(napi_env env, const char* name, napi_callback constructor,
                                    const std::vector<Method>& methods);

// The object behind a wrapper of ours, by its type tag. Throws Error(Device) for anything else.
void* unwrap(napi_env env, napi_value self, const napi_type_tag& tag, const char* what);

}  // namespace gyrus::addon
