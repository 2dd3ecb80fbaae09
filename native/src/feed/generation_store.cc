// The part of FeedStoreImpl for feeds of mode STREAM, which get a generation by every commit. Locks
// as everywhere: decisions_, recording_, mutex_.
#include "feed/feed_store_impl.h"
#include "feed/generations.h"

namespace flightbridge::feed {

std::vector<std::shared_ptr<WriteJob>> FeedStoreImpl::EndJobsOf(const Snapshot* gone) {
  std::vector<JobPtr> ended;
  if (gone == nullptr || !gone->streaming) return ended;
  for (auto at = jobs_.lower_bound({gone->name, ""});
       at != jobs_.end() && at->first.first == gone->name;) {
    const JobPtr& job = at->second;
    if (job->mode != proto::WriteMode::kStream || job->feed_id != gone->feed_id) {
      ++at;
      continue;
    }
    // No record says so: whoever replays the end of the feed comes to the same jobs.
    job->end.store(JobEnd::kFeedGone, std::memory_order_release);
    // A writer that is late holds the job, and must not hold what was staged in it.
    auto staged = std::make_shared<WriteJob>();
    staged->staged.swap(job->staged);
    ended.push_back(std::move(staged));
    at = jobs_.erase(at);
  }
  return ended;
}

arrow::Result<proto::CommitWriteResult> FeedStoreImpl::CommitGeneration(
    const proto::CommitWrite& request) {
  decltype(WriteJob::staged) losers;  // freed after the locks
  std::shared_ptr<const Snapshot> replaced;
  const JobKey key{request.feed, request.job_id};
  JobPtr job;
  std::shared_ptr<const Snapshot> current;
  std::vector<PartitionPtr> chosen;
  proto::CommitWriteResult result;
  {
    std::lock_guard lock(mutex_);
    if (const auto done = committed_.find(key); done != committed_.end()) {
      result = ResultOf(done->second);
      result.already_committed = true;
      return result;
    }
    if (const auto at = jobs_.find(key); at != jobs_.end()) job = at->second;
    current = Current(request.feed);
    if (job != nullptr && request.epoch && job->epoch != request.epoch) {
      return Error(Code::kInvalidArgument, "feed '", request.feed, "': write job '", request.job_id,
                   "' was begun with ", job->epoch ? "another epoch" : "no epoch",
                   ": commit it with that of its begin, or leave it out");
    }
    const auto& epoch = job != nullptr ? job->epoch : request.epoch;
    if (current != nullptr && HasEpoch(*current, epoch)) {
      result.already_committed = true;
      result.feed = InfoOf(request.feed, current->last_generation());
    } else if (job == nullptr) {
      return UnknownJob(request.feed, request.job_id);
    } else if (current == nullptr || current->feed_id != job->feed_id) {
      return Error(Code::kFailedPrecondition, "feed '", request.feed, "': write job '",
                   request.job_id, "' is of a feed that is gone: begin a new one");
    } else {
      ARROW_RETURN_NOT_OK(CheckTarget(*job, current.get()));
      ARROW_ASSIGN_OR_RAISE(chosen, ChooseAttempts(*job, request.attempts));
    }
  }
  if (result.already_committed) {
    if (job != nullptr) ARROW_RETURN_NOT_OK(EndJob(job, JobEnd::kAborted));
    return result;
  }
  const auto snapshot = NextGeneration(*current, *job, chosen);
  {
    std::shared_lock recording(recording_);
    ARROW_RETURN_NOT_OK(CommitRecorded(*job, *snapshot, false, chosen, nullptr));
    std::lock_guard lock(mutex_);
    job->end.store(JobEnd::kCommitted, std::memory_order_release);
    losers.swap(job->staged);
    replaced = std::exchange(feeds_[request.feed], snapshot);
    jobs_.erase(key);
    changed_.notify_all();
    Use(*snapshot);
    Remember(key, *snapshot, nullptr, current->last_generation());
    result = ResultOf(committed_.at(key));
  }
  CompactIfLarge();
  return result;
}

arrow::Result<proto::FeedInfo> FeedStoreImpl::EndFeed(const proto::EndFeed& request) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(request.feed));
  std::vector<JobPtr> ended;  // freed after the locks
  std::shared_ptr<const Snapshot> replaced;
  std::lock_guard decisions(decisions_);
  std::shared_ptr<const Snapshot> current;
  {
    std::lock_guard lock(mutex_);
    if (const auto damage = damaged_.find(request.feed); damage != damaged_.end()) {
      return damage->second.status;
    }
    current = Current(request.feed);
    if (current == nullptr && !streams_.contains(request.feed)) return NotFound(request.feed);
    if (current == nullptr || !current->streaming) {
      return Error(Code::kFailedPrecondition, "feed '", request.feed,
                   "' was not written with mode stream: the commit of its write job is its end");
    }
    if (!current->open) return InfoOf(request.feed);
  }
  const auto snapshot = Ended(*current);
  proto::FeedInfo info;
  {
    std::shared_lock recording(recording_);
    proto::JournalRecord record;
    record.end_feed = {request.feed, current->feed_id};
    ARROW_RETURN_NOT_OK(Record(record));
    std::lock_guard lock(mutex_);
    replaced = std::exchange(feeds_[request.feed], snapshot);
    ended = EndJobsOf(snapshot.get());
    changed_.notify_all();
    Use(*snapshot);
    info = InfoOf(request.feed);
  }
  CompactIfLarge();
  return info;
}

arrow::Status FeedStoreImpl::ReplayStreamBegin(const WriteJob& job) {
  const auto current = Current(job.feed);
  if (current == nullptr) {
    feeds_[job.feed] = NewStreamFeed(job);
    return {};
  }
  if (current->streaming && current->open && current->feed_id == job.feed_id) return {};
  return Error(Code::kDataLoss, "a record begins a generation of an unknown feed");
}

arrow::Status FeedStoreImpl::ReplayEndFeed(const proto::JournalEndFeed& record) {
  const auto current = Current(record.feed);
  if (current == nullptr || !current->streaming || current->feed_id != record.feed_id) {
    return Error(Code::kDataLoss, "a record ends an unknown feed");
  }
  feeds_[record.feed] = Ended(*current);
  EndJobsOf(current.get());
  return {};
}

}  // namespace flightbridge::feed
