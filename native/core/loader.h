// Batches of rows assembled ahead of their use, on a thread of their own, into a ring of slots. The stream takes them
// out in order; batches of an epoch that was given up are thrown away on the way.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/backend.h"
#include "core/crop.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/mix.h"

namespace gyrus {

class Loader {
 public:
  // Each row, a picture [height, width, channels], is shifted, what comes in being 0, and mirrored, both at random.
  struct Augment {
    std::int64_t height, width, channels, padding;
    double flip;
    std::uint32_t key[2];  // of the random stream; a row draws by its epoch and its place in it
  };
  struct Data {
    std::vector<std::uint8_t> bytes;  // one of the two
    std::vector<float> floats;
    std::vector<std::int32_t> labels;
    std::int64_t rows = 0, features = 0;
    // A number becomes number * scale + shift of its channel, the last axis of a row; as many as there are channels.
    std::vector<float> scale{1}, shift{0};
    std::optional<Augment> augment;
    std::optional<Mix> mix;  // of the rows of a batch, after the augmentation
  };
  struct Ticket {
    std::uint64_t epoch;
    std::int64_t rows;
  };

  Loader(Data data, int prefetch);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();

  std::int64_t features() const { return data_.features; }
  // Whether batches have second labels and shares.
  bool mixes() const { return data_.mix.has_value(); }

  // ---- the producer's side
  // `epoch` and `first`, the place of order[0] in it, choose augmentation and mixing. Throws Error(Config) for a row
  // that isn't there. What was prefetched and not handed out is dropped.
  void start(std::vector<std::int32_t> order, std::int64_t batchSize, bool dropLast, std::uint32_t epoch = 0,
             std::int64_t first = 0);
  // Rows of the next batch without taking it; nothing at the end of the epoch.
  std::optional<std::int64_t> peek();
  // Takes it: a handOver for the ticket must follow in the stream.
  Ticket take();
  // No more batches: those taken are still delivered, then the thread ends.
  void dispose();
  bool disposed();
  // At once: a handOver that waits throws Error(Disposed). The thread is joined.
  void close();

  // ---- the stream's side
  // Waits for the next batch of the epoch and writes it to the targets: x f32 [rows, features], y i32 [rows]; where
  // rows are mixed also the second labels i32 [rows] and the shares of the first f32 [rows].
  void handOver(std::uint64_t epoch, char* const targets[4], Backend& backend);

 private:
  struct Epoch {
    std::uint64_t id = 0;
    std::vector<std::int32_t> order;
    std::int64_t batchSize = 1, batches = 0, taken = 0, made = 0;
    std::uint32_t number = 0;
    std::int64_t first = 0;
    std::int64_t rowsOf(std::int64_t batch) const;
  };
  struct Slot {
    std::uint64_t epoch = 0;
    std::int64_t rows = 0;
    std::vector<float> x;
    std::vector<std::int32_t> y;
    std::vector<std::int32_t> other;
    std::vector<float> share;
  };
  void loop();
  void assemble(const std::int32_t* rows, std::uint32_t epoch, std::int64_t place, Slot& slot);
  template <class T>
  void writeRow(const T* in, const Crop* crop, float* out) const;
  void cut();  // the last epoch ends with what was taken of it

  const Data data_;
  ClassCounts counts_;          // of the labels
  std::vector<float> scratch_;  // of the loader's thread
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Epoch> epochs_;  // those with batches still to make; the last one is the current
  std::vector<Slot> slots_;
  std::size_t first_ = 0, filled_ = 0;
  std::uint64_t lastEpoch_ = 0;
  bool disposed_ = false, closed_ = false, outOfMemory_ = false;
  std::thread thread_;
};

}  // namespace gyrus
