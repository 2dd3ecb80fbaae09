// A feed store for tests, with the few calls that most of them make.
#pragma once

#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "feed/feed_store.h"
#include "feed/schema_rules.h"

namespace flightbridge::testing {

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

// A directory of its own, removed with everything in it.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fb-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class TestStore {
 public:
  explicit TestStore(int64_t memory_limit_bytes = 64 << 20, std::string data_dir = "") {
    options.segments.memory_limit_bytes = memory_limit_bytes;
    options.segments.data_dir = std::move(data_dir);
    options.clock_ms = [this] { return now_ms.load(); };
    Reopen();
  }
  void Close() { store_.reset(); }
  arrow::Status TryReopen() {
    store_.reset();
    return feed::FeedStore::Open(options).Value(&store_);
  }
  void Reopen() {
    const auto status = TryReopen();
    if (!status.ok()) ADD_FAILURE() << status;
  }

  feed::FeedStore* operator->() const { return store_.get(); }
  std::shared_ptr<feed::FeedStore> get() const { return store_; }

  arrow::Result<proto::BeginWriteResult> Begin(
      const std::string& feed, const std::string& job, const std::shared_ptr<arrow::Schema>& schema,
      proto::WriteMode mode = proto::WriteMode::kErrorIfExists) const {
    proto::BeginWrite begin;
    begin.feed = feed;
    begin.job_id = job;
    begin.mode = mode;
    begin.schema = feed::EncodeSchema(*schema).ValueOrDie();
    return store_->BeginWrite(begin);
  }

  // Stages an attempt; the reference that a commit needs.
  arrow::Result<proto::AttemptRef> Put(const std::string& feed, const std::string& job,
                                       int64_t partition, int64_t attempt,
                                       const Batches& batches) const {
    ARROW_ASSIGN_OR_RAISE(
        auto writer, store_->OpenAttempt({feed, job, partition, attempt}, batches.at(0)->schema()));
    for (const auto& batch : batches) ARROW_RETURN_NOT_OK(writer->Append(*batch, std::nullopt));
    ARROW_ASSIGN_OR_RAISE(const auto put, writer->Finish(std::nullopt));
    return proto::AttemptRef{partition, attempt, put.rows, put.batches, put.crc32c};
  }

  // A whole write: one attempt for each element of `partitions`.
  std::shared_ptr<const feed::Snapshot> Write(
      const std::string& feed, const std::vector<Batches>& partitions,
      proto::WriteMode mode = proto::WriteMode::kErrorIfExists) {
    const std::string job = "job-" + std::to_string(next_job_++);
    const auto begun = Begin(feed, job, partitions.at(0).at(0)->schema(), mode);
    EXPECT_TRUE(begun.ok()) << begun.status();
    proto::CommitWrite commit{feed, job, {}};
    for (size_t i = 0; i < partitions.size(); ++i) {
      const auto ref = Put(feed, job, static_cast<int64_t>(i), 100, partitions[i]);
      EXPECT_TRUE(ref.ok()) << ref.status();
      commit.attempts.push_back(ref.ValueOrDie());
    }
    const auto done = store_->CommitWrite(commit);
    EXPECT_TRUE(done.ok()) << done.status();
    return store_->Find(feed).ValueOrDie();
  }

  feed::FeedStoreOptions options;
  std::atomic<int64_t> now_ms{1'000'000};

 private:
  std::shared_ptr<feed::FeedStore> store_;
  int next_job_ = 0;
};

// The first column (int64) of every row of a feed, in order.
inline std::vector<int64_t> RowsOf(const feed::Snapshot& snapshot) {
  std::vector<int64_t> rows;
  for (const auto& partition : snapshot.partitions) {
    for (size_t i = 0; i < partition->messages.size(); ++i) {
      if (partition->messages[i].is_dictionary) continue;
      const auto batch = partition->Decode(i);
      EXPECT_TRUE(batch.ok()) << batch.status();
      const auto& column = static_cast<const arrow::Int64Array&>(*(*batch)->column(0));
      for (int64_t row = 0; row < column.length(); ++row) rows.push_back(column.Value(row));
    }
  }
  return rows;
}

}  // namespace flightbridge::testing
