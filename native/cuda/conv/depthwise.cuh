// Convolutions in which every channel of x is a group of its own: no products of matrices, their time goes into memory.
#pragma once
#include "cuda/conv/gradweight.cuh"
#include "cuda/conv/prepare.cuh"
#include "cuda/gemm/epilogue.cuh"

namespace gyrus::cuda {

// y, or with `backward` dx (then without an epilogue), from x or g.
template <class T>
void launchDepthwise(const Args& args, const char* op, const Windows& windows, bool backward, const View& source,
                     const Weights<T>& weights, const View& out, const Epilogue<T>& epilogue, const View* residual);

// dw <- g, x
template <class T>
void launchDepthwiseGradWeight(const Args& args, const View& dw, const Windows& windows, const View& g, const View& x,
                               const Lists& lists);

}  // namespace gyrus::cuda
