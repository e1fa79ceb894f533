// The weights of a convolution as its kernels read them, from any layout and by lists: the columns of a product are
// neighbours in memory, padded with zeros to a multiple of four.
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

constexpr int paddedColumns(int columns) { return (columns + 3) / 4 * 4; }

// [group][tap, channel][padded outputs]: for the convolution.
template <class T>
const T* weightsByOutput(const Args& args, const Weights<T>& w, const Windows& windows);
// [group][tap, output][padded channels]: for the gradient of its input.
template <class T>
const T* weightsByChannel(const Args& args, const Weights<T>& w, const Windows& windows);

}  // namespace gyrus::cuda
