// Puts a deadline on single waits inside a stream. gRPC's own deadline covers a whole call, but a
// stream may live for hours while no one wait in it may.
#pragma once

#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

namespace arrow::flight::internal {
class ClientDataStream;
}

namespace flightbridge::client {

// Thread-safe; one thread, started by the first Arm().
class Watchdog {
 public:
  using Clock = std::chrono::steady_clock;

  Watchdog() = default;
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct Entry {
    arrow::flight::internal::ClientDataStream* stream;
    Clock::time_point deadline;
    bool fired = false;
  };

 public:
  // Cancels the stream unless destroyed before the deadline. The stream must outlive it.
  class Guard {
   public:
    Guard(Watchdog* watchdog, std::list<Entry>::iterator entry)
        : watchdog_(watchdog), entry_(entry) {}
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    bool fired() const;

   private:
    Watchdog* watchdog_;
    std::list<Entry>::iterator entry_;
  };

  Guard Arm(arrow::flight::internal::ClientDataStream* stream,
            std::chrono::duration<double> timeout);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Entry> entries_;
  Clock::time_point wakes_at_ = Clock::time_point::max();
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace flightbridge::client
