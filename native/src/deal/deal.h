// One epoch of a full shuffle, dealt: the feed is walked once, in order, and each row put where the
// order wants it. What a reader asks for then lies together.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <arrow/result.h>
#include <arrow/status.h>
#include <arrow/type.h>

#include "deal/buckets.h"
#include "deal/feed_rows.h"
#include "plan/permutation.h"

namespace flightbridge::deal {

struct DealSpec {
  std::string feed;
  std::shared_ptr<const FeedRows> rows;
  std::shared_ptr<arrow::Schema> schema;  // of the columns
  std::vector<int> columns;               // of the feed
  std::shared_ptr<const plan::Permutation> order;
  // Whether all rows of the feed are in memory, so that they can be looked at twice.
  bool resident = true;
  int threads = 1;
  int64_t stage_bytes = 64 << 20;  // before it is written to disk, at most
  // Memory, or nullptr.
  std::function<std::shared_ptr<Space>(int64_t)> take_memory;
  // RESOURCE_EXHAUSTED where there is none.
  std::function<arrow::Result<std::shared_ptr<Space>>(int64_t)> take_disk;
  // Makes a space on disk that large; likewise.
  std::function<arrow::Status(Space*, int64_t)> grow_disk;
};

// Thread-safe, but for Run().
class Deal {
 public:
  // Keeps the rows while it lives: for moments.
  class Pin {
   public:
    Pin() = default;
    Pin(const Deal* deal, std::shared_ptr<const Buckets> buckets)
        : deal_(deal), buckets_(std::move(buckets)) {}
    Pin(Pin&& other) noexcept
        : deal_(std::exchange(other.deal_, nullptr)), buckets_(std::move(other.buckets_)) {}
    Pin& operator=(Pin&&) = delete;
    ~Pin() {
      if (deal_ != nullptr) deal_->Unpin(std::move(buckets_));
    }
    explicit operator bool() const { return buckets_ != nullptr; }
    const Buckets* operator->() const { return buckets_.get(); }
    const Buckets& operator*() const { return *buckets_; }

   private:
    const Deal* deal_ = nullptr;
    std::shared_ptr<const Buckets> buckets_;
  };

  explicit Deal(DealSpec spec) : spec_(std::move(spec)) {}

  // Deals, on the caller's thread and some more; once. Errors are for those who wait.
  void Run();
  // Makes Run() return soon, and gives the space up as soon as nobody reads in it. For ever.
  void Revoke();

  // Whether Run() is over. Waits for that.
  bool WaitUntilOver(std::chrono::milliseconds patience) const;
  // The same, and until nobody reads in it at the moment.
  bool WaitUntilFree(std::chrono::milliseconds patience) const;
  // After that: the rows; what went wrong; or nothing once revoked.
  arrow::Result<Pin> Get() const;
  // As Revoke(), and their space is for another deal. nullptr where somebody reads in it.
  std::shared_ptr<Space> TakeSpace();

  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }  // that it holds
  bool in_memory() const { return in_memory_.load(std::memory_order_relaxed); }
  int64_t dealt_rows() const { return dealt_rows_.load(std::memory_order_relaxed); }
  // Rows that readers got out of it.
  void Served(int64_t rows) { served_rows_.fetch_add(rows, std::memory_order_relaxed); }
  bool gone_through() const { return served_rows_.load(std::memory_order_relaxed) >= rows_; }

 private:
  // What is known before the rows are read.
  struct Outline {
    std::vector<bool> nulls;    // by column: whether there are any, as far as is known
    int64_t varying_bytes = 0;  // of values that vary in size: at most
    // That is about what they have. Of a feed that is not in memory only where all such columns are
    // read.
    bool exact = true;
  };
  using Work = std::function<arrow::Status(const feed::PickColumn*, int64_t, int64_t, int64_t)>;

  void Unpin(std::shared_ptr<const Buckets> buckets) const;
  arrow::Status DealRows();
  arrow::Result<Outline> OutlineRows() const;
  arrow::Status MakeBuckets();
  arrow::Status ForEachPiece(const std::function<Work()>& make_work, int threads);

  DealSpec spec_;
  const int64_t rows_ = spec_.rows->rows();
  std::unique_ptr<plan::InversePermutation> places_;
  std::atomic<bool> revoked_{false};
  std::atomic<int64_t> bytes_{0};
  std::atomic<bool> in_memory_{true};
  std::atomic<int64_t> dealt_rows_{0};
  std::atomic<int64_t> served_rows_{0};

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;  // over_, pins_
  bool over_ = false;
  mutable int64_t pins_ = 0;
  arrow::Status status_;
  std::shared_ptr<Buckets> buckets_;
};

}  // namespace flightbridge::deal
