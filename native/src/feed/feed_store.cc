#include <chrono>
#include <random>
#include <set>

#include "common/failpoint.h"
#include "common/thread.h"
#include "feed/feed_store_impl.h"
#include "feed/generations.h"
#include "feed/journal_records.h"
#include "feed/placement.h"
#include "feed/retention.h"
#include "feed/schema_rules.h"
#include "feed/span.h"

namespace flightbridge::feed {
namespace {

int64_t SteadyMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Unique without any memory of those given out before, so that a restart cannot repeat one.
uint64_t NewFeedId() {
  static std::random_device device;
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  uint64_t id = 0;
  while (id == 0) id = (static_cast<uint64_t>(device()) << 31) ^ device();
  return id;
}

arrow::Status ValidateJobId(const std::string& feed, const std::string& job_id) {
  if (!job_id.empty() && job_id.size() <= 1000) return {};
  return Error(Code::kInvalidArgument, "feed '", feed, "': a job id of ", job_id.size(),
               " bytes is not valid: use 1 to 1000");
}

}  // namespace

arrow::Result<std::shared_ptr<FeedStore>> FeedStore::Open(const FeedStoreOptions& options) {
  std::unique_ptr<segment::DataDirLock> lock;
  if (!options.segments.data_dir.empty()) {
    ARROW_ASSIGN_OR_RAISE(lock, segment::DataDirLock::Take(options.segments.data_dir));
  }
  ARROW_ASSIGN_OR_RAISE(auto segments, segment::SegmentStore::Open(options.segments));
  auto store = std::make_shared<FeedStoreImpl>(options, std::move(segments));
  if (lock != nullptr) ARROW_RETURN_NOT_OK(store->Recover(std::move(lock)));
  store->StartSweeper();
  return store;
}

FeedStoreImpl::FeedStoreImpl(FeedStoreOptions options,
                             std::shared_ptr<segment::SegmentStore> segments)
    : options_(std::move(options)),
      segments_(std::move(segments)),
      statistics_(std::make_shared<StatisticsRoom>(segments_)) {
  if (!options_.clock_ms) options_.clock_ms = SteadyMs;
}

FeedStoreImpl::~FeedStoreImpl() {
  segments_->Retire();
  if (getpid() != pid_) {
    static_cast<void>(sweeper_.release());
    return;
  }
  {
    std::lock_guard lock(sweeper_->mutex);
    sweeper_->stopping = true;
  }
  sweeper_->wakes.notify_all();
  if (sweeper_->thread.joinable()) sweeper_->thread.join();
}

void FeedStoreImpl::StartSweeper() {
  sweeper_->thread = StartThread([this] {
    constexpr std::chrono::milliseconds kShortest{100}, kLongest{5000};
    const auto period =
        std::clamp<std::chrono::milliseconds>(options_.orphan_ttl / 4, kShortest, kLongest);
    std::unique_lock lock(sweeper_->mutex);
    while (!sweeper_->wakes.wait_for(lock, period, [this] { return sweeper_->stopping; })) {
      lock.unlock();
      SweepOrphans();
      DropIdleFeeds();
      lock.lock();
    }
  });
}

arrow::Result<proto::BeginWriteResult> FeedStoreImpl::BeginWrite(const proto::BeginWrite& request) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(request.feed));
  ARROW_RETURN_NOT_OK(ValidateJobId(request.feed, request.job_id));
  if (request.mode < proto::WriteMode::kErrorIfExists || request.mode > proto::WriteMode::kStream) {
    return Error(Code::kInvalidArgument, "feed '", request.feed, "': write mode ",
                 static_cast<int>(request.mode),
                 " is not known: use errorifexists, append, overwrite, ignore or stream");
  }
  const bool stream = request.visible == proto::Visibility::kPartition;
  if (stream && request.mode != proto::WriteMode::kErrorIfExists &&
      request.mode != proto::WriteMode::kIgnore) {
    return Error(
        Code::kInvalidArgument, "feed '", request.feed, "': visible=partition with mode ",
        ModeName(request.mode),
        " would change a feed under its readers: use errorifexists or ignore and a feed of "
        "its own, or visible=job");
  }
  ARROW_RETURN_NOT_OK(CheckStreamRequest(request));
  ARROW_RETURN_NOT_OK(CheckRetention(request));
  auto schema = DecodeSchema(request.schema);
  if (!schema.ok()) {
    return WithContext(schema.status(), "feed '" + request.feed + "'");
  }
  auto job = std::make_shared<WriteJob>();
  job->feed = request.feed;
  job->job_id = request.job_id;
  job->mode = request.mode;
  job->schema = schema.MoveValueUnsafe();
  job->schema_hash = SchemaHash(*job->schema);
  job->active_ms = NowMs();
  job->retention = request.retention;
  ARROW_ASSIGN_OR_RAISE(job->span, SpanOf(request));
  if (stream && job->span != nullptr) {
    return Error(Code::kInvalidArgument, "feed '", request.feed,
                 "': visible=partition is for feeds on one server, and this one spans ",
                 job->span->servers.size(), ": use visible=job");
  }
  job->stream = stream;
  job->epoch = request.epoch;
  const bool generation = request.mode == proto::WriteMode::kStream;
  if (stream || generation) {
    job->feed_id = NewFeedId();
    job->created_unix_ms = UnixMs();
  }

  std::lock_guard decisions(decisions_);
  std::shared_lock recording(recording_);
  const JobKey key{request.feed, request.job_id};
  proto::BeginWriteResult result;
  std::unique_lock lock(mutex_);
  const auto current = Current(request.feed);
  if (committed_.contains(key) ||
      (generation && current != nullptr && HasEpoch(*current, job->epoch))) {
    result.already_committed = true;
    return result;
  }
  if (const auto at = jobs_.find(key); at != jobs_.end()) {
    WriteJob& open = *at->second;
    if (open.mode != job->mode || open.schema_hash != job->schema_hash ||
        open.stream != job->stream || open.epoch != job->epoch ||
        !SameRetention(open.retention, job->retention)) {
      return Error(Code::kInvalidArgument, "feed '", request.feed, "': write job '", request.job_id,
                   "' was begun with mode ", ModeName(open.mode),
                   ", visible=", open.stream ? "partition" : "job",
                   open.schema_hash != job->schema_hash ? " and another schema" : "",
                   SameRetention(open.retention, job->retention) ? "" : " and another retention",
                   open.epoch == job->epoch ? "" : " and another epoch",
                   ": a second begin must repeat the first");
    }
    open.active_ms = NowMs();
    result.skip = open.skip;
    return result;
  }
  ARROW_RETURN_NOT_OK(CheckTarget(*job, current.get()));
  if (generation && current != nullptr) job->feed_id = current->feed_id;
  if (current == nullptr) ARROW_RETURN_NOT_OK(CheckFeedCount(request.feed));
  job->skip =
      job->mode == proto::WriteMode::kIgnore && current != nullptr && !job->decided_elsewhere();
  job->serial = next_serial_++;
  result.skip = job->skip;
  lock.unlock();

  proto::JournalRecord record;
  record.begin.emplace();
  record.begin->job = job->serial;
  record.begin->feed = job->feed;
  record.begin->job_id = job->job_id;
  record.begin->mode = static_cast<int32_t>(job->mode);
  record.begin->schema = request.schema;
  record.begin->skip = job->skip;
  if (job->retention) record.begin->retention = job->retention->Encode();
  record.begin->servers = request.servers;
  record.begin->home = request.home;
  record.begin->self = request.self;
  if (stream) record.begin->visible = static_cast<int32_t>(proto::Visibility::kPartition);
  record.begin->feed_id = job->feed_id;
  record.begin->created_unix_ms = job->created_unix_ms;
  if (job->epoch) record.begin->epoch = job->epoch->Encode();
  ARROW_RETURN_NOT_OK(Record(record));
  lock.lock();
  if (generation && current == nullptr) {
    ended_streams_.erase(request.feed);
    feeds_[request.feed] = NewStreamFeed(*job);
    Use(*feeds_[request.feed]);
    changed_.notify_all();
  }
  if (stream && !job->skip) Publish(job.get());
  jobs_.emplace(key, std::move(job));
  return result;
}

arrow::Status FeedStoreImpl::CheckFeedCount(const std::string& feed) const {
  std::set<std::string> names;
  for (const auto& [key, job] : jobs_) {
    if (!feeds_.contains(job->feed) && !damaged_.contains(job->feed)) names.insert(job->feed);
  }
  const auto count = static_cast<int64_t>(feeds_.size() + damaged_.size() + names.size());
  if (count < options_.max_feeds || names.contains(feed) || damaged_.contains(feed)) {
    return arrow::Status::OK();
  }
  return Error(Code::kResourceExhausted, "feed '", feed, "' would be one more than max_feeds, ",
               options_.max_feeds,
               ": drop feeds, or start the server with a larger max_feeds (--max-feeds)");
}

arrow::Result<std::unique_ptr<AttemptWriter>> FeedStoreImpl::OpenAttempt(
    const proto::PutCommand& command, const std::shared_ptr<arrow::Schema>& schema,
    std::function<arrow::Status()> interrupted) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(command.feed));
  if (command.partition < 0) {
    return Error(Code::kInvalidArgument, "feed '", command.feed, "': partition ", command.partition,
                 " is not valid: partitions are numbered from 0");
  }
  JobPtr job;
  {
    std::lock_guard lock(mutex_);
    const JobKey key{command.feed, command.job_id};
    if (committed_.contains(key)) {
      return Error(Code::kFailedPrecondition, "feed '", command.feed, "': write job '",
                   command.job_id, "' is committed already: begin a new one");
    }
    const auto at = jobs_.find(key);
    if (at == jobs_.end()) return UnknownJob(command.feed, command.job_id);
    job = at->second;
  }
  if (job->skip) {
    return Error(Code::kFailedPrecondition, "feed '", command.feed,
                 "' exists and the mode is ignore: write nothing, or use overwrite or append");
  }
  if (job->span != nullptr) {
    const size_t server = ServerOf(job->span->servers, command.feed, command.partition);
    if (server != job->span->self) {
      return Error(Code::kInvalidArgument, "feed '", command.feed, "': partition ",
                   command.partition, " belongs to ", job->span->servers[server],
                   ": write it there, or write with a client of all its servers");
    }
  }
  const std::string difference =
      SchemaDifference(*schema, "in this attempt", *job->schema, "in its write job");
  if (!difference.empty()) {
    return Error(Code::kSchemaMismatch, "feed '", command.feed, "', partition ", command.partition,
                 ", attempt ", command.attempt, ": ", difference);
  }
  job->active_ms = NowMs();
  AttemptContext context;
  context.feed = command.feed;
  context.partition = command.partition;
  context.attempt = command.attempt;
  context.schema = schema;
  context.segments = segments_;
  context.statistics = statistics_;
  const auto self = shared_from_this();
  context.check = [self, job]() -> arrow::Status {
    job->active_ms.store(self->NowMs(), std::memory_order_relaxed);
    return job->CheckOpen();
  };
  context.patience.limit = options_.put_wait;
  // A put that waits for room keeps its job alive.
  context.patience.interrupted = [check = context.check, interrupted = std::move(interrupted)] {
    const auto status = check();
    return status.ok() && interrupted ? interrupted() : status;
  };
  context.stage = [self, job](PartitionPtr staged) { return self->Stage(job, std::move(staged)); };
  context.explain = [self, feed = command.feed](const arrow::Status& status) {
    return self->Explain(feed, status);
  };
  return MakeAttemptWriter(std::move(context));
}

arrow::Status FeedStoreImpl::Record(const proto::JournalRecord& record) {
  if (journal_ == nullptr) return {};
  ARROW_ASSIGN_OR_RAISE(const auto ticket, journal_->Append(record.Encode()));
  return journal_->Sync(ticket);
}

arrow::Status FeedStoreImpl::Stage(const JobPtr& job, PartitionPtr staged) {
  WriteJob::Staged added{std::move(staged), 0};  // holds the one that lost, freed after the lock
  std::unique_lock<std::mutex> publishing;       // before recording_, which compaction waits for
  if (job->stream) {
    publishing = std::unique_lock(job->publishing);
    ARROW_ASSIGN_OR_RAISE(const bool visible, VisibleAlready(*job, *added.data));
    if (visible) return {};
    auto numbered = std::make_shared<Partition>(*added.data);
    numbered->generation = NextVisible(*job);
    added.data = std::move(numbered);
  }
  std::shared_lock recording(recording_);
  FB_FAILPOINT("attempt.before_journal");
  segment::Journal::Ticket ticket;
  {
    std::lock_guard ordering(ordering_);
    added.order = next_order_++;
    if (journal_ != nullptr) {
      proto::JournalRecord record;
      record.attempt = AttemptRecord(job->serial, *added.data);
      ARROW_ASSIGN_OR_RAISE(ticket, journal_->Append(record.Encode()));
    }
  }
  if (journal_ != nullptr) ARROW_RETURN_NOT_OK(journal_->Sync(ticket));
  FB_FAILPOINT("attempt.after_journal");
  std::lock_guard lock(mutex_);
  ARROW_RETURN_NOT_OK(job->CheckOpen());
  // A client that lost the ack sends the same attempt again: the later record counts.
  if (job->stream) {
    job->visible[added.data->partition] = added.data;
    job->staged[{added.data->partition, added.data->attempt}] = added;
    Publish(job.get());
    return {};
  }
  WriteJob::Staged& slot = job->staged[{added.data->partition, added.data->attempt}];
  if (slot.order < added.order) std::swap(slot, added);
  return {};
}

arrow::Status FeedStoreImpl::CommitRecorded(const WriteJob& job, const Snapshot& snapshot,
                                            bool skip, const std::vector<PartitionPtr>& chosen,
                                            const proto::Decision* decision) {
  if (journal_ == nullptr) return {};
  proto::JournalRecord record;
  record.commit.emplace();
  record.commit->job = job.serial;
  record.commit->feed_id = snapshot.feed_id;
  record.commit->created_unix_ms = snapshot.created_unix_ms;
  record.commit->skip = skip;
  for (const PartitionPtr& partition : chosen) {
    record.commit->attempts.push_back({partition->partition, partition->attempt});
  }
  if (decision != nullptr) record.commit->decision = decision->Encode();
  FB_FAILPOINT("commit.before_journal");
  ARROW_ASSIGN_OR_RAISE(const auto ticket, journal_->Append(record.Encode()));
  FB_FAILPOINT("commit.before_fsync");
  ARROW_RETURN_NOT_OK(journal_->Sync(ticket));
  FB_FAILPOINT("commit.after_fsync");
  return {};
}

std::optional<proto::PutResult> FeedStoreImpl::FindStaged(const proto::PutCommand& command) const {
  const std::lock_guard lock(mutex_);
  const auto job = jobs_.find({command.feed, command.job_id});
  if (job == jobs_.end()) return std::nullopt;
  const auto staged = job->second->staged.find({command.partition, command.attempt});
  if (staged == job->second->staged.end()) return std::nullopt;
  const Partition& data = *staged->second.data;
  return proto::PutResult{data.batches, data.rows, data.bytes, data.crc32c};
}

arrow::Result<proto::CommitWriteResult> FeedStoreImpl::CommitWrite(
    const proto::CommitWrite& request) {
  std::shared_ptr<const Snapshot> replaced;  // freed after the locks
  decltype(WriteJob::staged) losers;         // so are these, whatever late writers hold
  std::vector<JobPtr> ended;
  JobPtr job;
  std::lock_guard decisions(decisions_);
  const JobKey key{request.feed, request.job_id};
  std::shared_ptr<const Snapshot> current;
  std::vector<PartitionPtr> chosen;
  {
    std::unique_lock lock(mutex_);
    const auto at = jobs_.find(key);
    const bool open = at != jobs_.end();
    if (open ? at->second->mode == proto::WriteMode::kStream : request.epoch.has_value()) {
      lock.unlock();
      return CommitGeneration(request);
    }
    if (request.epoch) {
      return Error(Code::kInvalidArgument, "feed '", request.feed, "': write job '", request.job_id,
                   "' has mode ", ModeName(at->second->mode),
                   ", and only those of mode stream have an epoch: leave it out");
    }
  }
  std::unique_lock<std::mutex> publishing;  // nothing becomes visible behind a stream job's commit
  {
    std::unique_lock lock(mutex_);
    const auto at = jobs_.find(key);
    if (at != jobs_.end() && at->second->stream) {
      job = at->second;
      lock.unlock();
      publishing = std::unique_lock(job->publishing);
    }
  }
  {
    std::lock_guard lock(mutex_);
    if (const auto done = committed_.find(key); done != committed_.end()) {
      proto::CommitWriteResult result = ResultOf(done->second);
      result.already_committed = true;
      return result;
    }
    const auto at = jobs_.find(key);
    if (at == jobs_.end()) return UnknownJob(request.feed, request.job_id);
    job = at->second;
    current = Current(request.feed);
    if (job->decided_elsewhere()) {
      return Error(Code::kFailedPrecondition, "feed '", request.feed, "': write job '",
                   request.job_id, "' is committed by ", job->span->servers[job->span->home],
                   ", the feed's home server, and it has not decided so: commit it there");
    }
    ARROW_RETURN_NOT_OK(CheckTarget(*job, current.get()));
    if (!job->skip && job->span == nullptr) {
      ARROW_ASSIGN_OR_RAISE(chosen, job->stream ? ChooseVisible(*job, request.attempts)
                                                : ChooseAttempts(*job, request.attempts));
    }
  }
  // Mode ignore: the feed was there at the start, or came in the meantime.
  const bool skip = job->mode == proto::WriteMode::kIgnore && current != nullptr;
  if (job->skip && !skip) {
    return Error(Code::kFailedPrecondition, "feed '", request.feed, "': write job '",
                 request.job_id,
                 "' was skipped because the feed existed, and it was dropped since: write again");
  }
  std::shared_ptr<const Snapshot> snapshot = current;
  std::shared_ptr<proto::Decision> decision;
  if (job->span != nullptr) {
    decision = std::make_shared<proto::Decision>();
    decision->job_id = request.job_id;
    decision->skip = skip;
    const std::lock_guard lock(mutex_);  // attempts may still be staged
    if (!skip) {
      ARROW_ASSIGN_OR_RAISE(*decision,
                            Decide(*job, current.get(), request.attempts, NewFeedId(), UnixMs()));
    }
    ARROW_ASSIGN_OR_RAISE(snapshot, ApplyDecision(*job, current, *decision));
  } else if (!skip && job->stream) {
    snapshot = WithConfirmedOf(
        *job, BuildSnapshot(*job, nullptr, chosen, job->feed_id, job->created_unix_ms));
  } else if (!skip) {
    snapshot = BuildSnapshot(*job, current.get(), chosen, NewFeedId(), UnixMs());
  }

  proto::CommitWriteResult result;
  {
    std::shared_lock recording(recording_);
    ARROW_RETURN_NOT_OK(CommitRecorded(*job, *snapshot, skip, chosen, decision.get()));
    std::lock_guard lock(mutex_);
    job->end.store(JobEnd::kCommitted, std::memory_order_release);
    losers.swap(job->staged);
    replaced = std::exchange(feeds_[request.feed], snapshot);
    if (!skip) {
      damaged_.erase(request.feed);
      ended = EndJobsOf(replaced.get());
    }
    jobs_.erase(key);
    ended_streams_.erase(request.feed);
    if (job->stream && !job->skip) {
      EndStream(*job, JobEnd::kCommitted);
    } else {
      changed_.notify_all();
    }
    Use(*snapshot);
    Remember(key, *snapshot, std::move(decision));
    result.feed = InfoOf(request.feed);
  }
  CompactIfLarge();
  return result;
}

arrow::Status FeedStoreImpl::EndJob(const JobPtr& job, JobEnd end) {
  decltype(job->staged) discarded;  // freed after the lock, and not when the last writer goes
  std::shared_lock recording(recording_);
  proto::JournalRecord record;
  record.end.emplace();
  record.end->job = job->serial;
  ARROW_RETURN_NOT_OK(Record(record));
  std::lock_guard lock(mutex_);
  job->end.store(end, std::memory_order_release);
  discarded.swap(job->staged);
  jobs_.erase({job->feed, job->job_id});
  if (job->stream && !job->skip) {
    EndStream(*job, end);
  } else {
    changed_.notify_all();
  }
  return {};
}

arrow::Status FeedStoreImpl::AbortWrite(const proto::AbortWrite& request) {
  JobPtr job;
  std::lock_guard decisions(decisions_);
  {
    std::lock_guard lock(mutex_);
    const JobKey key{request.feed, request.job_id};
    if (committed_.contains(key)) {
      return Error(Code::kFailedPrecondition, "feed '", request.feed, "': write job '",
                   request.job_id, "' is committed already and cannot be aborted: drop the feed");
    }
    const auto at = jobs_.find(key);
    if (at == jobs_.end()) return {};  // aborted before, or never begun: nothing of it is left
    job = at->second;
    if (job->decided_elsewhere()) {  // and may be committed already
      return Error(Code::kFailedPrecondition, "feed '", request.feed, "': write job '",
                   request.job_id, "' is for ", job->span->servers[job->span->home],
                   ", the feed's home server, to abort: abort it there first");
    }
  }
  ARROW_RETURN_NOT_OK(EndJob(job, JobEnd::kAborted));
  CompactIfLarge();
  return {};
}

arrow::Status FeedStoreImpl::DropFeed(const proto::DropFeed& request) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(request.feed));
  std::lock_guard decisions(decisions_);
  {
    std::lock_guard lock(mutex_);
    if (!feeds_.contains(request.feed)) {
      return request.if_exists ? arrow::Status::OK() : NotFound(request.feed);
    }
  }
  return Drop(request.feed, nullptr);
}

arrow::Status FeedStoreImpl::Drop(const std::string& feed, const Snapshot* expected) {
  std::shared_ptr<const Snapshot> dropped;  // freed after the lock
  decltype(damaged_)::node_type damaged;    // so is this
  std::vector<JobPtr> ended;                // so are these
  {
    std::shared_lock recording(recording_);
    {
      std::lock_guard lock(mutex_);
      const auto current = Current(feed);
      if (current == nullptr || (expected != nullptr && current.get() != expected)) return {};
    }
    proto::JournalRecord record;
    record.drop.emplace();
    record.drop->feed = feed;
    ARROW_RETURN_NOT_OK(Record(record));
    std::lock_guard lock(mutex_);
    dropped = std::move(feeds_.extract(feed).mapped());
    ended = EndJobsOf(dropped.get());
    damaged = damaged_.extract(feed);
    used_ms_.erase(feed);
    part_uses_.erase(feed);
    changed_.notify_all();
  }
  CompactIfLarge();
  return {};
}

int FeedStoreImpl::SweepOrphans() {
  std::vector<JobPtr> orphans;
  std::lock_guard decisions(decisions_);
  {
    std::lock_guard lock(mutex_);
    const int64_t oldest = NowMs() - options_.orphan_ttl.count();
    for (const auto& [key, job] : jobs_) {
      // What may be committed elsewhere is not ours to abort.
      if (job->active_ms < oldest && !job->decided_elsewhere()) orphans.push_back(job);
    }
  }
  int ended = 0;
  for (const JobPtr& job : orphans) ended += EndJob(job, JobEnd::kExpired).ok() ? 1 : 0;
  return ended;
}

}  // namespace flightbridge::feed
