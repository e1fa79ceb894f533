// The weights of a convolution as its kernels read them, from any layout and by lists: the columns of a product are
// neighbours in memory, padded with zeros to a multiple of four where there isn't one.
#pragma once
#include "cuda/conv/window.cuh"
#include "cuda/lists.cuh"

namespace gyrus::cuda {

// w [F, KH, KW, C/groups] by its strides, and the rows and channels in use (null: all).
template <class T>
struct Weights {
  const T* data;
  std::int64_t f, h, w, c;  // strides
  int kernelW, F, C;        // in use: outputs of all groups, channels of one
  const int *outputs, *inputs;
  const int *outputCount, *inputCount;  // what lies beyond is read as 0; null: nothing

  Weights(const View& v, const Windows& windows, const Lists& lists)
      : data(v.as<T>()),
        f(v.stride[0]),
        h(v.stride[1]),
        w(v.stride[2]),
        c(v.stride[3]),
        kernelW(windows.w.kernel),
        F(windows.F),
        C(windows.C / windows.groups),
        outputs(lists.outputs),
        inputs(lists.inputs),
        outputCount(lists.outputCount),
        inputCount(lists.inputCount) {}

  __device__ T at(int output, int tap, int channel) const {
    if (output >= activeOf(outputCount, F) || channel >= activeOf(inputCount, C)) return T(0);
    const int row = tap / kernelW, column = tap - row * kernelW;
    return data[(outputs ? outputs[output] : output) * f + row * h + column * w +
                (inputs ? inputs[channel] : channel) * c];
  }
};

// The weights as the right side of a product: the numbers of its row (tap, c), c a channel of the source, lie side by
// side at data + group*group + tap*tap + c*channel.
template <class T>
struct DepthRows {
  const T* data;
  std::int64_t group, tap, channel;  // strides
  int columns;                       // that may be read: a multiple of four
};

// Columns are outputs: for the convolution.
template <class T>
DepthRows<T> weightsByOutput(const Args& args, const Weights<T>& w, const Windows& windows);
// Columns are channels: for the gradient of its input. As they are where they can be read four at a time.
template <class T>
DepthRows<T> weightsByChannel(const Args& args, const Weights<T>& w, const Windows& windows);

}  // namespace gyrus::cuda
