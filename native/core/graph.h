// A recorded sequence of calls. Program is what the stream runs (it outlives the Graph while replays are queued);
// Graph is what JavaScript holds: the buffers that belong to the recording and the rules for binding inputs.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/allocator.h"
#include "core/backend.h"
#include "kernels/contract.h"

namespace gyrus {

class Program {
 public:
  void addCall(Op op, Kernel kernel, const View* views, int outputs, int inputs, const double* record, int numbers);
  void addWrite(char* target, const void* data, std::size_t bytes);
  // View `view` of the call added last (or the target of the write added last) lies in input `input`.
  void patchView(int view, int input, std::size_t byteOffset);
  void patchWrite(int input, std::size_t byteOffset);

  // ---- the stream's side
  // The inputs lie there from now on.
  void bind(const std::vector<char*>& bindings);
  // Runs everything, one by one; `op` follows the call that is running, for the error's message. Ends early when stop
  // is set.
  void run(Backend& backend, const std::atomic<bool>& stop, Op& op);
  // What a backend keeps with the program, and destroys with it.
  struct Compiled {
    virtual ~Compiled() = default;
  };
  std::unique_ptr<Compiled> compiled;

  std::size_t calls() const { return steps_.size(); }
  // Whether there are writes among them, of data that the program owns.
  bool writes() const {
    return std::any_of(steps_.begin(), steps_.end(), [](const Step& s) { return !s.kernel; });
  }

  // Where the recording stands, and the way back there.
  struct Mark {
    std::size_t steps, views, record, patches;
  };
  Mark mark() const { return {steps_.size(), views_.size(), record_.size(), patches_.size()}; }
  void rewind(const Mark& mark);

 private:
  struct Step {
    Op op = Op::Fill;
    Kernel kernel = nullptr;  // null: a write
    std::size_t views = 0, record = 0;
    int outputs = 0, inputs = 0, numbers = 0;
    char* target = nullptr;
    std::vector<char> data;
  };
  struct Patch {
    std::size_t index;  // into views_, or of the step for a write
    int input;
    std::size_t offset;
    bool write;
  };
  std::vector<Step> steps_;
  std::vector<View> views_;
  std::vector<double> record_;
  std::vector<Patch> patches_;
};

class Graph {
 public:
  Graph(Allocator& allocator, std::uint32_t id) : allocator_(allocator), id_(id) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { dispose(); }

  // ---- while recording
  void addInput(Block* block);
  Block* allocate(std::size_t bytes);
  // Whether the block was allocated by this recording; it is then kept for later allocations of it.
  bool keep(Block* block);
  void recordCall(Op op, Kernel kernel, const View* views, Block* const* blocks, int outputs, int inputs,
                  const double* record, int numbers);
  void recordWrite(Block* block, std::size_t byteOffset, const void* data, std::size_t bytes);
  void finish();

  // ---- afterwards
  // Checks the buffers that take the inputs' place and gives their memory. Throws Error(Config | Shape).
  void bind(const std::vector<Block*>& blocks, std::vector<char*>& pointers) const;
  const std::shared_ptr<Program>& program() const { return program_; }
  std::size_t bytes() const;
  std::size_t inputs() const { return inputs_.size(); }
  bool disposed() const { return !program_; }
  void dispose();

 private:
  struct Input {
    Block* block;  // only while recording
    std::size_t bytes;
    bool written;
  };
  // -1 when the block is no input; else keeps count of it as one the graph touches.
  int touch(Block* block, bool written);
  // f(), which adds to the program: all of it or nothing.
  template <class F>
  void whole(F&& f);

  Allocator& allocator_;
  std::uint32_t id_;
  std::shared_ptr<Program> program_ = std::make_shared<Program>();
  std::vector<Input> inputs_;
  std::unordered_map<Block*, int> inputOf_;
  std::vector<Block*> owned_;
  std::unordered_map<std::size_t, std::vector<Block*>> free_;  // by size class, while recording
  std::unordered_set<Block*> touched_;                         // owned and retained external ones
  std::unordered_set<Block*> written_;
};

}  // namespace gyrus
