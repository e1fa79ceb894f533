// oneDNN as a peer, found at run time; its headers are needed when this file is compiled.
#include <dlfcn.h>

#include <algorithm>

#include "bench.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#if defined(DNNL_VERSION_MAJOR) && DNNL_VERSION_MAJOR == 2
#define HAVE_ONEDNN_2 1
#endif
#endif

#ifdef HAVE_ONEDNN_2

namespace {

class OneDnn final : public Engine {
 public:
  explicit OneDnn(int) {
    for (const char* name : {"libdnnl.so.2", "libdnnl.so", "libdnnl.2.dylib"}) {
      if ((library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL))) break;
    }
    if (!library_) throw std::runtime_error("no libdnnl.so.2 (Debian: apt-get install libdnnl2)");
    check(call(dnnl_engine_create, "dnnl_engine_create")(&engine_, dnnl_cpu, 0), "engine");
    check(call(dnnl_stream_create, "dnnl_stream_create")(&stream_, engine_, dnnl_stream_default_flags), "stream");
  }

  std::string version() const override {
    const dnnl_version_t* v = call(dnnl_version, "dnnl_version")();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }

  double measure(const Request& request) override {
    if (request.word(0) == "gemm" && request.size() == 7) return gemm(request);
    if (request.word(0) == "conv" && request.size() == 14) return conv(request);
    if (request.word(0) == "linear" && request.size() == 6) return linear(request);
    throw std::runtime_error("onednn: unknown request " + request.word(0));
  }

 private:
  template <class F>
  F* call(F&, const char* name) const {
    void* found = dlsym(library_, name);
    if (!found) throw std::runtime_error(std::string("onednn: no symbol ") + name);
    return reinterpret_cast<F*>(found);
  }

  static void check(dnnl_status_t status, const char* what) {
    if (status != dnnl_success)
      throw std::runtime_error(std::string("onednn: ") + what + " failed: " + std::to_string(status));
  }

  double gemm(const Request& request) {
    const int64_t m = request.count(1), n = request.count(2), k = request.count(3);
    const bool ta = request.count(4) != 0, tb = request.count(5) != 0;
    const Buffer a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n)), c(static_cast<size_t>(m * n));
    const auto sgemm = call(dnnl_sgemm, "dnnl_sgemm");
    const auto run = [&] {
      return sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, 1.0f, a.data(), ta ? m : k, b.data(), tb ? k : n, 0.0f,
                   c.data(), n);
    };
    check(run(), "sgemm");
    return rate([&] { run(); }, request.number(6));
  }

  // Images in NHWC or in the format that the library asks for; the weights always in the one it asks for. The reorders
  // are left out of the timing: its best case.
  double conv(const Request& request) {
    const std::string& pass = request.word(1);
    const int64_t n = request.count(2), h = request.count(3), w = request.count(4), c = request.count(5),
                  k = request.count(6);
    const int64_t r = request.count(7), s = request.count(8), stride = request.count(9), pad = request.count(10);
    const int64_t groups = request.count(11);
    const std::string& layout = request.word(12);
    if (layout != "nhwc" && layout != "any") throw std::runtime_error("onednn: expected nhwc or any, got " + layout);
    const dnnl_format_tag_t tag = layout == "any" ? dnnl_format_tag_any : dnnl_nhwc;
    if (stride < 1 || groups < 1 || h + 2 * pad < r || w + 2 * pad < s)
      throw std::runtime_error("onednn: no such conv");
    const int64_t oh = (h + 2 * pad - r) / stride + 1, ow = (w + 2 * pad - s) / stride + 1;
    const dnnl_memory_desc_t src = described({n, c, h, w}, tag), dst = described({n, k, oh, ow}, tag);
    const dnnl_memory_desc_t weights = groups == 1
                                           ? described({k, c, r, s}, dnnl_format_tag_any)
                                           : described({groups, k / groups, c / groups, r, s}, dnnl_format_tag_any);
    const dnnl_dims_t strides = {stride, stride}, padding = {pad, pad};
    dnnl_convolution_desc_t forward, backward;
    check(call(dnnl_convolution_forward_desc_init, "dnnl_convolution_forward_desc_init")(
              &forward, dnnl_forward_training, dnnl_convolution_direct, &src, &weights, nullptr, &dst, strides, padding,
              padding),
          "conv");
    if (pass == "bwd_data") {
      check(call(dnnl_convolution_backward_data_desc_init, "dnnl_convolution_backward_data_desc_init")(
                &backward, dnnl_convolution_direct, &src, &weights, &dst, strides, padding, padding),
            "conv bwd_data");
    } else if (pass == "bwd_weights") {
      check(call(dnnl_convolution_backward_weights_desc_init, "dnnl_convolution_backward_weights_desc_init")(
                &backward, dnnl_convolution_direct, &src, &weights, nullptr, &dst, strides, padding, padding),
            "conv bwd_weights");
    }
    return primitive(pass, &forward, &backward, request.number(13));
  }

  double linear(const Request& request) {
    const std::string& pass = request.word(1);
    const int64_t m = request.count(2), n = request.count(3), k = request.count(4);
    const dnnl_memory_desc_t src = described({m, k}, dnnl_ab), dst = described({m, n}, dnnl_ab);
    const dnnl_memory_desc_t weights = described({n, k}, dnnl_format_tag_any);
    dnnl_inner_product_desc_t forward, backward;
    check(call(dnnl_inner_product_forward_desc_init, "dnnl_inner_product_forward_desc_init")(
              &forward, dnnl_forward_training, &src, &weights, nullptr, &dst),
          "inner product");
    if (pass == "bwd_data") {
      check(call(dnnl_inner_product_backward_data_desc_init, "dnnl_inner_product_backward_data_desc_init")(
                &backward, &src, &weights, &dst),
            "inner product bwd_data");
    } else if (pass == "bwd_weights") {
      check(call(dnnl_inner_product_backward_weights_desc_init, "dnnl_inner_product_backward_weights_desc_init")(
                &backward, &src, &weights, nullptr, &dst),
            "inner product bwd_weights");
    }
    return primitive(pass, &forward, &backward, request.number(5));
  }

  dnnl_memory_desc_t described(std::initializer_list<int64_t> extents, dnnl_format_tag_t tag) const {
    dnnl_dims_t dims = {};
    std::copy(extents.begin(), extents.end(), dims);
    dnnl_memory_desc_t md;
    check(call(dnnl_memory_desc_init_by_tag, "dnnl_memory_desc_init_by_tag")(&md, static_cast<int>(extents.size()),
                                                                             dims, dnnl_f32, tag),
          "memory descriptor");
    return md;
  }

  // Times the primitive of a pass: forward has src, weights, dst; a gradient has two of them and writes the third.
  double primitive(const std::string& pass, const_dnnl_op_desc_t forward, const_dnnl_op_desc_t backward,
                   double seconds) {
    struct Argument {
      int index;
      dnnl_query_t query;
    };
    std::vector<Argument> arguments;
    if (pass == "fwd") {
      arguments = {{DNNL_ARG_SRC, dnnl_query_src_md},
                   {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                   {DNNL_ARG_DST, dnnl_query_dst_md}};
    } else if (pass == "bwd_data") {
      arguments = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                   {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
                   {DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md}};
    } else if (pass == "bwd_weights") {
      arguments = {{DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md},
                   {DNNL_ARG_SRC, dnnl_query_src_md},
                   {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md}};
    } else {
      throw std::runtime_error("onednn: expected fwd, bwd_data or bwd_weights, got " + pass);
    }
    const auto createDesc = call(dnnl_primitive_desc_create, "dnnl_primitive_desc_create");
    dnnl_primitive_desc_t hint = nullptr, desc = nullptr;
    check(createDesc(&hint, forward, nullptr, engine_, nullptr), "primitive descriptor");
    if (pass == "fwd") {
      std::swap(hint, desc);
    } else {
      check(createDesc(&desc, backward, nullptr, engine_, hint), "primitive descriptor of a gradient");
    }
    dnnl_primitive_t made = nullptr;
    check(call(dnnl_primitive_create, "dnnl_primitive_create")(&made, desc), "primitive");

    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<dnnl_exec_arg_t> bound;
    for (const auto& [index, query] : arguments) {
      const dnnl_memory_desc_t* md = call(dnnl_primitive_desc_query_md, "dnnl_primitive_desc_query_md")(desc, query, 0);
      const size_t bytes = call(dnnl_memory_desc_get_size, "dnnl_memory_desc_get_size")(md);
      buffers.push_back(std::make_unique<Buffer>(bytes / sizeof(float)));
      dnnl_memory_t memory = nullptr;
      check(call(dnnl_memory_create, "dnnl_memory_create")(&memory, md, engine_, buffers.back()->data()), "memory");
      bound.push_back({index, memory});
    }
    const auto execute = call(dnnl_primitive_execute, "dnnl_primitive_execute");
    const auto wait = call(dnnl_stream_wait, "dnnl_stream_wait");
    check(execute(made, stream_, static_cast<int>(bound.size()), bound.data()), "execute");
    check(wait(stream_), "wait");
    const double calls = rate(
        [&] {
          execute(made, stream_, static_cast<int>(bound.size()), bound.data());
          wait(stream_);
        },
        seconds);
    for (const auto& argument : bound) call(dnnl_memory_destroy, "dnnl_memory_destroy")(argument.memory);
    call(dnnl_primitive_destroy, "dnnl_primitive_destroy")(made);
    call(dnnl_primitive_desc_destroy, "dnnl_primitive_desc_destroy")(desc);
    if (hint) call(dnnl_primitive_desc_destroy, "dnnl_primitive_desc_destroy")(hint);
    return calls;
  }

  void* library_ = nullptr;
  dnnl_engine_t engine_ = nullptr;
  dnnl_stream_t stream_ = nullptr;
};

}  // namespace

std::unique_ptr<Engine> makeOneDnn(int threads) { return std::make_unique<OneDnn>(threads); }

#else

std::unique_ptr<Engine> makeOneDnn(int) {
#ifdef DNNL_VERSION_MAJOR
  throw std::runtime_error("the headers of oneDNN are not those of version 2");
#else
  throw std::runtime_error(
      "no headers of oneDNN when the bench program was built (Debian: apt-get install libdnnl-dev)");
#endif
}

#endif
