#include <cstring>

#include "device.h"

namespace gyrus::addon {
Holder::Holder(napi_env env, std::unique_ptr<Device> device) : env_(env), device_(std::move(device)) {
  napi_value name;
  must(env, napi_create_string_utf8(env, "gyrus", NAPI_AUTO_LENGTH, &name), "createDevice");
  must(env,
       napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, onSettled, &settled_),
       "createDevice");
  napi_unref_threadsafe_function(env, settled_);
  // After the function's own hook, so that ours runs before: the stream must have ended when the function goes.
  must(env, napi_add_env_cleanup_hook(env, onCleanup, this), "createDevice");
}

Holder::~Holder() {
  dispose();
  for (Pending* p : pending_) delete p;
}

void Holder::onCleanup(void* self) {
  auto* holder = static_cast<Holder*>(self);
  holder->closing_ = true;
  holder->device_->dispose();
}

void Holder::dispose() {
  if (!settled_) return;
  device_->dispose();
  if (closing_) {
    settled_ = nullptr;  // Node took it down with the environment
    return;
  }
  reportChange();
  napi_remove_env_cleanup_hook(env_, onCleanup, this);
  if (pending_.empty()) finishQueue();
}

void Holder::finishQueue() {
  if (settled_) napi_release_threadsafe_function(settled_, napi_tsfn_release);
  settled_ = nullptr;
}

napi_value SharedNumbers::make(napi_env env, std::size_t count) {
  count_ = count;
  memory_ = std::shared_ptr<double[]>(new double[count]());
  auto* share = new std::shared_ptr<double[]>(memory_);
  napi_value buffer, array;
  // The memory is shared with the array's buffer: whoever detaches that can't take it from us.
  const napi_status status = napi_create_external_arraybuffer(
      env, memory_.get(), count * sizeof(double),
      [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<double[]>*>(hint); }, share, &buffer);
  if (status != napi_ok) {
    delete share;
    memory_.reset();
    void* data;
    must(env, napi_create_arraybuffer(env, count * sizeof(double), &data, &buffer), "createDevice");
  }
  must(env, napi_create_typedarray(env, napi_float64_array, count, buffer, 0, &array), "createDevice");
  if (!memory_) must(env, napi_create_reference(env, array, 0, &array_), "createDevice");
  return array;
}

double* SharedNumbers::ask(napi_env env, std::size_t* length) {
  napi_value array = nullptr;
  must(env, napi_get_reference_value(env, array_, &array), "enqueue");
  if (!array) throw Error(Code::Config, "enqueue: the array shared with the addon is gone");
  const Bytes b = typedArray(env, array, "enqueue: shared array");
  *length = b.length;
  return static_cast<double*>(b.data);
}

napi_value Holder::promise(napi_value wrapper, napi_value into, std::size_t bytes, Completion* completion) {
  auto pending = std::make_unique<Pending>();
  pending->holder = this;
  pending->bytes = bytes;
  must(env_, napi_create_reference(env_, wrapper, 1, &pending->device), "read");
  if (into) must(env_, napi_create_reference(env_, into, 1, &pending->into), "read");
  napi_value result;
  must(env_, napi_create_promise(env_, &pending->deferred, &result), "read");
  if (pending_.empty()) napi_ref_threadsafe_function(env_, settled_);
  Pending* p = pending.release();
  pending_.insert(p);
  newest_ = p;
  *completion = [p](const Error* error, std::unique_ptr<char[]> data) {
    if (error) p->error = *error;
    p->data = std::move(data);
    // When the environment goes down nobody waits any more; the holder frees what is left.
    if (!p->holder->closing_) napi_call_threadsafe_function(p->holder->settled_, p, napi_tsfn_nonblocking);
  };
  return result;
}

void Holder::abandon() {
  if (!newest_) return;
  napi_value undefined;
  if (napi_get_undefined(env_, &undefined) == napi_ok) napi_resolve_deferred(env_, newest_->deferred, undefined);
  forget(env_, newest_);
  newest_ = nullptr;
}

void Holder::onSettled(napi_env env, napi_value, void*, void* data) {
  if (!env) return;
  auto* pending = static_cast<Pending*>(data);
  pending->holder->settle(env, pending);
}

void Holder::settle(napi_env env, Pending* pending) {
  if (!pending->error && pending->into) {
    try {
      napi_value array;
      must(env, napi_get_reference_value(env, pending->into, &array), "read");
      // Only now is the array looked at again: JavaScript may have detached or shrunk it meanwhile.
      const Bytes b = typedArray(env, array, "read: into");
      if (b.bytes < pending->bytes) throw Error(Code::Config, "read: the array shrank while the read was under way");
      if (pending->bytes > 0) std::memcpy(b.data, pending->data.get(), pending->bytes);
    } catch (const Error& e) {
      pending->error = e;
    } catch (const Napi::Error&) {
      pending->error = Error(Code::Internal, "read: the array can't be filled");
    }
  }
  napi_value value;
  if (pending->error) {
    value = makeError(env, *pending->error);
    if (value) napi_reject_deferred(env, pending->deferred, value);
  } else if (napi_get_undefined(env, &value) == napi_ok) {
    napi_resolve_deferred(env, pending->deferred, value);
  }
  forget(env, pending);
}

void Holder::forget(napi_env env, Pending* pending) {
  pending_.erase(pending);
  if (newest_ == pending) newest_ = nullptr;
  if (pending->into) napi_delete_reference(env, pending->into);
  if (pending->device) napi_delete_reference(env, pending->device);
  delete pending;
  if (!pending_.empty() || !settled_) return;
  napi_unref_threadsafe_function(env, settled_);
  if (device_->disposed()) finishQueue();
}

void Holder::reportChange() {
  const std::int64_t now = device_->disposed() ? 0 : static_cast<std::int64_t>(device_->bytesInUse());
  if (now == reported_) return;
  std::int64_t total;
  napi_adjust_external_memory(env_, now - reported_, &total);
  reported_ = now;
}

}  // namespace gyrus::addon
