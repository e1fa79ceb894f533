#include "core/device.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace gyrus {

Device::Device(const KernelTable& table, const Stream::Options& options, std::unique_ptr<Backend> backend)
    : table_(table),
      backend_(std::move(backend)),
      allocator_(backend_->memory(),
                 [this] {
                   stream_.drain();
                   backend_->settle();
                 }),
      handles_(nextDeviceTag()),
      stream_(*backend_, options) {}

Device::~Device() { dispose(); }

void Device::alive(const char* what) const {
  if (disposed_) throw Error(Code::Disposed, std::string(what) + ": the device was disposed of");
}

Block* Device::allocateBlock(std::size_t bytes) {
  return recording_ ? recording_->allocate(bytes) : allocator_.allocate(bytes);
}

void Device::releaseBlock(Block* block) {
  allocator_.release(block);
  if (recording_) recording_->keep(block);
}

double Device::newBuffer(std::size_t bytes) {
  Block* block = allocateBlock(bytes);
  try {
    return handles_.add(block);
  } catch (...) {
    releaseBlock(block);
    throw;
  }
}

double Device::alloc(double bytes) {
  alive("alloc");
  if (!(bytes >= 0) || bytes != std::floor(bytes))
    throw Error(Code::Config, "alloc: expected a number of bytes, got " + describeNumber(bytes));
  if (bytes > 9007199254740992.0)
    throw Error(Code::OutOfMemory, "alloc: no memory for " + describeNumber(bytes) + " bytes");
  return newBuffer(static_cast<std::size_t>(bytes));
}

void Device::release(double handle) {
  alive("release");
  releaseBlock(handles_.remove(handle, "release"));
}

char* Device::range(const char* what, double handle, double byteOffset, std::size_t bytes, Block** found) {
  Block* block = handles_.get(handle, what);
  const auto size = static_cast<double>(block->bytes);
  if (!(byteOffset >= 0) || byteOffset != std::floor(byteOffset) || byteOffset > size ||
      static_cast<double>(bytes) > size - byteOffset)
    throw Error(Code::Shape, std::string(what) + ": " + std::to_string(bytes) + " bytes at offset " +
                                 describeNumber(byteOffset) + " don't fit a buffer of " + std::to_string(block->bytes) +
                                 " bytes");
  *found = block;
  return block->data + static_cast<std::size_t>(byteOffset);
}

void Device::write(double handle, double byteOffset, const void* data, std::size_t bytes) {
  alive("write");
  Block* block;
  char* target = range("write", handle, byteOffset, bytes, &block);
  const auto record = [&] {
    if (recording_) recording_->recordWrite(block, static_cast<std::size_t>(byteOffset), data, bytes);
  };
  if (bytes > stream_.maxBytes()) stream_.drain();
  if (bytes == 0 || stream_.idle()) {
    record();
    if (bytes > 0) stream_.writeNow(target, data, bytes);
    return;
  }
  std::unique_ptr<char[]> staged(new char[bytes]);
  std::memcpy(staged.get(), data, bytes);
  EntryExtra& e = stream_.next(bytes).set(Entry::Kind::Write);
  e.target = target;
  e.bytes = bytes;
  e.staged = std::move(staged);
  record();
  stream_.push(bytes);
}

void Device::read(double handle, double byteOffset, std::size_t bytes, Completion completion) {
  alive("read");
  if (recording_) throw Error(Code::Config, "read: a captured function can't read values: a replay wouldn't");
  Block* block;
  char* source = range("read", handle, byteOffset, bytes, &block);
  EntryExtra& e = stream_.next().set(Entry::Kind::Read);
  e.target = source;
  e.bytes = bytes;
  e.completion = std::move(completion);
  stream_.push();
}

void Device::readSync(double handle, double byteOffset, void* into, std::size_t bytes) {
  alive("readSync");
  if (recording_) throw Error(Code::Config, "readSync: a captured function can't read values: a replay wouldn't");
  Block* block;
  const char* source = range("readSync", handle, byteOffset, bytes, &block);
  stream_.finish(into, source, bytes);
}

void Device::fence(Completion completion) {
  alive("fence");
  EntryExtra& e = stream_.next().set(Entry::Kind::Fence);
  e.completion = std::move(completion);
  stream_.push();
}

void Device::sync() {
  alive("sync");
  stream_.finish();
}

void Device::enqueue(double* command, std::size_t length) {
  alive("enqueue");
  decode(command, length);
  const Op op = call_.op;
  const Kernel kernel = table_.get(op);
  if (!kernel) throw Error(Code::Device, std::string(nameOf(op)) + ": this device has no kernel for it");
  check(op, Args{call_.views.data(), call_.outputs, call_.views.data() + call_.outputs, call_.inputs,
                 call_.record.data(), static_cast<int>(call_.record.size()), nullptr});

  // Fresh outputs come last, when nothing but memory can fail any more.
  const auto outputs = static_cast<std::size_t>(call_.outputs);
  try {
    for (std::size_t i = 0; i < outputs; ++i) {
      Decoded::Place& place = call_.places[i];
      if (place.block) continue;
      place.fresh = newBuffer(place.bytes);
      place.block = handles_.get(place.fresh, nameOf(op));
      call_.views[i].data = place.block->data + place.start;
    }
    stream_.next().setCall(op, kernel, call_.outputs, call_.inputs, call_.views.data(), call_.record);
    if (recording_) {
      recordedBlocks_.clear();
      for (const Decoded::Place& place : call_.places) recordedBlocks_.push_back(place.block);
      recording_->recordCall(op, kernel, call_.views.data(), recordedBlocks_.data(), call_.outputs, call_.inputs,
                             call_.record.data(), static_cast<int>(call_.record.size()));
    }
  } catch (...) {
    for (std::size_t i = 0; i < outputs; ++i)
      if (call_.places[i].fresh != 0) releaseBlock(handles_.remove(call_.places[i].fresh, nameOf(op)));
    throw;
  }
  for (std::size_t i = 0; i < outputs; ++i)
    if (call_.places[i].fresh != 0) command[call_.places[i].at] = call_.places[i].fresh;
  stream_.push();
}

void Device::beginCapture(const std::vector<double>& inputs) {
  alive("beginCapture");
  if (recording_) throw Error(Code::Config, "beginCapture: a capture is under way; captures can't be nested");
  std::vector<Block*> blocks;
  for (double handle : inputs) blocks.push_back(handles_.get(handle, "beginCapture"));
  auto graph = std::make_unique<Graph>(allocator_, ++recordings_);
  for (Block* block : blocks) graph->addInput(block);
  recording_ = std::move(graph);
}

std::shared_ptr<Graph> Device::endCapture() {
  alive("endCapture");
  if (!recording_) throw Error(Code::Config, "endCapture: no capture is under way");
  recording_->finish();
  std::shared_ptr<Graph> graph = std::move(recording_);
  std::erase_if(graphs_, [](const std::weak_ptr<Graph>& g) { return g.expired(); });
  graphs_.push_back(graph);
  return graph;
}

void Device::abortCapture() {
  alive("abortCapture");
  if (!recording_) throw Error(Code::Config, "abortCapture: no capture is under way");
  recording_.reset();
}

void Device::replay(Graph& graph, const std::vector<double>& inputs) {
  alive("replay");
  if (graph.disposed()) throw Error(Code::Disposed, "replay: the graph was disposed of");
  if (recording_) throw Error(Code::Config, "replay: a capture is under way; captures can't be nested");
  boundBlocks_.clear();
  for (double handle : inputs) boundBlocks_.push_back(handles_.get(handle, "replay"));
  graph.bind(boundBlocks_, bindings_);
  EntryExtra& e = stream_.next().set(Entry::Kind::Replay);
  e.program = graph.program();
  e.bindings.swap(bindings_);
  stream_.push();
}

std::shared_ptr<Loader> Device::createLoader(Loader::Data data, int prefetch) {
  alive("createLoader");
  auto loader = std::make_shared<Loader>(std::move(data), prefetch);
  std::erase_if(loaders_, [](const std::weak_ptr<Loader>& l) { return l.expired(); });
  loaders_.push_back(loader);
  return loader;
}

std::optional<Device::Batch> Device::nextBatch(const std::shared_ptr<Loader>& loader) {
  alive("loader");
  if (recording_) throw Error(Code::Config, "loader: a captured function can't take batches: a replay wouldn't");
  const std::optional<std::int64_t> rows = loader->peek();
  if (!rows) return std::nullopt;
  const auto n = static_cast<std::size_t>(*rows);
  EntryExtra& e = stream_.next().set(Entry::Kind::HandOver);
  const std::size_t row = static_cast<std::size_t>(loader->features()) * sizeof(float);
  const int buffers = loader->mixes() ? 4 : 2;
  double handles[4] = {};
  char* data[4] = {};
  for (int i = 0; i < buffers; ++i) {
    try {
      handles[i] = newBuffer(n * (i == 0 ? row : sizeof(float)));
    } catch (...) {
      while (i-- > 0) releaseBlock(handles_.remove(handles[i], "loader"));
      throw;
    }
    data[i] = handles_.get(handles[i], "loader")->data;
  }
  std::copy(std::begin(data), std::end(data), e.targets);
  e.loader = loader;
  e.epoch = loader->take().epoch;
  stream_.push();
  return Batch{handles[0], handles[1], *rows, handles[2], handles[3]};
}

MemoryInfo Device::memory() const {
  alive("memory");
  std::size_t graphBytes = recording_ ? recording_->bytes() : 0;
  for (const std::weak_ptr<Graph>& weak : graphs_)
    if (const std::shared_ptr<Graph> graph = weak.lock()) graphBytes += graph->bytes();
  return {allocator_.bytesInUse(), allocator_.peakBytes(), allocator_.bytesReserved(), handles_.alive(), graphBytes,
          stream_.queued()};
}

void Device::trim() {
  alive("trim");
  allocator_.trim();
}

void Device::dispose() {
  if (disposed_) return;
  disposed_ = true;
  // A hand-over may be waiting for a batch, so the loaders go first.
  for (const std::weak_ptr<Loader>& weak : loaders_)
    if (const std::shared_ptr<Loader> loader = weak.lock()) loader->close();
  stream_.stop();
  backend_->stop();
  recording_.reset();
  // A graph that outlives the device has nothing left to give back.
  for (const std::weak_ptr<Graph>& weak : graphs_)
    if (const std::shared_ptr<Graph> graph = weak.lock()) graph->dispose();
  graphs_.clear();
  handles_.drain([this](Block* block) { allocator_.release(block); });
  allocator_.trim();
}

}  // namespace gyrus
