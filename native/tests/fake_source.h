// A server in memory, for tests of the reader: serves tickets, and fails or hangs on demand.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/table.h>

#include "batch/source.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {

struct FakeFeed {
  std::shared_ptr<arrow::Schema> schema;
  std::vector<std::vector<std::shared_ptr<arrow::RecordBatch>>> partitions;
  uint64_t fingerprint = 0xF00D;
  proto::FeedState state = proto::FeedState::kCommitted;

  std::atomic<int> connects{0};
  std::atomic<int> opens{0};
  std::atomic<int> live_streams{0};
  std::atomic<int> sent{0};  // batches
  std::function<arrow::Status()> on_connect = [] { return arrow::Status::OK(); };
  // Called before each batch with how many were sent already.
  std::function<arrow::Status(int)> on_batch = [](int) { return arrow::Status::OK(); };

  std::function<arrow::Result<std::string>(const std::string&, const std::string&)> on_action =
      [](const std::string& action, const std::string&) -> arrow::Result<std::string> {
    return Error(Code::kInvalidArgument, "unknown action ", action);
  };

  // A gate that Next() waits at once `hang_after` batches were sent, until cancelled.
  int hang_after = -1;
  std::mutex mutex;
  std::condition_variable gate;
  int hanging = 0;

  proto::FeedInfo Info() const {
    proto::FeedInfo info;
    info.feed = "fake";
    info.feed_id = 17;
    info.fingerprint = fingerprint;
    info.schema_hash = 5;
    info.state = state;
    for (size_t p = 0; p < partitions.size(); ++p) {
      proto::PartitionInfo partition;
      partition.partition = static_cast<int64_t>(p);
      for (const auto& batch : partitions[p]) partition.rows += batch->num_rows();
      partition.bytes = partition.rows * 8 * schema->num_fields();
      info.rows += partition.rows;
      info.bytes += partition.bytes;
      info.partitions.push_back(partition);
    }
    return info;
  }
};

class FakeStream : public GetStream {
 public:
  FakeStream(std::shared_ptr<FakeFeed> feed, const proto::GetTicket& ticket)
      : feed_(std::move(feed)) {
    ++feed_->live_streams;
    std::vector<int> columns;
    for (const auto& name : ticket.columns) columns.push_back(feed_->schema->GetFieldIndex(name));
    for (const proto::RowRange& range : ticket.ranges) {
      int64_t begin = 0;
      for (const auto& batch : feed_->partitions[range.partition]) {
        const int64_t from = std::max(range.row_begin - begin, int64_t{0});
        const int64_t to = std::min(range.row_end - begin, batch->num_rows());
        if (from < to) batches_.push_back(*batch->Slice(from, to - from)->SelectColumns(columns));
        begin += batch->num_rows();
      }
    }
    std::vector<std::shared_ptr<arrow::RecordBatch>> picked;
    const auto flush = [&] {
      if (!picked.empty()) batches_.push_back(*arrow::ConcatenateRecordBatches(picked));
      picked.clear();
    };
    for (const proto::RowPicks& picks : ticket.picks) {
      const auto& batches = feed_->partitions[picks.partition];
      int64_t row = 0;
      for (const int64_t step : picks.steps) {
        int64_t at = row += step;
        auto batch = batches.begin();
        for (; at >= (*batch)->num_rows(); ++batch) at -= (*batch)->num_rows();
        picked.push_back(*(*batch)->Slice(at, 1)->SelectColumns(columns));
        if (picked.size() == 50) flush();
      }
    }
    flush();
  }
  ~FakeStream() override { --feed_->live_streams; }

  arrow::Result<std::shared_ptr<arrow::Schema>> schema() override { return feed_->schema; }

  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    if (feed_->hang_after >= 0 && feed_->sent >= feed_->hang_after) {
      std::unique_lock lock(feed_->mutex);
      ++feed_->hanging;
      feed_->gate.notify_all();
      feed_->gate.wait(lock, [&] { return cancelled_; });
      return Error(Code::kCancelled, "stream cancelled");
    }
    if (next_ == batches_.size()) return nullptr;
    ARROW_RETURN_NOT_OK(feed_->on_batch(feed_->sent));
    ++feed_->sent;
    return batches_[next_++];
  }

  void Cancel() override {
    const std::lock_guard lock(feed_->mutex);
    cancelled_ = true;
    feed_->gate.notify_all();
  }

 private:
  std::shared_ptr<FakeFeed> feed_;
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches_;
  size_t next_ = 0;
  bool cancelled_ = false;
};

class FakeSource : public Source {
 public:
  explicit FakeSource(std::shared_ptr<FakeFeed> feed) : feed_(std::move(feed)) {}
  arrow::Result<proto::FeedInfo> DescribeFeed() override { return feed_->Info(); }
  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema() override { return feed_->schema; }
  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    ++feed_->opens;
    return std::make_unique<FakeStream>(feed_, ticket);
  }
  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string&) override {
    return feed_->on_action(action, body);
  }

 private:
  std::shared_ptr<FakeFeed> feed_;
};

inline ConnectFn ConnectFake(std::shared_ptr<FakeFeed> feed) {
  return [feed]() -> arrow::Result<std::unique_ptr<Source>> {
    ++feed->connects;
    ARROW_RETURN_NOT_OK(feed->on_connect());
    return std::make_unique<FakeSource>(feed);
  };
}

}  // namespace flightbridge::batch
