// CUDA's vector types for the host compiler.
#pragma once
#include <cstddef>

#define GYRUS_VECTOR_TYPES(T, name, a2, a4)                             \
  struct name##1 {                                                      \
    T x;                                                                \
  };                                                                    \
  struct alignas(a2) name##2 {                                          \
    T x, y;                                                             \
  };                                                                    \
  struct name##3 {                                                      \
    T x, y, z;                                                          \
  };                                                                    \
  struct alignas(a4) name##4 {                                          \
    T x, y, z, w;                                                       \
  };                                                                    \
  constexpr name##1 make_##name##1(T x) { return {x}; }                 \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

GYRUS_VECTOR_TYPES(signed char, char, 2, 4)
GYRUS_VECTOR_TYPES(unsigned char, uchar, 2, 4)
GYRUS_VECTOR_TYPES(short, short, 4, 8)
GYRUS_VECTOR_TYPES(unsigned short, ushort, 4, 8)
GYRUS_VECTOR_TYPES(int, int, 8, 16)
GYRUS_VECTOR_TYPES(unsigned, uint, 8, 16)
GYRUS_VECTOR_TYPES(long long, longlong, 16, 16)
GYRUS_VECTOR_TYPES(unsigned long long, ulonglong, 16, 16)
GYRUS_VECTOR_TYPES(float, float, 8, 16)
GYRUS_VECTOR_TYPES(double, double, 16, 16)
#undef GYRUS_VECTOR_TYPES

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
