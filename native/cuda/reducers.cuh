// What a reduction does with its elements. Every reducer R has
//   In, Out, State (a partial result; trivial), Run (of the few elements that a thread takes at once)
//   begin(x)       at the first element of a row that isn't empty
//   none()         the State of no element;  start(), take(run, element, its place in the row), flush(state, run)
//   merge(a, b)    commutative;  exchange(state, lanes): that of lane ^ lanes;  finish(state)
#pragma once
#include <climits>
#include <cmath>

#include "cuda/reduce.cuh"

namespace gyrus::cuda {

template <class T>
__device__ __forceinline__ bool isNaN(T x) {
  return x != x;
}

// Reducers whose runs are states.
template <class T, class State_>
struct PlainRuns {
  using In = T;
  using State = State_;
  using Run = State_;
  __device__ void begin(const T*) {}
  __device__ State exchange(State s, int lanes) const { return __shfl_xor_sync(kAllLanes, s, lanes); }
};

// Sum and mean: a run in T, so that f32 costs little where f64 is slow, and all runs in f64.
template <class T>
struct Total {
  using In = T;
  using Out = T;
  using State = double;
  using Run = T;
  bool mean;
  double n;

  __device__ void begin(const T*) {}
  __device__ State none() const { return 0; }
  __device__ Run start() const { return 0; }
  __device__ Run take(Run r, T x, std::int64_t) const { return r + x; }
  __device__ State flush(State s, Run r) const { return s + static_cast<double>(r); }
  __device__ State merge(State a, State b) const { return a + b; }
  __device__ State exchange(State s, int lanes) const { return __shfl_xor_sync(kAllLanes, s, lanes); }
  __device__ Out finish(State s) const { return static_cast<T>(mean ? s / n : s); }
};

template <class T>
struct Product : PlainRuns<T, double> {
  using Out = T;
  __device__ double none() const { return 1; }
  __device__ double start() const { return 1; }
  __device__ double take(double r, T x, std::int64_t) const { return r * static_cast<double>(x); }
  __device__ double flush(double s, double r) const { return s * r; }
  __device__ double merge(double a, double b) const { return a * b; }
  __device__ T finish(double s) const { return static_cast<T>(s); }
};

// i32 wraps.
template <bool product>
struct Wrapping : PlainRuns<std::int32_t, std::uint32_t> {
  using Out = std::int32_t;
  __device__ State none() const { return product; }
  __device__ State start() const { return product; }
  __device__ State take(State r, std::int32_t x, std::int64_t) const { return merge(r, static_cast<State>(x)); }
  __device__ State flush(State s, State r) const { return merge(s, r); }
  __device__ State merge(State a, State b) const { return product ? a * b : a + b; }
  __device__ Out finish(State s) const { return static_cast<Out>(s); }
};

// Maximum, or minimum; NaN wins.
template <class T>
struct Extreme : PlainRuns<T, T> {
  using Out = T;
  bool largest;

  explicit Extreme(bool largest) : largest(largest) {}
  __device__ T none() const {
    if constexpr (std::is_same_v<T, std::int32_t>)
      return largest ? INT_MIN : INT_MAX;
    else
      return largest ? -static_cast<T>(INFINITY) : static_cast<T>(INFINITY);
  }
  __device__ T start() const { return none(); }
  __device__ T take(T r, T x, std::int64_t) const { return merge(r, x); }
  __device__ T flush(T s, T r) const { return merge(s, r); }
  __device__ T merge(T a, T b) const { return isNaN(a) || (largest ? a > b : a < b) ? a : b; }
  __device__ T finish(T s) const { return s; }
};

// Any, or all.
struct Logical : PlainRuns<std::uint8_t, int> {
  using Out = std::uint8_t;
  bool all;

  explicit Logical(bool all) : all(all) {}
  __device__ int none() const { return all; }
  __device__ int start() const { return all; }
  __device__ int take(int r, std::uint8_t x, std::int64_t) const { return merge(r, x != 0); }
  __device__ int flush(int s, int r) const { return merge(s, r); }
  __device__ int merge(int a, int b) const { return all ? a & b : a | b; }
  __device__ Out finish(int s) const { return static_cast<Out>(s); }
};

// Sums of x - x0 and of its square, x0 being the row's first element, so that a mean far from 0 costs no digits.
template <class T>
struct Variance {
  using In = T;
  using Out = T;
  struct State {
    double sum, squares;
  };
  using Run = State;
  double share, scale;  // one over the count, and over the degrees of freedom
  double first = 0;

  Variance(double n, double correction) : share(1 / n), scale(1 / (n < correction ? 0 : n - correction)) {}
  __device__ void begin(const T* x) { first = static_cast<double>(*x); }
  __device__ State none() const { return {0, 0}; }
  __device__ Run start() const { return none(); }
  __device__ Run take(Run r, T x, std::int64_t) const {
    const double d = static_cast<double>(x) - first;
    return {r.sum + d, fma(d, d, r.squares)};
  }
  __device__ State flush(State s, Run r) const { return merge(s, r); }
  __device__ State merge(State a, State b) const { return {a.sum + b.sum, a.squares + b.squares}; }
  __device__ State exchange(State s, int lanes) const {
    return {__shfl_xor_sync(kAllLanes, s.sum, lanes), __shfl_xor_sync(kAllLanes, s.squares, lanes)};
  }
  __device__ Out finish(State s) const {
    const double about = s.squares - s.sum * (s.sum * share);
    return static_cast<T>((about < 0 ? 0 : about) * scale);
  }
};

// The place of the first maximum, or minimum; the first NaN, if there is one.
template <class T>
struct Arg {
  using In = T;
  using Out = std::int32_t;
  struct State {
    T value;
    std::int32_t at;  // -1: none yet
  };
  using Run = State;
  bool largest;

  explicit Arg(bool largest) : largest(largest) {}
  __device__ void begin(const T*) {}
  __device__ State none() const { return {T(0), -1}; }
  __device__ Run start() const { return none(); }
  __device__ Run take(Run r, T x, std::int64_t i) const { return merge(r, {x, static_cast<std::int32_t>(i)}); }
  __device__ State flush(State s, Run r) const { return merge(s, r); }
  __device__ State merge(State a, State b) const { return beats(a, b) ? a : b; }
  __device__ State exchange(State s, int lanes) const {
    return {__shfl_xor_sync(kAllLanes, s.value, lanes), __shfl_xor_sync(kAllLanes, s.at, lanes)};
  }
  __device__ Out finish(State s) const { return s.at; }

 private:
  __device__ bool beats(State a, State b) const {
    if (a.at < 0 || b.at < 0) return b.at < 0;
    const bool nanA = isNaN(a.value), nanB = isNaN(b.value);
    if (nanA != nanB) return nanA;
    if (nanA || a.value == b.value) return a.at < b.at;
    return largest ? a.value > b.value : a.value < b.value;
  }
};

}  // namespace gyrus::cuda
