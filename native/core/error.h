// The one exception type below the addon. `code` becomes the typed error's class in TypeScript.
#pragma once
#include <exception>
#include <string>
#include <utility>

namespace gyrus {

enum class Code { Shape, DType, Device, Disposed, OutOfMemory, Format, Config, Internal };

constexpr const char* nameOf(Code c) {
  switch (c) {
    case Code::Shape:
      return "SHAPE";
    case Code::DType:
      return "DTYPE";
    case Code::Device:
      return "DEVICE";
    case Code::Disposed:
      return "DISPOSED";
    case Code::OutOfMemory:
      return "OUT_OF_MEMORY";
    case Code::Format:
      return "FORMAT";
    case Code::Config:
      return "CONFIG";
    default:
      return "INTERNAL";
  }
}

class Error : public std::exception {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  Code code() const { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  Code code_;
  std::string message_;
};

}  // namespace gyrus
