#include "support.h"

#include <cmath>

#include "core/handles.h"

namespace gyrus::addon {
namespace {

std::size_t elementSize(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return 1;
    case napi_int16_array:
    case napi_uint16_array:
      return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array:
      return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array:
      return 8;
    default:
      return 0;
  }
}

const char* typeName(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  switch (type) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return "a boolean";
    case napi_number:
      return "a number";
    case napi_string:
      return "a string";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a bigint";
    default:
      return "an object";
  }
}

}  // namespace

Environment& environmentOf(napi_env env) {
  void* data = nullptr;
  must(env, napi_get_instance_data(env, &data), "instance data");
  if (!data) throw Error(Code::Internal, "the environment is shutting down");
  return *static_cast<Environment*>(data);
}

void must(napi_env env, napi_status status, const char* what) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw Napi::Error::New(env);
  throw Error(Code::Internal, std::string(what) + ": Node-API status " + std::to_string(status));
}

napi_value makeError(napi_env env, const Error& error) {
  napi_value code, message, result;
  if (napi_create_string_utf8(env, nameOf(error.code()), NAPI_AUTO_LENGTH, &code) != napi_ok ||
      napi_create_string_utf8(env, error.what(), NAPI_AUTO_LENGTH, &message) != napi_ok ||
      napi_create_error(env, code, message, &result) != napi_ok)
    return nullptr;
  return result;
}

void throwToJavaScript(napi_env env, const Error& error) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || pending) return;
  if (napi_value value = makeError(env, error)) napi_throw(env, value);
}

Arguments::Arguments(napi_env env, napi_callback_info info, const char* method) : env_(env), method_(method) {
  std::size_t count = kMost;
  must(env, napi_get_cb_info(env, info, &count, values_, &self_, &data_), method);
}

double Arguments::number(std::size_t i, const char* name) const {
  double value = 0;
  if (napi_get_value_double(env_, values_[i], &value) != napi_ok)
    throw Error(Code::Config,
                std::string(method_) + ": " + name + ": expected a number, got " + typeName(env_, values_[i]));
  return value;
}

double Arguments::integer(std::size_t i, const char* name, double low, double high) const {
  const double value = number(i, name);
  if (!(value >= low && value <= high) || value != std::floor(value))
    throw Error(Code::Config, std::string(method_) + ": " + name + ": expected an integer from " + describeNumber(low) +
                                  " to " + describeNumber(high) + ", got " + describeNumber(value));
  return value;
}

bool Arguments::boolean(std::size_t i, const char* name) const {
  bool value = false;
  if (napi_get_value_bool(env_, values_[i], &value) != napi_ok)
    throw Error(Code::Config,
                std::string(method_) + ": " + name + ": expected a boolean, got " + typeName(env_, values_[i]));
  return value;
}

std::vector<double> Arguments::numbers(std::size_t i, const char* name) const {
  constexpr std::uint32_t kLongest = 1 << 16;
  bool isArray = false;
  must(env_, napi_is_array(env_, values_[i], &isArray), method_);
  if (!isArray)
    throw Error(Code::Config, std::string(method_) + ": " + name + ": expected an array of numbers, got " +
                                  typeName(env_, values_[i]));
  std::uint32_t length = 0;
  must(env_, napi_get_array_length(env_, values_[i], &length), method_);
  if (length > kLongest)
    throw Error(Code::Config,
                std::string(method_) + ": " + name + ": at most 65536 numbers, got " + std::to_string(length));
  std::vector<double> result;
  result.reserve(length);
  for (std::uint32_t j = 0; j < length; ++j) {
    napi_value element;
    double value = 0;
    must(env_, napi_get_element(env_, values_[i], j, &element), method_);
    if (napi_get_value_double(env_, element, &value) != napi_ok)
      throw Error(Code::Config, std::string(method_) + ": " + name + "[" + std::to_string(j) +
                                    "]: expected a number, got " + typeName(env_, element));
    result.push_back(value);
  }
  return result;
}

Bytes typedArray(napi_env env, napi_value value, const std::string& what) {
  bool is = false;
  must(env, napi_is_typedarray(env, value, &is), what.c_str());
  if (!is) throw Error(Code::Config, what + ": expected a typed array, got " + typeName(env, value));
  Bytes b{};
  napi_value buffer;
  std::size_t offset = 0;
  must(env, napi_get_typedarray_info(env, value, &b.type, &b.length, &b.data, &buffer, &offset), what.c_str());
  bool detached = false;
  napi_is_detached_arraybuffer(env, buffer, &detached);
  if (detached) throw Error(Code::Config, what + ": the array's buffer was detached");
  const std::size_t size = elementSize(b.type);
  if (size == 0) throw Error(Code::Config, what + ": an unknown kind of typed array");
  b.bytes = b.length * size;
  return b;
}

Napi::FunctionReference defineClass(napi_env env, const char* name, napi_callback constructor,
                                    const std::vector<Method>& methods) {
  napi_value result, prototype;
  must(env, napi_define_class(env, name, NAPI_AUTO_LENGTH, constructor, nullptr, 0, nullptr, &result), name);
  must(env, napi_get_named_property(env, result, "prototype", &prototype), name);
  for (const Method& m : methods) {
    napi_property_descriptor p{};
    p.utf8name = m.name;
    if (m.getter) {
      p.getter = m.callback;
      p.attributes = napi_enumerable;
    } else {
      must(env, napi_create_function(env, m.name, NAPI_AUTO_LENGTH, m.callback, nullptr, &p.value), name);
      p.attributes = napi_default_method;
    }
    must(env, napi_define_properties(env, prototype, 1, &p), name);
  }
  return Napi::Persistent(Napi::Function(env, result));
}

void* unwrap(napi_env env, napi_value self, const napi_type_tag& tag, const char* what) {
  napi_valuetype type = napi_undefined;
  bool ours = false;
  void* result = nullptr;
  if (self && napi_typeof(env, self, &type) == napi_ok && type == napi_object &&
      napi_check_object_type_tag(env, self, &tag, &ours) == napi_ok && ours &&
      napi_unwrap(env, self, &result) == napi_ok && result)
    return result;
  // Neither call leaves a JavaScript exception behind that we would hide.
  throw Error(Code::Device, std::string(what) + ": called on something that is not of this addon");
}

}  // namespace gyrus::addon
