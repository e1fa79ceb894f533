// Philox4x32-10 against the known-answer vectors that Random123 publishes (kat_vectors, philox4x32 10).
#include "core/philox.h"
#include "vendor/doctest.h"

using gyrus::Philox;

namespace {
struct Vector {
  std::uint32_t counter[4], key[2], expected[4];
};
const Vector kVectors[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
    {{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
     {0xffffffffu, 0xffffffffu},
     {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
    {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
     {0xa4093822u, 0x299f31d0u},
     {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
};
}  // namespace

TEST_CASE("philox: known answers of Random123") {
  for (const Vector& v : kVectors) {
    std::uint32_t out[4];
    Philox::block(v.key, v.counter, out);
    for (int i = 0; i < 4; ++i) CHECK(out[i] == v.expected[i]);
  }
}
