// The reading side of FeedStoreImpl: what exists, and the words for what does not.
#include <algorithm>
#include <functional>

#include "common/format.h"
#include "feed/feed_store_impl.h"
#include "feed/retention.h"
#include "feed/span.h"

namespace flightbridge::feed {

std::shared_ptr<const Snapshot> FeedStoreImpl::Current(const std::string& feed) const {
  const auto at = feeds_.find(feed);
  return at == feeds_.end() ? nullptr : at->second;
}

arrow::Status FeedStoreImpl::CheckTarget(const WriteJob& job, const Snapshot* current) const {
  if (!job.decided_elsewhere()) ARROW_RETURN_NOT_OK(CheckMode(job, current));
  ARROW_RETURN_NOT_OK(CheckSpan(job, current));
  // What the home admits the others do: what they have may be older.
  if (current != nullptr && !job.decided_elsewhere()) {
    ARROW_RETURN_NOT_OK(CheckRetainedAppend(job, *current));
  }
  ARROW_RETURN_NOT_OK(CheckNoStream(job));
  const auto damage = damaged_.find(job.feed);
  if (damage == damaged_.end() || job.mode == proto::WriteMode::kOverwrite) return {};
  return damage->second.status;
}

arrow::Status FeedStoreImpl::NotFound(const std::string& feed) const {
  if (const auto ended = ended_streams_.find(feed); ended != ended_streams_.end()) {
    return ended->second;
  }
  const auto job = jobs_.lower_bound({feed, ""});
  if (job != jobs_.end() && job->first.first == feed) {
    return Error(Code::kNotFound, "feed '", feed,
                 "' is being written and has no committed data yet: wait for its commit");
  }
  if (!options_.name_other_feeds) {
    return Error(Code::kNotFound, "feed '", feed,
                 "' does not exist: `flightbridge feeds ls` lists those that you may read");
  }
  std::string names;
  size_t shown = 0;
  for (const auto& [name, snapshot] : feeds_) {
    if (++shown > 5) break;
    names += (shown > 1 ? ", " : "") + name;
  }
  if (feeds_.size() > 5) names += " and " + std::to_string(feeds_.size() - 5) + " more";
  return Error(Code::kNotFound, "feed '", feed, "' does not exist (",
               names.empty() ? "there are no feeds yet" : "there are: " + names, ")");
}

proto::FeedInfo FeedStoreImpl::InfoOf(const std::string& feed, int64_t after) const {
  proto::FeedInfo info;
  if (const auto current = Visible(feed)) {
    info = current->Info(after);
    if (!options_.segments.data_dir.empty()) {
      info.memory_limit_bytes = options_.segments.memory_limit_bytes;
    }
    info.deals = info.orders && info.memory_limit_bytes > 0;
  } else {
    info.feed = feed;
    info.state = proto::FeedState::kOpen;
  }
  for (auto at = jobs_.lower_bound({feed, ""}); at != jobs_.end() && at->first.first == feed;
       ++at) {
    ++info.open_jobs;
    if (info.state == proto::FeedState::kOpen && info.schema_text.empty()) {
      info.schema_hash = at->second->schema_hash;
      info.schema_text = at->second->schema->ToString(/*show_metadata=*/false);
    }
  }
  return info;
}

arrow::Result<std::shared_ptr<const Snapshot>> FeedStoreImpl::Find(const std::string& feed) const {
  ARROW_RETURN_NOT_OK(ValidateFeedName(feed));
  std::lock_guard lock(mutex_);
  if (const auto damage = damaged_.find(feed); damage != damaged_.end())
    return damage->second.status;
  if (auto current = Visible(feed)) return current;
  return NotFound(feed);
}

arrow::Result<std::shared_ptr<const Snapshot>> FeedStoreImpl::FindToRead(
    const std::string& feed) const {
  ARROW_ASSIGN_OR_RAISE(auto found, Find(feed));
  std::lock_guard lock(mutex_);
  if (Current(feed) == found) Use(*found);
  return found;
}

std::vector<proto::FeedInfo> FeedStoreImpl::List() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, bool> names;
  for (const auto& [name, snapshot] : feeds_) names[name] = true;
  for (const auto& [key, job] : jobs_) names[key.first] = true;
  std::vector<proto::FeedInfo> infos;
  infos.reserve(names.size());
  for (const auto& [name, exists] : names) infos.push_back(InfoOf(name));
  return infos;
}

arrow::Result<proto::FeedInfo> FeedStoreImpl::Describe(const std::string& feed,
                                                       int64_t after) const {
  ARROW_RETURN_NOT_OK(ValidateFeedName(feed));
  std::lock_guard lock(mutex_);
  const auto job = jobs_.lower_bound({feed, ""});
  const bool open = job != jobs_.end() && job->first.first == feed;
  if (!open && Visible(feed) == nullptr) return NotFound(feed);
  return InfoOf(feed, after);
}

std::string FeedStoreImpl::LargestFeeds() const {
  if (!options_.name_other_feeds) return "";
  constexpr size_t kShown = 3;
  std::map<std::string, int64_t> bytes;  // what is staged counts, too
  {
    std::lock_guard lock(mutex_);
    for (const auto& [name, snapshot] : feeds_) {
      for (const auto& partition : snapshot->partitions) {
        if (!partition->released) bytes[name] += partition->bytes;
      }
    }
    for (const auto& [key, job] : jobs_) {
      for (const auto& [name, staged] : job->staged) bytes[key.first] += staged.data->bytes;
    }
  }
  std::vector<std::pair<int64_t, std::string>> largest;
  for (const auto& [name, size] : bytes) {
    if (size > 0) largest.emplace_back(size, name);
  }
  const size_t shown = std::min(kShown, largest.size());
  std::partial_sort(largest.begin(), largest.begin() + static_cast<ptrdiff_t>(shown), largest.end(),
                    std::greater<>());
  std::string text;
  for (size_t i = 0; i < shown; ++i) {
    text += (i > 0 ? ", '" : "'") + largest[i].second + "' " + FormatBytes(largest[i].first);
  }
  return text;
}

arrow::Status FeedStoreImpl::Explain(const std::string& feed, const arrow::Status& status) const {
  std::string more;
  if (options_.put_wait.count() > 0) {
    more +=
        "; no room came within --put-wait, " + std::to_string(options_.put_wait.count()) + " ms";
  }
  if (const std::string largest = LargestFeeds(); !largest.empty()) {
    more += "; the largest feeds: " + largest;
  }
  return Error(Code::kResourceExhausted, "feed '", feed, "': ", status.message(), more);
}

void FeedStoreImpl::Remember(const JobKey& key, const Snapshot& snapshot,
                             std::shared_ptr<const proto::Decision> decision, int64_t after) {
  CommittedJob job{snapshot.Info(after), snapshot.schema, std::move(decision)};
  job.info.writers.clear();  // of every job that is remembered they would be many
  job.info.schema_text.clear();
  RememberJob(key, std::move(job));
}

void FeedStoreImpl::RememberJob(const JobKey& key, CommittedJob job) {
  remembered_partitions_ += job.info.partitions.size();
  committed_.emplace(key, std::move(job));
  committed_order_.push_back(key);
  while (committed_order_.size() > kRememberedJobs) {
    const auto oldest = committed_.find(committed_order_.front());
    remembered_partitions_ -= oldest->second.info.partitions.size();
    committed_.erase(oldest);
    committed_order_.pop_front();
    if (next_to_strip_ > 0) --next_to_strip_;
  }
  while (remembered_partitions_ > kRememberedPartitions &&
         next_to_strip_ + 1 < committed_order_.size()) {
    proto::FeedInfo& info = committed_.at(committed_order_[next_to_strip_++]).info;
    remembered_partitions_ -= info.partitions.size();
    info.partitions = {};
  }
}

proto::CommitWriteResult FeedStoreImpl::ResultOf(const CommittedJob& job) {
  proto::CommitWriteResult result;
  result.feed = job.info;
  result.feed->schema_text = job.schema->ToString(/*show_metadata=*/false);
  return result;
}

}  // namespace flightbridge::feed
