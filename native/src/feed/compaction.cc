// Keeps the journal of a data directory in proportion to what it describes.
#include <algorithm>

#include "feed/feed_store_impl.h"
#include "feed/journal_records.h"
#include "feed/retention.h"
#include "feed/schema_rules.h"

namespace flightbridge::feed {
namespace {

constexpr int64_t kSmallestBytes = 1 << 20;
constexpr int64_t kGrowth = 4;  // times what the last compaction left

}  // namespace

void FeedStoreImpl::CompactIfLarge() {
  if (journal_ == nullptr) return;
  if (compact_at_bytes_ == 0) compact_at_bytes_ = kSmallestBytes;
  if (journal_->bytes() < compact_at_bytes_) return;
  std::unique_lock recording(recording_);
  // On failure the old journal stays in use, and the next try waits for it to grow.
  static_cast<void>(journal_->Rewrite([this](const auto& emit) { return EmitState(emit); }));
  compact_at_bytes_ = std::max(kSmallestBytes, kGrowth * journal_->bytes());
}

arrow::Status FeedStoreImpl::EmitState(const segment::Journal::Replay& emit) const {
  std::lock_guard lock(mutex_);
  for (const auto& [name, snapshot] : feeds_) {
    proto::JournalRecord record;
    record.feed.emplace();
    record.feed->feed = name;
    record.feed->feed_id = snapshot->feed_id;
    record.feed->created_unix_ms = snapshot->created_unix_ms;
    ARROW_ASSIGN_OR_RAISE(record.feed->schema, EncodeSchema(*snapshot->schema));
    for (const auto& partition : snapshot->partitions) {
      record.feed->partitions.push_back(AttemptRecord(0, *partition));
    }
    if (!KeepsForEver(snapshot->retention)) {
      record.feed->retention = snapshot->retention.Encode();
    }
    record.feed->confirmed = ConfirmedOf(snapshot->confirmed.get());
    record.feed->stream = snapshot->streaming;
    record.feed->open = snapshot->open;
    for (const auto& [writer, epoch] : snapshot->writers) {
      record.feed->writers.push_back(proto::WriterEpoch{writer, epoch}.Encode());
    }
    if (snapshot->span != nullptr) {
      proto::FeedInfo span;
      span.servers = snapshot->span->servers;
      span.home = snapshot->span->home;
      span.partitions = snapshot->span->partitions;
      record.feed->span = span.Encode();
      record.feed->self = snapshot->span->self;
    }
    ARROW_RETURN_NOT_OK(emit(record.Encode()));
  }
  for (const JobKey& key : committed_order_) {
    const CommittedJob& job = committed_.at(key);
    proto::JournalRecord record;
    record.done = {key.first, key.second, job.info.Encode(), "",
                   job.decision == nullptr ? "" : job.decision->Encode()};
    ARROW_ASSIGN_OR_RAISE(record.done->schema, EncodeSchema(*job.schema));
    ARROW_RETURN_NOT_OK(emit(record.Encode()));
  }
  for (const auto& [key, job] : jobs_) {
    proto::JournalRecord begin;
    begin.begin.emplace();
    begin.begin->job = job->serial;
    begin.begin->feed = job->feed;
    begin.begin->job_id = job->job_id;
    begin.begin->mode = static_cast<int32_t>(job->mode);
    begin.begin->skip = job->skip;
    if (job->retention) begin.begin->retention = job->retention->Encode();
    if (job->span != nullptr) {
      begin.begin->servers = job->span->servers;
      begin.begin->home = job->span->home;
      begin.begin->self = job->span->self;
    }
    if (job->stream) {
      begin.begin->visible = static_cast<int32_t>(proto::Visibility::kPartition);
      begin.begin->feed_id = job->feed_id;
      begin.begin->created_unix_ms = job->created_unix_ms;
    }
    if (job->mode == proto::WriteMode::kStream) {
      begin.begin->feed_id = job->feed_id;
      begin.begin->created_unix_ms = job->created_unix_ms;
      if (job->epoch) begin.begin->epoch = job->epoch->Encode();
    }
    ARROW_ASSIGN_OR_RAISE(begin.begin->schema, EncodeSchema(*job->schema));
    ARROW_RETURN_NOT_OK(emit(begin.Encode()));
    for (const auto& [name, staged] : job->staged) {
      proto::JournalRecord record;
      record.attempt = AttemptRecord(job->serial, *staged.data);
      ARROW_RETURN_NOT_OK(emit(record.Encode()));
    }
    if (job->confirmed != nullptr) {
      proto::JournalRecord record;
      record.confirm = {job->feed, job->feed_id, ConfirmedOf(job->confirmed.get())};
      ARROW_RETURN_NOT_OK(emit(record.Encode()));
    }
  }
  return {};
}

}  // namespace flightbridge::feed
