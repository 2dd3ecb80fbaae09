// The part of FeedStoreImpl for feeds that span several servers: a home answers what it decided,
// the others do it. Locks as everywhere: decisions_, recording_, mutex_.
#include <algorithm>
#include <set>

#include "common/failpoint.h"
#include "feed/feed_store_impl.h"
#include "feed/span.h"

namespace flightbridge::feed {

std::string FeedStoreImpl::HomeElsewhere(const std::string& feed) const {
  const auto home_of = [](const Span* span) {
    return span == nullptr || span->is_home() ? std::string() : span->servers[span->home];
  };
  std::lock_guard lock(mutex_);
  if (const auto current = Current(feed)) return home_of(current->span.get());
  const auto job = jobs_.lower_bound({feed, ""});
  return job != jobs_.end() && job->first.first == feed ? home_of(job->second->span.get()) : "";
}

std::vector<InDoubt> FeedStoreImpl::JobsInDoubt(const std::string& feed) const {
  const int64_t ttl_ms = options_.orphan_ttl.count();
  std::vector<InDoubt> found;
  std::lock_guard lock(mutex_);
  for (auto at = jobs_.lower_bound({feed, ""}); at != jobs_.end(); ++at) {
    const auto& [key, job] = *at;
    if (!feed.empty() && key.first != feed) break;
    if (!job->decided_elsewhere()) continue;
    const std::string& home = job->span->servers[job->span->home];
    if (found.empty() || found.back().feed != key.first || found.back().home != home) {
      found.push_back({key.first, home, {}});
      found.back().question.feed = key.first;
    }
    proto::CommitStatus& question = found.back().question;
    question.job_ids.push_back(key.second);
    if (NowMs() - job->active_ms < ttl_ms) question.active_job_ids.push_back(key.second);
  }
  return found;
}

arrow::Result<proto::CommitStatusResult> FeedStoreImpl::CommitStatus(
    const proto::CommitStatus& question) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(question.feed));
  const std::set<std::string> asked(question.job_ids.begin(), question.job_ids.end());
  const std::set<std::string> active(question.active_job_ids.begin(),
                                     question.active_job_ids.end());
  proto::CommitStatusResult answer;
  std::lock_guard decisions(decisions_);  // nothing is half decided while this looks
  std::lock_guard lock(mutex_);
  for (const JobKey& key : committed_order_) {
    if (key.first != question.feed || !asked.contains(key.second)) continue;
    if (const auto& decision = committed_.at(key).decision) answer.decisions.push_back(*decision);
  }
  for (const std::string& job_id : asked) {
    const auto at = jobs_.find({question.feed, job_id});
    if (at == jobs_.end()) continue;
    if (at->second->decided_elsewhere()) {
      return Error(Code::kFailedPrecondition, "feed '", question.feed,
                   "': this server is not its home, ",
                   at->second->span->servers[at->second->span->home], " is");
    }
    answer.open_job_ids.push_back(job_id);
    if (active.contains(job_id)) at->second->active_ms = NowMs();
  }
  return answer;
}

arrow::Status FeedStoreImpl::Resolve(const InDoubt& asked,
                                     const proto::CommitStatusResult& answer) {
  std::set<std::string> ended(asked.question.job_ids.begin(), asked.question.job_ids.end());
  std::lock_guard decisions(decisions_);
  const auto find = [&](const std::string& job_id) -> JobPtr {
    std::lock_guard lock(mutex_);
    const auto at = jobs_.find({asked.feed, job_id});
    return at == jobs_.end() || !at->second->decided_elsewhere() ? nullptr : at->second;
  };
  for (const std::string& job_id : answer.open_job_ids) ended.erase(job_id);
  for (const proto::Decision& decision : answer.decisions) {
    if (ended.erase(decision.job_id) == 0) continue;
    if (const JobPtr job = find(decision.job_id); job != nullptr) {
      ARROW_RETURN_NOT_OK(ResolveCommitted(job, decision));
    }
  }
  for (const std::string& job_id : ended) {
    if (const JobPtr job = find(job_id); job != nullptr) {
      ARROW_RETURN_NOT_OK(EndJob(job, JobEnd::kAborted));
    }
  }
  CompactIfLarge();
  return {};
}

arrow::Status FeedStoreImpl::ResolveCommitted(const JobPtr& job, const proto::Decision& decision) {
  if (decision.skip) return EndJob(job, JobEnd::kCommitted);
  std::shared_ptr<const Snapshot> replaced;  // freed after the locks
  decltype(WriteJob::staged) losers;         // so are these
  std::shared_ptr<const Snapshot> current;
  std::shared_ptr<const Snapshot> snapshot;
  {
    std::lock_guard lock(mutex_);
    current = Current(job->feed);
    ARROW_RETURN_NOT_OK(CheckTarget(*job, current.get()));
    ARROW_ASSIGN_OR_RAISE(snapshot, ApplyDecision(*job, current, decision));
  }
  std::shared_lock recording(recording_);
  FB_FAILPOINT("resolve.before_journal");
  ARROW_RETURN_NOT_OK(CommitRecorded(*job, *snapshot, false, {}, &decision));
  std::lock_guard lock(mutex_);
  job->end.store(JobEnd::kCommitted, std::memory_order_release);
  losers.swap(job->staged);
  replaced = std::exchange(feeds_[job->feed], snapshot);
  damaged_.erase(job->feed);
  jobs_.erase({job->feed, job->job_id});
  changed_.notify_all();
  Use(*snapshot);
  Remember({job->feed, job->job_id}, *snapshot, std::make_shared<const proto::Decision>(decision));
  return {};
}

}  // namespace flightbridge::feed
