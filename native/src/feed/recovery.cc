// Brings a FeedStoreImpl back from its data directory: the journal says what was decided, the
// segments hold the data.
#include <algorithm>

#include "feed/feed_store_impl.h"
#include "feed/generations.h"
#include "feed/journal_records.h"
#include "feed/retention.h"
#include "feed/schema_rules.h"
#include "feed/span.h"
#include "feed/stored_record.h"
#include "segment/checksum.h"

namespace flightbridge::feed {
namespace {

arrow::Status Inconsistent(std::string_view what) {
  return Error(Code::kDataLoss, "a record ", what);
}

// Maps the segments of a partition whose messages are not known yet; returns the whole of it.
// Adds the segments to `held`: a segment let go is freed, and with it what others have in its file.
arrow::Result<PartitionPtr> MapPartition(segment::SegmentStore& segments,
                                         const std::shared_ptr<StatisticsRoom>& statistics,
                                         const Partition& hollow,
                                         std::vector<std::shared_ptr<segment::Segment>>* held) {
  auto partition = std::make_shared<Partition>(hollow);
  int64_t rows = 0;
  int64_t batches = 0;
  uint32_t crc32c = 0;
  for (const segment::SegmentRef& ref : hollow.segments) {
    ARROW_ASSIGN_OR_RAISE(const auto segment, segments.Reopen(ref));
    held->push_back(segment);
    for (int64_t offset = 0; offset < ref.used;) {
      ARROW_ASSIGN_OR_RAISE(
          auto message,
          ReadStored(*segment, offset, static_cast<int64_t>(partition->messages.size()), &offset));
      if (message.row_begin != rows) return Inconsistent("header counts other rows");
      rows += message.rows;
      if (!message.is_dictionary) {
        batches += 1;
        crc32c = segment::ChainChecksum(crc32c, message.crc32c);
      }
      partition->messages.push_back(std::move(message));
    }
    segment->Unmap();  // the headers were read, and the rest is for the readers
  }
  if (rows != hollow.rows || batches != hollow.batches) {
    return Error(Code::kDataLoss, "the journal counts ", hollow.rows, " rows in ", hollow.batches,
                 " batches, the segments hold ", rows, " in ", batches);
  }
  // Each record is whole, but they may be those of an attempt that lay there before: a disk can
  // lose a write without a word.
  if (crc32c != hollow.crc32c) {
    return Error(Code::kDataLoss, "the journal has checksum ", hollow.crc32c,
                 ", the batches in the segments have ", crc32c);
  }
  partition->verified = std::make_shared<VerifiedFlags>(partition->messages.size());
  partition->index = std::make_shared<PickIndex>(partition->messages.size());
  partition->statistics = std::make_shared<PartitionStatistics>(statistics);
  return partition;
}

}  // namespace

arrow::Status FeedStoreImpl::Recover(std::unique_ptr<segment::DataDirLock> lock) {
  data_dir_lock_ = std::move(lock);
  ARROW_ASSIGN_OR_RAISE(journal_, segment::Journal::Open(options_.segments.data_dir + "/journal",
                                                         [this](std::string_view payload) {
                                                           return Replay(payload);
                                                         }));
  replayed_schemas_.clear();
  MapEverything();
  ShowStreams();
  ARROW_RETURN_NOT_OK(segments_->RemoveUnclaimed());
  CompactIfLarge();
  return {};
}

arrow::Status FeedStoreImpl::Replay(std::string_view payload) {
  const auto record = proto::Parse<proto::JournalRecord>(payload);
  if (!record.has_value()) return Inconsistent("cannot be parsed");
  if (record->begin) return ReplayBegin(*record->begin);
  if (record->attempt) return ReplayAttempt(*record->attempt);
  if (record->commit) return ReplayCommit(*record->commit);
  if (record->feed) return ReplayFeed(*record->feed);
  if (record->done) return ReplayDone(*record->done);
  if (record->confirm) return ReplayConfirm(*record->confirm);
  if (record->end_feed) return ReplayEndFeed(*record->end_feed);
  if (record->drop) {
    const auto at = feeds_.find(record->drop->feed);
    if (at == feeds_.end()) return Inconsistent("drops an unknown feed");
    EndJobsOf(at->second.get());
    feeds_.erase(at);
    return {};
  }
  if (record->end) {
    std::erase_if(jobs_, [&](const auto& job) { return job.second->serial == record->end->job; });
    return {};
  }
  return Error(Code::kFailedPrecondition, "the journal of '", options_.segments.data_dir,
               "' has records of a newer version: open it with that version of FlightBridge");
}

arrow::Result<std::shared_ptr<arrow::Schema>> FeedStoreImpl::SharedSchema(
    const std::string& bytes) {
  auto& schema = replayed_schemas_[bytes];
  if (schema == nullptr) {
    auto decoded = DecodeSchema(bytes);
    if (!decoded.ok()) return Inconsistent("has a schema that cannot be read");
    schema = decoded.MoveValueUnsafe();
  }
  return schema;
}

arrow::Status FeedStoreImpl::ReplayBegin(const proto::JournalBegin& record) {
  auto job = std::make_shared<WriteJob>();
  job->feed = record.feed;
  job->job_id = record.job_id;
  job->mode = static_cast<proto::WriteMode>(record.mode);
  ARROW_ASSIGN_OR_RAISE(job->schema, SharedSchema(record.schema));
  job->schema_hash = SchemaHash(*job->schema);
  job->serial = record.job;
  job->skip = record.skip;
  job->stream = record.visible == static_cast<int32_t>(proto::Visibility::kPartition);
  job->feed_id = record.feed_id;
  job->created_unix_ms = record.created_unix_ms;
  job->active_ms = NowMs();
  if (!record.retention.empty()) {
    job->retention = proto::Parse<proto::Retention>(record.retention);
    if (!job->retention) return Inconsistent("has a retention that cannot be read");
  }
  if (!record.servers.empty()) {
    auto span = std::make_shared<Span>();
    *span = {record.servers, record.home, record.self, {}};
    if (record.home >= span->servers.size() || record.self >= span->servers.size())
      return Inconsistent("names a server outside its list");
    job->span = std::move(span);
  }
  if (job->mode == proto::WriteMode::kStream) {
    if (!record.epoch.empty()) {
      job->epoch = proto::Parse<proto::WriterEpoch>(record.epoch);
      if (!job->epoch) return Inconsistent("has an epoch that cannot be read");
    }
    ARROW_RETURN_NOT_OK(ReplayStreamBegin(*job));
  }
  next_serial_ = std::max(next_serial_, record.job + 1);
  if (!jobs_.emplace(JobKey{record.feed, record.job_id}, std::move(job)).second) {
    return Inconsistent("begins a write job that is open");
  }
  return {};
}

arrow::Status FeedStoreImpl::ReplayAttempt(const proto::JournalAttempt& record) {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(),
                               [&](const auto& job) { return job.second->serial == record.job; });
  if (at == jobs_.end()) return {};  // it came after its job's end
  WriteJob& job = *at->second;
  auto partition = PartitionOf(record, job.feed, job.schema);
  if (job.stream && partition->generation == 0) {  // of a version that did not count them
    partition->generation = static_cast<int64_t>(job.staged.size()) + 1;
  }
  job.staged[{record.partition, record.attempt}] = {std::move(partition), next_order_++};
  return {};
}

arrow::Status FeedStoreImpl::ReplayCommit(const proto::JournalCommit& record) {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(),
                               [&](const auto& job) { return job.second->serial == record.job; });
  if (at == jobs_.end()) return Inconsistent("commits an unknown write job");
  const JobPtr job = at->second;
  const auto current = Current(job->feed);
  std::shared_ptr<const Snapshot> snapshot = current;
  std::shared_ptr<proto::Decision> decision;
  if (!record.decision.empty() && job->span != nullptr) {
    auto parsed = proto::Parse<proto::Decision>(record.decision);
    if (!parsed.has_value()) return Inconsistent("has a decision that cannot be parsed");
    decision = std::make_shared<proto::Decision>(*std::move(parsed));
    auto applied = ApplyDecision(*job, current, *decision);
    if (!applied.ok() || *applied == nullptr) return Inconsistent("commits an unknown attempt");
    snapshot = *std::move(applied);
  } else if (!record.skip) {
    std::vector<PartitionPtr> chosen;
    for (const proto::JournalChoice& choice : record.attempts) {
      const auto staged = job->staged.find({choice.partition, choice.attempt});
      if (staged == job->staged.end()) return Inconsistent("commits an unknown attempt");
      chosen.push_back(staged->second.data);
    }
    if (job->mode == proto::WriteMode::kStream) {
      if (current == nullptr || current->feed_id != job->feed_id) {
        return Inconsistent("adds to an unknown feed");
      }
      snapshot = NextGeneration(*current, *job, chosen);
    } else {
      snapshot = WithConfirmedOf(
          *job, BuildSnapshot(*job, current.get(), chosen, record.feed_id, record.created_unix_ms));
      EndJobsOf(current.get());
    }
  } else if (current == nullptr) {
    return Inconsistent("skips a feed that does not exist");
  }
  feeds_[job->feed] = snapshot;
  const JobKey key{job->feed, job->job_id};
  const bool more = job->mode == proto::WriteMode::kStream;
  Remember(key, *snapshot, std::move(decision), more ? current->last_generation() : 0);
  jobs_.erase(key);
  return {};
}

arrow::Status FeedStoreImpl::ReplayFeed(const proto::JournalFeed& record) {
  WriteJob job;
  job.feed = record.feed;
  job.mode = proto::WriteMode::kOverwrite;
  ARROW_ASSIGN_OR_RAISE(job.schema, SharedSchema(record.schema));
  std::vector<PartitionPtr> partitions;
  for (const proto::JournalAttempt& partition : record.partitions) {
    partitions.push_back(PartitionOf(partition, record.feed, job.schema));
  }
  if (!record.retention.empty()) {
    job.retention = proto::Parse<proto::Retention>(record.retention);
    if (!job.retention) return Inconsistent("has a retention that cannot be read");
  }
  auto snapshot = BuildSnapshot(job, nullptr, partitions, record.feed_id, record.created_unix_ms);
  snapshot->streaming = record.stream;
  snapshot->open = record.open;
  for (const std::string& bytes : record.writers) {
    const auto writer = proto::Parse<proto::WriterEpoch>(bytes);
    if (!writer.has_value()) return Inconsistent("has a writer that cannot be read");
    snapshot->writers[writer->writer] = writer->epoch;
  }
  if (record.stream || std::ranges::any_of(partitions, [](const PartitionPtr& partition) {
        return partition->generation > 0;
      })) {
    ChainGenerations(snapshot.get());
  }
  if (!record.span.empty()) {
    const auto whole = proto::Parse<proto::FeedInfo>(record.span);
    if (!whole.has_value() || whole->home >= whole->servers.size() ||
        record.self >= whole->servers.size())
      return Inconsistent("has a list of servers that cannot be read");
    auto span = std::make_shared<Span>();
    *span = {whole->servers, whole->home, record.self, whole->partitions};
    snapshot->span = std::move(span);
    SumUp(snapshot.get());
  }
  if (record.confirmed.empty()) {
    feeds_[record.feed] = std::move(snapshot);
  } else {
    feeds_[record.feed] = WithConfirmed(*snapshot, record.confirmed);
  }
  return {};
}

arrow::Status FeedStoreImpl::ReplayDone(const proto::JournalDone& record) {
  auto info = proto::Parse<proto::FeedInfo>(record.info);
  if (!info.has_value()) return Inconsistent("has a result that cannot be parsed");
  CommittedJob job{std::move(*info), nullptr, nullptr};
  if (!record.decision.empty()) {
    auto decision = proto::Parse<proto::Decision>(record.decision);
    if (!decision.has_value()) return Inconsistent("has a decision that cannot be parsed");
    job.decision = std::make_shared<proto::Decision>(*std::move(decision));
  }
  ARROW_ASSIGN_OR_RAISE(job.schema, SharedSchema(record.schema));
  RememberJob({record.feed, record.job_id}, std::move(job));
  return {};
}

void FeedStoreImpl::MapEverything() {
  std::vector<std::shared_ptr<segment::Segment>> of_attempts;  // let go when all are mapped
  for (auto& [name, snapshot] : feeds_) {
    auto mapped = std::make_shared<Snapshot>(*snapshot);
    Damage damage;
    for (auto& partition : mapped->partitions) {
      if (partition->released) continue;
      if (auto whole = MapPartition(*segments_, statistics_, *partition, &damage.held);
          whole.ok()) {
        partition = whole.MoveValueUnsafe();
      } else {
        damage.status =
            Error(Code::kDataLoss, "feed '", name, "', partition ", partition->partition,
                  " is damaged on disk: ", whole.status().message(),
                  "; drop the feed and write it again");
      }
    }
    snapshot = std::move(mapped);
    // One damaged file must not take the other feeds down with it.
    if (!damage.status.ok()) damaged_.emplace(name, std::move(damage));
  }
  for (auto& [key, job] : jobs_) {
    // An attempt that cannot be mapped is not staged: the commit that names it says so.
    for (auto at = job->staged.begin(); at != job->staged.end();) {
      auto whole = MapPartition(*segments_, statistics_, *at->second.data, &of_attempts);
      if (whole.ok()) at->second.data = whole.MoveValueUnsafe();
      at = whole.ok() ? std::next(at) : job->staged.erase(at);
    }
  }
}

}  // namespace flightbridge::feed
