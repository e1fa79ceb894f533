// The three products of a dense layer, y [M, n] = x [M, k] w^T with w [N, K]: for linear, and for convolutions of 1x1.
// The lists say which of the N rows and K columns are the n and k; without them it is the first. x, g and w may have
// any strides; y, dx and dw are contiguous.
#pragma once
#include "cuda/gate.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/lists.cuh"
#include "kernels/contract.h"

namespace gyrus::cuda {

template <class T>
void denseProduct(const Args& args, const View& y, const View& x, const View& w, const Lists& lists,
                  const Epilogue<T>& epilogue);

// dx [M, k] = g [M, n] w, and the scores of a gate where each row is a sample
template <class T>
void denseGradInput(const Args& args, const View& dx, const View& g, const View& w, const Lists& lists,
                    const Gate* gate = nullptr);

// dw [N, K] = g^T x, zeros where nothing is in use
template <class T>
void denseGradWeight(const Args& args, const View& dw, const View& g, const View& x, const Lists& lists);

}  // namespace gyrus::cuda
