#include "core/loader.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

namespace gyrus {

Loader::Loader(Data data, int prefetch) : data_(std::move(data)), slots_(static_cast<std::size_t>(prefetch)) {
  thread_ = std::thread([this] { loop(); });
}

Loader::~Loader() { close(); }

std::int64_t Loader::Epoch::rowsOf(std::int64_t batch) const {
  return std::min(batchSize, static_cast<std::int64_t>(order.size()) - batch * batchSize);
}

void Loader::cut() {
  if (!epochs_.empty()) epochs_.back().batches = epochs_.back().taken;
}

void Loader::start(std::vector<std::int32_t> order, std::int64_t batchSize, bool dropLast) {
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

void Loader::handOver(std::uint64_t epoch, char* x, char* y) {
  std::unique_lock<std::mutex> hold(lock_);
  for (;;) {
    changed_.wait(hold, [this] { return closed_ || filled_ > 0 || outOfMemory_; });
    if (closed_) throw Error(Code::Disposed, "loader: it was disposed of while a batch was under way");
    if (filled_ == 0) throw Error(Code::OutOfMemory, "loader: no memory to assemble a batch");
    Slot& slot = slots_[first_];
    const bool stale = slot.epoch < epoch;
    if (!stale) {
      // The slot stays ours while the lock is open: only this side empties slots.
      hold.unlock();
      std::memcpy(x, slot.x.data(), slot.x.size() * sizeof(float));
      std::memcpy(y, slot.y.data(), slot.y.size() * sizeof(std::int32_t));
      hold.lock();
    }
    first_ = (first_ + 1) % slots_.size();
    --filled_;
    changed_.notify_all();
    if (!stale) return;
  }
}

void Loader::assemble(const std::int32_t* rows, Slot& slot) const {
  const auto features = static_cast<std::size_t>(data_.features);
  const auto scale = static_cast<float>(data_.scale), shift = static_cast<float>(data_.shift);
  slot.x.resize(static_cast<std::size_t>(slot.rows) * features);
  slot.y.resize(static_cast<std::size_t>(slot.rows));
  for (std::int64_t i = 0; i < slot.rows; ++i) {
    const auto row = static_cast<std::size_t>(rows[i]);
    float* out = slot.x.data() + static_cast<std::size_t>(i) * features;
    if (!data_.bytes.empty()) {
      const std::uint8_t* in = data_.bytes.data() + row * features;
      for (std::size_t j = 0; j < features; ++j) out[j] = static_cast<float>(in[j]) * scale + shift;
    } else {
      const float* in = data_.floats.data() + row * features;
      for (std::size_t j = 0; j < features; ++j) out[j] = in[j] * scale + shift;
    }
    slot.y[static_cast<std::size_t>(i)] = data_.labels[row];
  }
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
      ++epoch.made;
      hold.unlock();
      assemble(rows.data(), slot);
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
