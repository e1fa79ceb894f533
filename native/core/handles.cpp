#include "core/handles.h"

#include <atomic>
#include <cmath>
#include <cstdio>

#include "core/error.h"

namespace gyrus {
namespace {
constexpr std::uint64_t kIndexMask = (std::uint64_t{1} << HandleTable::kIndexBits) - 1;
constexpr std::uint32_t kLastGeneration = (std::uint32_t{1} << HandleTable::kGenerationBits) - 1;
}  // namespace

std::string describeNumber(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v < 0 ? "-Infinity" : "Infinity";
  char text[32];
  if (v == std::floor(v) && std::fabs(v) < 1e15) {
    std::snprintf(text, sizeof text, "%.0f", v);
  } else {
    std::snprintf(text, sizeof text, "%.6g", v);
  }
  return text;
}

std::uint32_t nextDeviceTag() {
  static std::atomic<std::uint32_t> last{0};
  return last.fetch_add(1) % 255 + 1;
}

double HandleTable::add(Block* block) {
  std::uint32_t index;
  if (firstFree_ != UINT32_MAX) {
    index = firstFree_;
    firstFree_ = slots_[index].nextFree;
  } else {
    if (slots_.size() > kIndexMask) throw Error(Code::Device, "alloc: 2^24 buffers are alive, no more handles");
    index = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  }
  Slot& slot = slots_[index];
  slot.block = block;
  ++alive_;
  const std::uint64_t bits =
      (std::uint64_t{tag_} << (kIndexBits + kGenerationBits)) | (std::uint64_t{slot.generation} << kIndexBits) | index;
  return static_cast<double>(bits);
}

std::uint32_t HandleTable::find(double handle, const char* what) const {
  // The comparison is false for NaN; only then is the conversion defined.
  if (!(handle >= 1 && handle < 9007199254740992.0) || handle != static_cast<double>(static_cast<std::int64_t>(handle)))
    throw Error(Code::Device, std::string(what) + ": expected a buffer handle, got " + describeNumber(handle));
  const auto bits = static_cast<std::uint64_t>(handle);
  const auto index = static_cast<std::uint32_t>(bits & kIndexMask);
  const auto generation = static_cast<std::uint32_t>(bits >> kIndexBits) & kLastGeneration;
  if ((bits >> (kIndexBits + kGenerationBits)) != tag_)
    throw Error(Code::Device, std::string(what) + ": expected a buffer of this device, got " + describeNumber(handle) +
                                  " of another");
  if (index >= slots_.size() || generation > slots_[index].generation)
    throw Error(Code::Device, std::string(what) + ": expected a buffer handle, got " + describeNumber(handle) +
                                  ", which this device never gave out");
  if (generation != slots_[index].generation || !slots_[index].block)
    throw Error(Code::Disposed, std::string(what) + ": the buffer was released already");
  return index;
}

Block* HandleTable::get(double handle, const char* what) const { return slots_[find(handle, what)].block; }

Block* HandleTable::remove(double handle, const char* what) {
  const std::uint32_t index = find(handle, what);
  Slot& slot = slots_[index];
  Block* block = slot.block;
  slot.block = nullptr;
  --alive_;
  // A slot whose generations are used up is retired: no stale handle may ever match again.
  if (slot.generation < kLastGeneration) {
    ++slot.generation;
    slot.nextFree = firstFree_;
    firstFree_ = index;
  }
  return block;
}

}  // namespace gyrus
