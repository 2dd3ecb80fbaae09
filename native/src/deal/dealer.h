// Deals epochs for the readers of a server, shares each among them, and ends it behind them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "deal/deal.h"
#include "deal/order_rows.h"
#include "feed/feed_store.h"
#include "feed/order_reader.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::deal {

struct DealerOptions {
  std::string data_dir;  // empty: deals are in memory only
  int64_t memory_limit_bytes = 0;
  int threads = 1;
  // Feeds below are picked from: they fit a cache.
  int64_t least_bytes = 8 << 20;
  // How long a deal is kept that its readers have gone through, and any other that nobody reads.
  std::chrono::milliseconds keep_used{10'000};
  std::chrono::milliseconds keep_unused{120'000};
};

// Thread-safe. Deals never stand in the way of feeds: what somebody stores has their memory at
// once, and readers of a feed that is in memory go on by picks.
class Dealer {
 public:
  Dealer(std::shared_ptr<feed::FeedStore> store, DealerOptions options);
  ~Dealer();
  Dealer(const Dealer&) = delete;
  Dealer& operator=(const Dealer&) = delete;

  // Places [order.begin, order.end) of the feed; `columns` of it as `schema`, all where empty.
  // Does not wait. INVALID_ARGUMENT for places that are none, UNSUPPORTED_TYPE for columns that are
  // not dealt, FAILED_PRECONDITION where some rows are not here.
  arrow::Result<std::unique_ptr<feed::OrderReader>> Open(
      const std::shared_ptr<const feed::Snapshot>& snapshot, std::shared_ptr<arrow::Schema> schema,
      std::vector<int> columns, const proto::RowOrder& order);
  // Ends what runs; those who wait get UNAVAILABLE. For ever.
  void Stop();
  // Ends deals of feeds that are gone, and those that were kept for long enough. Also done by
  // itself, now and then.
  void Sweep();

  // Of memory and of disk that deals hold.
  int64_t held_bytes() const;

 private:
  using Clock = std::chrono::steady_clock;
  // Feed, its content, the order, the columns.
  using Key = std::tuple<std::string, uint64_t, uint64_t, uint64_t, int64_t, int64_t, int64_t,
                         std::vector<int>>;
  struct Entry {
    std::shared_ptr<Deal> deal;
    int64_t readers = 0;
    Clock::time_point used = Clock::now();
    std::thread thread;
  };
  using Entries = std::map<Key, Entry>;

  std::shared_ptr<Deal> Start(const Key& key, DealSpec spec);  // under mutex_
  void Leave(const Key& key, const std::shared_ptr<Deal>& deal);
  std::shared_ptr<Space> TakeMemory(int64_t bytes);
  arrow::Result<std::shared_ptr<Space>> TakeDisk(int64_t bytes);
  arrow::Status GrowDisk(Space* space, int64_t bytes);
  // Gives up deals until `bytes` more can be had; those with readers only where these can go on.
  // False where there was none to give up.
  bool GiveUp(bool memory, bool with_readers);
  void Retire(Entries::node_type entry);  // under mutex_
  void Reap(bool all);
  void Watch();

  const std::shared_ptr<feed::FeedStore> store_;
  const DealerOptions options_;
  const pid_t pid_;

  mutable std::mutex mutex_;
  std::condition_variable wakes_;
  bool stopping_ = false;
  Entries entries_;
  std::list<Entry> retired_;  // whose threads are yet to be joined
  std::thread watcher_;
};

}  // namespace flightbridge::deal
