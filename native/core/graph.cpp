#include "core/graph.h"

namespace gyrus {

void Program::addCall(Op op, Kernel kernel, const View* views, int outputs, int inputs, const double* record,
                      int numbers) {
  Step step;
  step.op = op;
  step.kernel = kernel;
  step.views = views_.size();
  step.record = record_.size();
  step.outputs = outputs;
  step.inputs = inputs;
  step.numbers = numbers;
  views_.insert(views_.end(), views, views + outputs + inputs);
  record_.insert(record_.end(), record, record + numbers);
  steps_.push_back(std::move(step));
}

void Program::addWrite(char* target, const void* data, std::size_t bytes) {
  Step step;
  step.target = target;
  const char* from = static_cast<const char*>(data);
  step.data.assign(from, from + bytes);
  steps_.push_back(std::move(step));
}

void Program::patchView(int view, int input, std::size_t byteOffset) {
  patches_.push_back({steps_.back().views + static_cast<std::size_t>(view), input, byteOffset, false});
}

void Program::patchWrite(int input, std::size_t byteOffset) {
  patches_.push_back({steps_.size() - 1, input, byteOffset, true});
}

void Program::rewind(const Mark& mark) {
  steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(mark.steps), steps_.end());
  views_.resize(mark.views);
  record_.resize(mark.record);
  patches_.erase(patches_.begin() + static_cast<std::ptrdiff_t>(mark.patches), patches_.end());
}

void Program::bind(const std::vector<char*>& bindings) {
  for (const Patch& p : patches_) {
    char* data = bindings[static_cast<std::size_t>(p.input)] + p.offset;
    if (p.write) {
      steps_[p.index].target = data;
    } else {
      views_[p.index].data = data;
    }
  }
}

void Program::run(Backend& backend, const std::atomic<bool>& stop, Op& op) {
  for (const Step& step : steps_) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (!step.kernel) {
      backend.write(step.target, step.data.data(), step.data.size());
      continue;
    }
    op = step.op;
    const View* const views = views_.data() + step.views;
    backend.call(op, step.kernel,
                 Args{views, step.outputs, views + step.outputs, step.inputs, record_.data() + step.record,
                      step.numbers, nullptr});
  }
}

void Graph::addInput(Block* block) {
  if (!inputOf_.emplace(block, static_cast<int>(inputs_.size())).second)
    throw Error(Code::Config, "beginCapture: input " + std::to_string(inputs_.size()) +
                                  " is the same buffer as input " + std::to_string(inputOf_[block]));
  // Held while recording, so that a released input can't come back as somebody else's buffer.
  allocator_.retain(block);
  inputs_.push_back({block, block->bytes, false});
}

Block* Graph::allocate(std::size_t bytes) {
  if (const auto it = free_.find(Allocator::sizeClass(bytes)); it != free_.end() && !it->second.empty()) {
    Block* block = it->second.back();
    it->second.pop_back();
    allocator_.relabel(block, bytes);
    allocator_.retain(block);
    return block;
  }
  owned_.reserve(owned_.size() + 1);
  Block* block = allocator_.allocate(bytes);
  block->owner = id_;
  allocator_.retain(block);
  owned_.push_back(block);
  return block;
}

bool Graph::keep(Block* block) {
  if (block->owner != id_) return false;
  free_[block->capacity].push_back(block);
  return true;
}

int Graph::touch(Block* block, bool written) {
  if (const auto it = inputOf_.find(block); it != inputOf_.end()) {
    if (written) inputs_[static_cast<std::size_t>(it->second)].written = true;
    return it->second;
  }
  if (touched_.insert(block).second && block->owner != id_) allocator_.retain(block);
  if (written) written_.insert(block);
  return -1;
}

template <class F>
void Graph::whole(F&& f) {
  const Program::Mark mark = program_->mark();
  try {
    f();
  } catch (...) {
    program_->rewind(mark);
    throw;
  }
}

void Graph::recordCall(Op op, Kernel kernel, const View* views, Block* const* blocks, int outputs, int inputs,
                       const double* record, int numbers) {
  whole([&] {
    program_->addCall(op, kernel, views, outputs, inputs, record, numbers);
    for (int i = 0; i < outputs + inputs; ++i) {
      const int input = touch(blocks[i], i < outputs);
      if (input >= 0)
        program_->patchView(i, input, static_cast<std::size_t>(static_cast<char*>(views[i].data) - blocks[i]->data));
    }
  });
}

void Graph::recordWrite(Block* block, std::size_t byteOffset, const void* data, std::size_t bytes) {
  whole([&] {
    program_->addWrite(block->data + byteOffset, data, bytes);
    const int input = touch(block, true);
    if (input >= 0) program_->patchWrite(input, byteOffset);
  });
}

void Graph::finish() {
  for (Input& input : inputs_)
    if (input.block) {
      allocator_.release(input.block);
      input.block = nullptr;
    }
  inputOf_.clear();
  free_.clear();
}

void Graph::bind(const std::vector<Block*>& blocks, std::vector<char*>& pointers) const {
  if (blocks.size() != inputs_.size())
    throw Error(Code::Config,
                "replay: expected " + std::to_string(inputs_.size()) + " inputs, got " + std::to_string(blocks.size()));
  pointers.clear();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Block* const block = blocks[i];
    const auto name = [i] { return "replay: input " + std::to_string(i); };
    if (block->bytes < inputs_[i].bytes)
      throw Error(Code::Shape, name() + ": expected a buffer of " + std::to_string(inputs_[i].bytes) + " bytes, got " +
                                   std::to_string(block->bytes));
    // What was checked when the calls were recorded, that no output lies over an input, must still hold.
    if (written_.count(block)) throw Error(Code::Config, name() + " is a buffer that the graph itself writes");
    if (inputs_[i].written) {
      if (touched_.count(block))
        throw Error(Code::Config, name() + ", which the graph writes, is a buffer it also reads");
      for (std::size_t j = 0; j < blocks.size(); ++j)
        if (j != i && blocks[j] == block)
          throw Error(Code::Config, name() + ", which the graph writes, is also input " + std::to_string(j));
    }
    pointers.push_back(block->data);
  }
}

std::size_t Graph::bytes() const {
  std::size_t total = 0;
  for (const Block* block : owned_) total += block->bytes;
  return total;
}

void Graph::dispose() {
  if (disposed()) return;
  finish();
  for (Block* block : touched_)
    if (block->owner != id_) allocator_.release(block);
  for (Block* block : owned_) allocator_.release(block);
  touched_.clear();
  written_.clear();
  owned_.clear();
  program_.reset();
}

}  // namespace gyrus
