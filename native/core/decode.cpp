// From the numbers of a command to views: every number is checked here before anything is believed.
#include "core/device.h"

namespace gyrus {
namespace {

constexpr double kExact = 9007199254740992.0;  // 2^53

// False for NaN, infinities, fractions and negatives. `most` is at most 2^53, so the conversion is defined.
bool isCount(double v, double most) {
  return v >= 0 && v <= most && v == static_cast<double>(static_cast<std::int64_t>(v));
}

[[noreturn]] void refuse(Code code, Op op, const std::string& message) {
  throw Error(code, std::string(nameOf(op)) + ": " + message);
}

}  // namespace

std::size_t Device::decodeView(const double* command, std::size_t length, std::size_t at, bool output) {
  const Op op = call_.op;
  const auto which = [&] {
    const auto i = static_cast<int>(call_.places.size());  // one place for each view that was read
    return output ? "output " + std::to_string(i) : "input " + std::to_string(i - call_.outputs);
  };
  if (at + 4 > length) refuse(Code::Config, op, "the command ends before " + which());
  const double dtype = command[at + 1], offset = command[at + 2], rank = command[at + 3];
  if (!isCount(dtype, kDTypeCount - 1)) refuse(Code::DType, op, which() + ": no dtype " + describeNumber(dtype));
  if (!isCount(rank, kMaxRank))
    refuse(Code::Shape, op, which() + ": expected a rank from 0 to 8, got " + describeNumber(rank));
  if (!isCount(offset, kExact))
    refuse(Code::Shape, op, which() + ": expected an offset >= 0, got " + describeNumber(offset));
  const int r = static_cast<int>(rank);
  if (at + 4 + 2 * static_cast<std::size_t>(r) > length) refuse(Code::Config, op, "the command ends before " + which());

  if (call_.views.size() == call_.places.size()) call_.views.emplace_back();
  View& view = call_.views[call_.places.size()];
  view.clear();
  view.dtype = static_cast<DType>(static_cast<int>(dtype));
  view.rank = r;
  bool empty = false, overflow = false;
  std::int64_t size = 1, last = static_cast<std::int64_t>(offset);
  for (int i = 0; i < r; ++i) {
    const double extent = command[at + 4 + static_cast<std::size_t>(i)];
    const double stride = command[at + 4 + static_cast<std::size_t>(r + i)];
    if (!isCount(extent, kExact))
      refuse(Code::Shape, op, which() + ": expected extents >= 0, got " + describeNumber(extent));
    if (!isCount(stride, kExact))
      refuse(Code::Shape, op, which() + ": expected strides >= 0, got " + describeNumber(stride));
    view.shape[i] = static_cast<std::int64_t>(extent);
    view.stride[i] = static_cast<std::int64_t>(stride);
    if (view.shape[i] == 0) empty = true;
    std::int64_t reach = 0;
    overflow |= __builtin_mul_overflow(size, view.shape[i] > 0 ? view.shape[i] : 1, &size);
    overflow |= __builtin_mul_overflow(view.shape[i] > 0 ? view.shape[i] - 1 : 0, view.stride[i], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
  }
  // The first element behind the view; an empty view may lie anywhere up to the end of its buffer.
  const std::int64_t end = empty ? static_cast<std::int64_t>(offset) : last + 1;
  if (overflow || static_cast<double>(size) > kExact || static_cast<double>(end) > kExact)
    refuse(Code::Shape, op, which() + ": " + describeShape(view) + " has more elements than can be counted");
  const auto unit = static_cast<std::int64_t>(sizeOf(view.dtype));

  Block* block = nullptr;
  const double handle = command[at];
  if (output && handle == 0) {
    view.data = nullptr;
  } else {
    block = handles_.get(handle, nameOf(op));
    if (end * unit > static_cast<std::int64_t>(block->bytes))  // at most 2^53 elements of 8 bytes
      refuse(Code::Shape, op,
             which() + ": " + describeShape(view) + " of " + nameOf(view.dtype) + " at offset " +
                 describeNumber(offset) + " needs " + std::to_string(end * unit) + " bytes, the buffer has " +
                 std::to_string(block->bytes));
    view.data = block->data + static_cast<std::int64_t>(offset) * unit;
  }
  call_.places.push_back({block, static_cast<std::size_t>(offset) * static_cast<std::size_t>(unit),
                          static_cast<std::size_t>(end) * static_cast<std::size_t>(unit), at, 0});
  return at + 4 + 2 * static_cast<std::size_t>(r);
}

void Device::decode(const double* command, std::size_t length) {
  if (length < 4) throw Error(Code::Config, "enqueue: expected a command of at least 4 numbers");
  // Each number is read once: the array's memory may be in another thread's hands when its buffer was transferred.
  const double head[4] = {command[0], command[1], command[2], command[3]};
  if (!isCount(head[0], kOpCount - 1))
    throw Error(Code::Config, "enqueue: no op has the number " + describeNumber(head[0]));
  call_.op = static_cast<Op>(static_cast<int>(head[0]));
  const double limit = static_cast<double>(length);
  for (int i = 1; i < 4; ++i)
    if (!isCount(head[i], limit))
      refuse(Code::Config, call_.op,
             "expected counts of outputs, inputs and numbers that fit the command, got " + describeNumber(head[i]));
  call_.outputs = static_cast<int>(head[1]);
  call_.inputs = static_cast<int>(head[2]);
  const auto numbers = static_cast<std::size_t>(head[3]);
  call_.places.clear();
  std::size_t at = 4;
  for (int i = 0; i < call_.outputs; ++i) at = decodeView(command, length, at, true);
  for (int i = 0; i < call_.inputs; ++i) at = decodeView(command, length, at, false);
  if (length - at != numbers)
    refuse(Code::Config, call_.op,
           "expected " + std::to_string(numbers) + " parameters at the end of the command, got " +
               std::to_string(length - at));
  call_.record.assign(command + at, command + length);
}

}  // namespace gyrus
