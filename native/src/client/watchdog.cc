#include "client/watchdog.h"

#include <algorithm>

#include <arrow/flight/transport.h>

#include "common/thread.h"

namespace flightbridge::client {

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

Watchdog::Guard::~Guard() {
  std::lock_guard lock(watchdog_->mutex_);
  watchdog_->entries_.erase(entry_);
}

bool Watchdog::Guard::fired() const {
  std::lock_guard lock(watchdog_->mutex_);
  return entry_->fired;
}

Watchdog::Guard Watchdog::Arm(arrow::flight::internal::ClientDataStream* stream,
                              std::chrono::duration<double> timeout) {
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout);
  std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = StartThread([this] { Run(); });
  const auto entry = entries_.insert(entries_.end(), Entry{stream, deadline});
  // All waits have the same length, so the thread is woken only when it had nothing to wait for.
  if (deadline < wakes_at_) changed_.notify_one();
  return {this, entry};
}

void Watchdog::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const auto now = Clock::now();
    wakes_at_ = Clock::time_point::max();
    for (Entry& entry : entries_) {
      if (entry.fired) continue;
      if (entry.deadline <= now) {
        entry.fired = true;
        entry.stream->TryCancel();
      } else {
        wakes_at_ = std::min(wakes_at_, entry.deadline);
      }
    }
    if (wakes_at_ == Clock::time_point::max()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, wakes_at_);
    }
  }
}

}  // namespace flightbridge::client
