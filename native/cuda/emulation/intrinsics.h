// Device functions for the host compiler: meetings of lanes and threads, atomics, bits, arithmetic with a rounding in
// its name, 16-bit floats. The quick approximations (__expf) are the exact functions here.
#pragma once
#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <source_location>
#include <string>
#include <type_traits>

#include "cuda/emulation/block.h"

// ---- threads of a block, lanes of a warp -------------------------------------------------------------------
inline void __syncthreads(std::source_location site = std::source_location::current()) {
  gyrus::cuda::emulation::barrier(site);
}
inline int __syncthreads_count(int predicate, std::source_location site = std::source_location::current()) {
  return gyrus::cuda::emulation::barrier(site, gyrus::cuda::emulation::Vote::Count, predicate);
}
inline int __syncthreads_and(int predicate, std::source_location site = std::source_location::current()) {
  return gyrus::cuda::emulation::barrier(site, gyrus::cuda::emulation::Vote::And, predicate);
}
inline int __syncthreads_or(int predicate, std::source_location site = std::source_location::current()) {
  return gyrus::cuda::emulation::barrier(site, gyrus::cuda::emulation::Vote::Or, predicate);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
  gyrus::cuda::emulation::meet(gyrus::cuda::emulation::Meeting::Sync, mask, nullptr, nullptr, 0, 0);
}
inline unsigned __activemask() { return gyrus::cuda::emulation::liveLanes(); }
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned lanes = 0;
  gyrus::cuda::emulation::meet(gyrus::cuda::emulation::Meeting::Ballot, mask, &predicate, &lanes, sizeof(int), 0);
  return lanes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

namespace gyrus::cuda::emulation {
template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "what shuffles take");
  T result{};
  meet(Meeting::Shuffle, mask, &value, &result, sizeof(T), source);
  return result;
}
}  // namespace gyrus::cuda::emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize) {
  const int me = static_cast<int>(gyrus::cuda::emulation::lane());
  return gyrus::cuda::emulation::shuffle(mask, value, (source & (width - 1)) | (me & ~(width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int me = static_cast<int>(gyrus::cuda::emulation::lane()), source = me - static_cast<int>(delta);
  return gyrus::cuda::emulation::shuffle(mask, value, source < (me & ~(width - 1)) ? me : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int me = static_cast<int>(gyrus::cuda::emulation::lane()), source = me + static_cast<int>(delta);
  return gyrus::cuda::emulation::shuffle(mask, value, source > (me | (width - 1)) ? me : source);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
  const int me = static_cast<int>(gyrus::cuda::emulation::lane()), source = me ^ lanes;
  return gyrus::cuda::emulation::shuffle(mask, value, source > (me | (width - 1)) ? me : source);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
[[noreturn]] inline void __trap() { gyrus::cuda::emulation::fail("__trap"); }

// ---- memory --------------------------------------------------------------------------------------------------
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T value) {
  *p = value;
}
template <class T>
void __stcg(T* p, T value) {
  *p = value;
}

// Only one thread of the device runs at a time, and it isn't interrupted.
#define GYRUS_ATOMIC(name, T, expression) \
  inline T name(T* address, T value) {    \
    const T before = *address;            \
    *address = (expression);              \
    return before;                        \
  }
#define GYRUS_ATOMICS(T)                                      \
  GYRUS_ATOMIC(atomicMax, T, before > value ? before : value) \
  GYRUS_ATOMIC(atomicMin, T, before < value ? before : value) \
  GYRUS_ATOMIC(atomicAnd, T, before& value)                   \
  GYRUS_ATOMIC(atomicOr, T, before | value)                   \
  GYRUS_ATOMIC(atomicXor, T, before ^ value)                  \
  GYRUS_ATOMIC(atomicExch, T, value)
GYRUS_ATOMICS(int)
GYRUS_ATOMICS(unsigned)
GYRUS_ATOMICS(unsigned long long)
GYRUS_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value)))
GYRUS_ATOMIC(atomicAdd, unsigned, before + value)
GYRUS_ATOMIC(atomicAdd, unsigned long long, before + value)
GYRUS_ATOMIC(atomicAdd, float, before + value)
GYRUS_ATOMIC(atomicAdd, double, before + value)
GYRUS_ATOMIC(atomicSub, int, static_cast<int>(static_cast<unsigned>(before) - static_cast<unsigned>(value)))
GYRUS_ATOMIC(atomicSub, unsigned, before - value)
GYRUS_ATOMIC(atomicExch, float, value)
GYRUS_ATOMIC(atomicInc, unsigned, before >= value ? 0 : before + 1)
#undef GYRUS_ATOMIC
#undef GYRUS_ATOMICS
#define GYRUS_CAS(T)                                    \
  inline T atomicCAS(T* address, T expected, T value) { \
    const T before = *address;                          \
    if (before == expected) *address = value;           \
    return before;                                      \
  }
GYRUS_CAS(int)
GYRUS_CAS(unsigned)
GYRUS_CAS(unsigned long long)
#undef GYRUS_CAS

// ---- bits --------------------------------------------------------------------------------------------------------
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1) << (31 - i);
  return y;
}
inline unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
inline int __mulhi(int a, int b) { return static_cast<int>((static_cast<long long>(a) * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>((static_cast<Wide>(a) * b) >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((((static_cast<unsigned long long>(high) << 32) | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((static_cast<unsigned long long>(high) << 32) | low) >> (shift & 31));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long both = static_cast<unsigned long long>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(both >> ((selector >> (4 * i) & 7) * 8) & 0xFF) << (8 * i);
  return result;
}
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

// ---- arithmetic ----------------------------------------------------------------------------------------------------
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return static_cast<float>(1 / sqrt(static_cast<double>(a))); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __drcp_rn(double a) { return 1 / a; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __fdividef(float a, float b) { return a / b; }
// Macros, for the C library declares functions of these names.
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
inline float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1.0f : 0.0f; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
inline void sincospif(float x, float* s, float* c) {
  *s = static_cast<float>(sin(3.14159265358979323846 * x));
  *c = static_cast<float>(cos(3.14159265358979323846 * x));
}
inline void sincospi(double x, double* s, double* c) {
  *s = sin(3.14159265358979323846 * x);
  *c = cos(3.14159265358979323846 * x);
}

// min and max as the device has them: of two floats the one that isn't NaN.
#define GYRUS_MIN_MAX(T)                           \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
GYRUS_MIN_MAX(int)
GYRUS_MIN_MAX(unsigned)
GYRUS_MIN_MAX(long)
GYRUS_MIN_MAX(unsigned long)
GYRUS_MIN_MAX(long long)
GYRUS_MIN_MAX(unsigned long long)
#undef GYRUS_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// Conversions saturate and take NaN to 0, as the hardware's do.
namespace gyrus::cuda::emulation {
template <class To>
To saturated(double x) {
  constexpr double low = static_cast<double>(std::numeric_limits<To>::min());
  constexpr double high = static_cast<double>(std::numeric_limits<To>::max());
  return x != x      ? To(0)
         : x <= low  ? std::numeric_limits<To>::min()
         : x >= high ? std::numeric_limits<To>::max()
                     : static_cast<To>(x);
}
}  // namespace gyrus::cuda::emulation
inline int __float2int_rz(float x) { return gyrus::cuda::emulation::saturated<int>(x); }
inline int __float2int_rn(float x) { return gyrus::cuda::emulation::saturated<int>(rint(x)); }
inline int __float2int_rd(float x) { return gyrus::cuda::emulation::saturated<int>(floor(x)); }
inline int __float2int_ru(float x) { return gyrus::cuda::emulation::saturated<int>(ceil(x)); }
inline unsigned __float2uint_rz(float x) { return gyrus::cuda::emulation::saturated<unsigned>(x); }
inline int __double2int_rz(double x) { return gyrus::cuda::emulation::saturated<int>(x); }
inline int __double2int_rn(double x) { return gyrus::cuda::emulation::saturated<int>(rint(x)); }
inline long long __double2ll_rz(double x) { return gyrus::cuda::emulation::saturated<long long>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

// ---- 16-bit floats
// -----------------------------------------------------------------------------------------------------
struct __nv_bfloat16 {
  std::uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
struct __half {
  std::uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};

inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return {0x7FFF};
  return {static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }
inline float __bfloat162float(__nv_bfloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return {x}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {__bfloat162float(v.x), __bfloat162float(v.y)}; }

inline float __half2float(__half h) {
  const int exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
  const float magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                          : exponent == 0 ? ldexpf(static_cast<float>(fraction), -24)
                                          : ldexpf(static_cast<float>(fraction + 1024), exponent - 25);
  return h.bits & 0x8000 ? -magnitude : magnitude;
}
inline __half __float2half_rn(float x) {
  const auto sign = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16 & 0x8000);
  const float a = fabsf(x);
  if (x != x) return {0x7FFF};
  if (a >= 65520.0f) return {static_cast<std::uint16_t>(sign | 0x7C00)};
  int exponent = 0;
  frexpf(a, &exponent);                                             // a = f * 2^exponent, 1/2 <= f < 1
  const int step = a == 0 || exponent < -13 ? -24 : exponent - 11;  // the weight of the last bit
  const auto units = static_cast<std::uint32_t>(rintf(ldexpf(a, -step)));
  const std::uint32_t base = step == -24 ? 0 : static_cast<std::uint32_t>(step + 24) << 10;
  return {static_cast<std::uint16_t>(sign | (base + units))};
}
inline __half __float2half(float x) { return __float2half_rn(x); }
inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline __half __ushort_as_half(unsigned short x) { return {x}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
