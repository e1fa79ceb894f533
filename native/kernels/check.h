// Helpers of check(): each names the op, what was expected and what came.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>

#include "kernels/contract.h"

namespace gyrus {

class Checker {
 public:
  Checker(Op op, const Args& args) : op(op), args(args), name(nameOf(op)) {}

  const Op op;
  const Args& args;
  const char* name;  // the op's, or its kind's once that is known

  const View& out(int i) const { return args.out[i]; }
  const View& in(int i) const { return args.in[i]; }
  double number(int i) const { return args.record[i]; }

  [[noreturn]] void fail(Code code, const std::string& message) const;
  void counts(int outputs, int inputs, int numbers) const;
  void outputs(int n) const;
  void inputs(int n) const;
  void numbers(int n) const;
  // The number as an integer from 0 to count - 1.
  int kind(int i, int count, const char* what) const;
  int axis(int i, int rank) const;
  // A flag: 0 or 1.
  bool flag(int i, const char* what) const;
  Neurons neurons(int i, const char* what) const { return neuronsOf(kind(i, 3, what)); }
  double finite(int i, const char* what) const;
  double range(int i, const char* what, double low, double high) const;

  void dtype(const View& v, std::string_view what, DType expected) const;
  void oneOf(const View& v, std::string_view what, std::initializer_list<DType> expected) const;
  void floating(const View& v, std::string_view what) const { oneOf(v, what, {DType::F32, DType::F64}); }
  void rank(const View& v, std::string_view what, int expected) const;
  void shape(const View& v, std::string_view what, std::initializer_list<std::int64_t> expected) const;
  void sameShape(const View& v, std::string_view what, const View& like) const;
  void contiguous(const View& v, std::string_view what) const;
  // dtype and shape at once, which is what most arguments need
  void tensor(const View& v, std::string_view what, DType d, std::initializer_list<std::int64_t> s) const {
    dtype(v, what, d);
    shape(v, what, s);
  }
};

void checkMovement(Checker& c);     // check.cpp
void checkElementwise(Checker& c);  // check_elementwise.cpp: elementwise and reductions
void checkLayers(Checker& c);       // check_layers.cpp: linear algebra, softmax, losses, norms
void checkConv(Checker& c);         // check_conv.cpp: convolution and pooling
void checkTraining(Checker& c);     // check_training.cpp: random, optimisers, neurons, data
void checkVision(Checker& c);       // check_vision.cpp: attention, group norm, pictures

}  // namespace gyrus
