// Feeds that are visible while they are written: each partition once its first attempt is staged.
#include <algorithm>

#include "feed/feed_store_impl.h"

namespace flightbridge::feed {

arrow::Status FeedStoreImpl::CheckNoStream(const WriteJob& job) const {
  const auto at = streams_.find(job.feed);
  if (at == streams_.end() || at->second.job_id == job.job_id) return {};
  return Error(Code::kAlreadyExists, "feed '", job.feed, "' is being written by job '",
               at->second.job_id,
               "', which shows each partition at once: wait for its commit, or abort it");
}

arrow::Result<bool> FeedStoreImpl::VisibleAlready(const WriteJob& job,
                                                  const Partition& staged) const {
  std::lock_guard lock(mutex_);
  const auto at = job.visible.find(staged.partition);
  if (at == job.visible.end()) return false;
  const Partition& first = *at->second;
  // A task that lost its ack, or a speculative copy of it: the same rows, so nothing is to be done.
  if (first.rows == staged.rows && first.batches == staged.batches &&
      first.crc32c == staged.crc32c) {
    return true;
  }
  return Error(Code::kFailedPrecondition, "feed '", job.feed, "', partition ", staged.partition,
               ", attempt ", staged.attempt, ": readers see attempt ", first.attempt,
               " already, with other rows (job '", job.job_id,
               "' shows each partition at once): nothing of this attempt is kept; make the task "
               "deterministic, or write with visible=job");
}

int64_t FeedStoreImpl::NextVisible(const WriteJob& job) const {
  std::lock_guard lock(mutex_);
  int64_t last = 0;
  for (const auto& [number, partition] : job.visible) last = std::max(last, partition->generation);
  return last + 1;
}

void FeedStoreImpl::Publish(WriteJob* job) {
  streams_[job->feed] = {OpenSnapshot(*job), job->job_id};
  ended_streams_.erase(job->feed);
  changed_.notify_all();
}

void FeedStoreImpl::EndStream(const WriteJob& job, JobEnd end) {
  streams_.erase(job.feed);
  if (end != JobEnd::kCommitted) {
    if (ended_streams_.size() >= kRememberedStreams) ended_streams_.erase(ended_streams_.begin());
    ended_streams_[job.feed] =
        Error(Code::kFailedPrecondition, "feed '", job.feed, "' is gone: write job '", job.job_id,
              "' ", end == JobEnd::kExpired ? "expired without activity" : "was aborted",
              " before its commit, and nothing that it showed is kept: write the feed again");
  }
  changed_.notify_all();
}

void FeedStoreImpl::ShowStreams() {
  for (auto& [key, job] : jobs_) {
    if (!job->stream) continue;
    std::map<int64_t, uint64_t> order;
    for (const auto& [name, staged] : job->staged) {
      const auto [at, first] = order.emplace(name.first, staged.order);
      if (!first && at->second < staged.order) continue;
      at->second = staged.order;
      job->visible[name.first] = staged.data;
    }
    Publish(job.get());
  }
}

std::shared_ptr<const Snapshot> FeedStoreImpl::Visible(const std::string& feed) const {
  if (auto current = Current(feed)) return current;
  const auto at = streams_.find(feed);
  return at == streams_.end() ? nullptr : at->second.snapshot;
}

arrow::Result<proto::FeedInfo> FeedStoreImpl::WaitForChange(const std::string& feed,
                                                            int64_t generation,
                                                            std::chrono::milliseconds timeout,
                                                            int64_t after) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(feed));
  std::unique_lock lock(mutex_);
  const auto over = [&] {
    if (stopping_) return true;
    const auto visible = Visible(feed);
    if (visible != nullptr) return !visible->open || visible->generation() != generation;
    const auto job = jobs_.lower_bound({feed, ""});  // not visible yet: its commit is waited for
    return job == jobs_.end() || job->first.first != feed;
  };
  if (const auto current = Current(feed)) Use(*current);
  changed_.wait_for(lock, timeout, over);
  if (const auto current = Current(feed)) Use(*current);
  if (stopping_) {
    return Error(Code::kUnavailable, "feed '", feed, "': the server is stopping");
  }
  lock.unlock();
  return Describe(feed, after);
}

void FeedStoreImpl::StopWaiting() {
  segments_->StopWaiting();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

}  // namespace flightbridge::feed
