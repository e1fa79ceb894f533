#include "core/loader.h"

#include <algorithm>
#include <new>
#include <string>

#include "core/philox.h"

namespace gyrus {

Loader::Loader(Data data, int prefetch) : data_(std::move(data)), slots_(static_cast<std::size_t>(prefetch)) {
  for (const std::int32_t label : data_.labels) ++counts_[label];
  thread_ = std::thread([this] { loop(); });
}

Loader::~Loader() { close(); }

std::int64_t Loader::Epoch::rowsOf(std::int64_t batch) const {
  return std::min(batchSize, static_cast<std::int64_t>(order.size()) - batch * batchSize);
}

void Loader::cut() {
  if (!epochs_.empty()) epochs_.back().batches = epochs_.back().taken;
}

void Loader::start(std::vector<std::int32_t> order, std::int64_t batchSize, bool dropLast, std::uint32_t number,
                   std::int64_t first) {
  for (std::size_t i = 0; i < order.size(); ++i)
    if (order[i] < 0 || order[i] >= data_.rows)
      throw Error(Code::Config, "loader: order[" + std::to_string(i) + "] is " + std::to_string(order[i]) +
                                    ", expected a row from 0 to " + std::to_string(data_.rows - 1));
  if (batchSize < 1)
    throw Error(Code::Config, "loader: expected a batch size of at least 1, got " + std::to_string(batchSize));
  Epoch epoch;
  const auto n = static_cast<std::int64_t>(order.size());
  epoch.order = std::move(order);
  epoch.batchSize = batchSize;
  epoch.number = number;
  epoch.first = first;
  epoch.batches = dropLast ? n / batchSize : n / batchSize + (n % batchSize != 0);
  std::lock_guard<std::mutex> hold(lock_);
  if (disposed_ || closed_) throw Error(Code::Disposed, "loader: it was disposed of");
  cut();
  epoch.id = ++lastEpoch_;
  epochs_.push_back(std::move(epoch));
  changed_.notify_all();
}

std::optional<std::int64_t> Loader::peek() {
  std::lock_guard<std::mutex> hold(lock_);
  if (disposed_ || closed_) throw Error(Code::Disposed, "loader: it was disposed of");
  if (lastEpoch_ == 0) throw Error(Code::Config, "loader: next() before start()");
  if (epochs_.empty() || epochs_.back().taken >= epochs_.back().batches) return std::nullopt;
  return epochs_.back().rowsOf(epochs_.back().taken);
}

Loader::Ticket Loader::take() {
  std::lock_guard<std::mutex> hold(lock_);
  Epoch& epoch = epochs_.back();
  const std::int64_t rows = epoch.rowsOf(epoch.taken++);
  return {epoch.id, rows};
}

void Loader::dispose() {
  std::lock_guard<std::mutex> hold(lock_);
  cut();
  disposed_ = true;
  changed_.notify_all();
}

bool Loader::disposed() {
  std::lock_guard<std::mutex> hold(lock_);
  return disposed_ || closed_;
}

void Loader::close() {
  {
    std::lock_guard<std::mutex> hold(lock_);
    closed_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Loader::handOver(std::uint64_t epoch, char* const targets[4], Backend& backend) {
  std::unique_lock<std::mutex> hold(lock_);
  for (;;) {
    changed_.wait(hold, [this] { return closed_ || filled_ > 0 || outOfMemory_; });
    if (closed_) throw Error(Code::Disposed, "loader: it was disposed of while a batch was under way");
    if (filled_ == 0) throw Error(Code::OutOfMemory, "loader: no memory to assemble a batch");
    Slot& slot = slots_[first_];
    const bool stale = slot.epoch < epoch;
    std::optional<Error> failed;
    if (!stale) {
      // The slot stays ours while the lock is open: only this side empties slots.
      hold.unlock();
      try {
        backend.write(targets[0], slot.x.data(), slot.x.size() * sizeof(float));
        backend.write(targets[1], slot.y.data(), slot.y.size() * sizeof(std::int32_t));
        if (data_.mix) {
          backend.write(targets[2], slot.other.data(), slot.other.size() * sizeof(std::int32_t));
          backend.write(targets[3], slot.share.data(), slot.share.size() * sizeof(float));
        }
      } catch (const Error& error) {
        failed = error;
      }
      hold.lock();
    }
    first_ = (first_ + 1) % slots_.size();
    --filled_;
    changed_.notify_all();
    if (failed) throw *failed;
    if (!stale) return;
  }
}

template <class T>
void Loader::writeRow(const T* in, const Crop* crop, float* out) const {
  const std::size_t channels = data_.scale.size();
  const float *scale = data_.scale.data(), *shift = data_.shift.data();
  // n numbers that begin a pixel; `in` null: zeros.
  const auto write = [&](const T* from, std::size_t n, float* to) {
    if (channels == 1) {
      const float s = scale[0], t = shift[0];
      for (std::size_t j = 0; j < n; ++j) to[j] = (from ? static_cast<float>(from[j]) : 0.0f) * s + t;
      return;
    }
    for (std::size_t j = 0; j < n; j += channels)
      for (std::size_t c = 0; c < channels; ++c)
        to[j + c] = (from ? static_cast<float>(from[j + c]) : 0.0f) * scale[c] + shift[c];
  };
  if (!crop) return write(in, static_cast<std::size_t>(data_.features), out);
  const Augment& a = *data_.augment;
  const auto pixel = static_cast<std::size_t>(a.channels);
  for (std::int64_t i = 0; i < a.height; ++i)
    for (std::int64_t j = 0; j < a.width; ++j) {
      const std::int64_t r = i + crop->down, s = (crop->mirrored ? a.width - 1 - j : j) + crop->right;
      const bool inside = r >= 0 && r < a.height && s >= 0 && s < a.width;
      write(inside ? in + (r * a.width + s) * a.channels : nullptr, pixel, out + (i * a.width + j) * a.channels);
    }
}

void Loader::assemble(const std::int32_t* rows, std::uint32_t epoch, std::int64_t place, Slot& slot) {
  const auto features = static_cast<std::size_t>(data_.features);
  slot.x.resize(static_cast<std::size_t>(slot.rows) * features);
  slot.y.resize(static_cast<std::size_t>(slot.rows));
  for (std::int64_t i = 0; i < slot.rows; ++i) {
    const auto row = static_cast<std::size_t>(rows[i]);
    float* out = slot.x.data() + static_cast<std::size_t>(i) * features;
    std::optional<Crop> crop;
    if (data_.augment) {
      const auto at = static_cast<std::uint64_t>(place + i);
      const std::uint32_t counter[4] = {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at >> 32), epoch, 0};
      std::uint32_t words[4];
      Philox::block(data_.augment->key, counter, words);
      crop = drawCrop(data_.augment->padding, data_.augment->flip, words);
    }
    const Crop* drawn = crop ? &*crop : nullptr;
    if (!data_.bytes.empty())
      writeRow(data_.bytes.data() + row * features, drawn, out);
    else
      writeRow(data_.floats.data() + row * features, drawn, out);
    slot.y[static_cast<std::size_t>(i)] = data_.labels[row];
  }
  if (data_.mix) mixRows(*data_.mix, counts_, epoch, place, slot.x, slot.y, slot.other, slot.share, scratch_);
}

void Loader::loop() {
  std::unique_lock<std::mutex> hold(lock_);
  std::vector<std::int32_t> rows;
  for (;;) {
    // An epoch that is done stays while it is the current one: next() asks it for its end.
    while (epochs_.size() > 1 && epochs_.front().made >= epochs_.front().batches) epochs_.pop_front();
    const bool work = !epochs_.empty() && epochs_.front().made < epochs_.front().batches;
    if (closed_ || (disposed_ && !work)) return;
    if (!work || filled_ == slots_.size()) {
      changed_.wait(hold);
      continue;
    }
    Epoch& epoch = epochs_.front();
    Slot& slot = slots_[(first_ + filled_) % slots_.size()];
    slot.epoch = epoch.id;
    slot.rows = epoch.rowsOf(epoch.made);
    try {
      const auto from = epoch.order.begin() + epoch.made * epoch.batchSize;
      rows.assign(from, from + slot.rows);
      const std::uint32_t number = epoch.number;
      const std::int64_t place = epoch.first + epoch.made * epoch.batchSize;
      ++epoch.made;
      hold.unlock();
      assemble(rows.data(), number, place, slot);
      hold.lock();
    } catch (const std::exception&) {  // bad_alloc, or length_error for a batch beyond what a vector can hold
      if (!hold.owns_lock()) hold.lock();
      outOfMemory_ = true;
      changed_.notify_all();
      return;
    }
    ++filled_;
    changed_.notify_all();
  }
}

}  // namespace gyrus
