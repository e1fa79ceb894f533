#include "cuda/emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <exception>

#include "core/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define GYRUS_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GYRUS_FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define GYRUS_FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GYRUS_FIBER_TSAN 1
#endif
#endif

#ifdef GYRUS_FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef GYRUS_FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__) || defined(__aarch64__)
#define GYRUS_FIBER_ASSEMBLY 1
#else
#include <ucontext.h>
#endif

namespace gyrus::cuda::emulation {
namespace {

// Pages are only there once they are touched. Sanitized frames are several times as large.
#if defined(GYRUS_FIBER_ASAN) || defined(GYRUS_FIBER_TSAN)
constexpr std::size_t kStack = 512 << 10;
#else
constexpr std::size_t kStack = 128 << 10;
#endif

thread_local Fiber* starting = nullptr;

}  // namespace

#ifdef GYRUS_FIBER_ASSEMBLY
// Saves the registers a call must keep, stores the stack pointer in *from and goes on where `to` was stored.
extern "C" void gyrusSwitchStack(void** from, void* to) asm("gyrusSwitchStack");
#if defined(__x86_64__)
constexpr std::size_t kReturnSlot = 6, kFrame = 8;  // start() is entered by a return: 8 off a multiple of 16
asm(R"(
.text
.globl gyrusSwitchStack
gyrusSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#else
constexpr std::size_t kReturnSlot = 11, kFrame = 20;
asm(R"(
.text
.globl gyrusSwitchStack
.balign 4
gyrusSwitchStack:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#endif
#endif

Fiber::Fiber(void (*entry)()) : entry_(entry), stackBytes_(kStack) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* mapped = mmap(nullptr, kStack + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw Error(Code::OutOfMemory, "emulation: no memory for a fiber's stack");
  mapped_ = static_cast<char*>(mapped);
  mprotect(mapped_, page, PROT_NONE);  // a stack that overflows crashes at once
  stackBottom_ = mapped_ + page;
#ifdef GYRUS_FIBER_ASSEMBLY
  // 16 bytes above what looks like the frame of a call that was made by nobody.
  auto* top = reinterpret_cast<std::uintptr_t*>(mapped_ + page + kStack) - 2;
  std::uintptr_t* frame = top - kFrame;
  for (std::size_t i = 0; i < kFrame + 2; ++i) frame[i] = 0;
  frame[kReturnSlot] = reinterpret_cast<std::uintptr_t>(&Fiber::start);
  here_ = frame;
#else
  auto* own = new ucontext_t;
  getcontext(own);
  own->uc_stack.ss_sp = stackBottom_;
  own->uc_stack.ss_size = kStack;
  own->uc_link = nullptr;
  makecontext(own, &Fiber::start, 0);
  here_ = own;
  there_ = new ucontext_t;
#endif
#ifdef GYRUS_FIBER_TSAN
  sanitizerFiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef GYRUS_FIBER_TSAN
  __tsan_destroy_fiber(sanitizerFiber_);
#endif
#ifndef GYRUS_FIBER_ASSEMBLY
  delete static_cast<ucontext_t*>(here_);
  delete static_cast<ucontext_t*>(there_);
#endif
  munmap(mapped_, stackBytes_ + static_cast<std::size_t>(static_cast<char*>(stackBottom_) - mapped_));
}

void Fiber::resume() {
  starting = this;
#ifdef GYRUS_FIBER_TSAN
  outerFiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(sanitizerFiber_, 0);
#endif
#ifdef GYRUS_FIBER_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stackBottom_, stackBytes_);
#endif
#ifdef GYRUS_FIBER_ASSEMBLY
  gyrusSwitchStack(&there_, here_);
#else
  swapcontext(static_cast<ucontext_t*>(there_), static_cast<ucontext_t*>(here_));
#endif
#ifdef GYRUS_FIBER_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
#ifdef GYRUS_FIBER_TSAN
  __tsan_switch_to_fiber(outerFiber_, 0);
#endif
#ifdef GYRUS_FIBER_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, outerBottom_, outerBytes_);
#endif
#ifdef GYRUS_FIBER_ASSEMBLY
  gyrusSwitchStack(&here_, there_);
#else
  swapcontext(static_cast<ucontext_t*>(here_), static_cast<ucontext_t*>(there_));
#endif
#ifdef GYRUS_FIBER_ASAN
  __sanitizer_finish_switch_fiber(fake, &outerBottom_, &outerBytes_);
#endif
}

void Fiber::start() {
  Fiber* self = starting;
#ifdef GYRUS_FIBER_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->outerBottom_, &self->outerBytes_);
#endif
  self->entry_();
  std::terminate();
}

}  // namespace gyrus::cuda::emulation
