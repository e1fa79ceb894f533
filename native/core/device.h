// A device: allocator, handles, stream, recording and loaders behind the calls that the addon hands on, over a backend
// for its kind of memory. All methods are for one thread (the environment's); only the stream's entries run elsewhere.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "core/allocator.h"
#include "core/backend.h"
#include "core/graph.h"
#include "core/handles.h"
#include "core/loader.h"
#include "core/stream.h"

namespace gyrus {

struct MemoryInfo {
  std::size_t bytesInUse, peakBytes, bytesReserved, buffers, graphBytes, queued;
};

class Device {
 public:
  Device(const KernelTable& table, const Stream::Options& options, std::unique_ptr<Backend> backend = hostBackend());
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  double alloc(double bytes);
  void release(double handle);
  void write(double handle, double byteOffset, const void* data, std::size_t bytes);
  void read(double handle, double byteOffset, std::size_t bytes, Completion completion);
  void readSync(double handle, double byteOffset, void* into, std::size_t bytes);
  // The call in the first `length` numbers of `command` (see src/device/native.ts); fresh handles are written back
  // when nothing can fail any more.
  void enqueue(double* command, std::size_t length);
  void fence(Completion completion);
  void sync();

  void beginCapture(const std::vector<double>& inputs);
  std::shared_ptr<Graph> endCapture();
  void abortCapture();
  void replay(Graph& graph, const std::vector<double>& inputs);
  bool capturing() const { return recording_ != nullptr; }
  bool has(Op op) const { return table_.get(op) != nullptr; }

  std::shared_ptr<Loader> createLoader(Loader::Data data, int prefetch);
  struct Batch {
    double x, y;
    std::int64_t rows;
    double other = 0, share = 0;  // of mixed rows
  };
  std::optional<Batch> nextBatch(const std::shared_ptr<Loader>& loader);

  MemoryInfo memory() const;
  std::size_t bytesInUse() const { return allocator_.bytesInUse(); }
  void trim();
  // Stops the stream and frees everything; every later call throws Error(Disposed).
  void dispose();
  bool disposed() const { return disposed_; }

 private:
  // One call as decode() leaves it; kept to reuse its memory.
  struct Decoded {
    Op op = Op::Fill;
    int outputs = 0, inputs = 0;
    std::vector<View> views;  // as many as places; those behind are of earlier calls
    struct Place {
      Block* block;       // null: a fresh output
      std::size_t start;  // byte offset of the view
      std::size_t bytes;  // what a fresh output needs
      std::size_t at;     // where its handle stands in the command
      double fresh;       // the handle of a fresh output, else 0
    };
    std::vector<Place> places;
    std::vector<double> record;
  };
  void alive(const char* what) const;
  void decode(const double* command, std::size_t length);
  std::size_t decodeView(const double* command, std::size_t length, std::size_t at, bool output);
  Block* allocateBlock(std::size_t bytes);
  double newBuffer(std::size_t bytes);
  void releaseBlock(Block* block);
  char* range(const char* what, double handle, double byteOffset, std::size_t bytes, Block** block);

  const KernelTable& table_;
  const std::unique_ptr<Backend> backend_;
  Allocator allocator_;
  HandleTable handles_;
  std::unique_ptr<Graph> recording_;
  std::uint32_t recordings_ = 0;
  std::vector<std::weak_ptr<Graph>> graphs_;
  std::vector<std::weak_ptr<Loader>> loaders_;
  Decoded call_;
  std::vector<Block*> recordedBlocks_, boundBlocks_;  // kept to reuse their memory
  std::vector<char*> bindings_;
  bool disposed_ = false;
  Stream stream_;
};

}  // namespace gyrus
