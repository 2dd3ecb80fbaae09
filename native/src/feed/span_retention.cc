// The part of FeedStoreImpl for the retention of feeds that span several servers: readers confirm
// at the home, which says to the others, when they ask, what they may free. Locks as everywhere:
// decisions_, recording_, mutex_.
#include <algorithm>
#include <limits>
#include <set>

#include "feed/feed_store_impl.h"
#include "feed/retention.h"
#include "feed/span.h"

namespace flightbridge::feed {

std::vector<RetainedPart> FeedStoreImpl::RetainedParts() const {
  std::vector<RetainedPart> found;
  std::lock_guard lock(mutex_);
  for (const auto& [name, snapshot] : feeds_) {
    const Span* span = snapshot->span.get();
    if (span == nullptr || span->is_home() || KeepsForEver(snapshot->retention)) continue;
    proto::RetentionStatus& question =
        found.emplace_back(RetainedPart{span->servers[span->home], {}}).question;
    question.feed = name;
    question.feed_id = snapshot->feed_id;
    question.server = span->servers[span->self];
    if (snapshot->retention.ttl_ms > 0) question.unused_ms = UnusedMs(snapshot);
    question.released =
        std::ranges::count_if(snapshot->partitions, [](const auto& p) { return p->released; });
  }
  return found;
}

arrow::Result<proto::RetentionStatusResult> FeedStoreImpl::RetentionStatus(
    const proto::RetentionStatus& question) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(question.feed));
  proto::RetentionStatusResult answer;
  std::lock_guard lock(mutex_);  // what it guards is on disk already
  const auto current = feeds_.find(question.feed);
  const Span* span = current == feeds_.end() ? nullptr : current->second->span.get();
  if (span != nullptr && !span->is_home()) {
    return Error(Code::kFailedPrecondition, "feed '", question.feed,
                 "': this server is not its home, ", span->servers[span->home], " is");
  }
  const auto asker = span == nullptr ? std::vector<std::string>::const_iterator()
                                     : std::ranges::find(span->servers, question.server);
  const bool listed = span != nullptr && asker != span->servers.end();
  if (current == feeds_.end() || current->second->feed_id != question.feed_id) {
    // One that is to have a part of what came after it learns of that by its write job. Of a feed
    // that this server does not remember, as with another data directory, it says nothing.
    if (listed) return answer;
    for (auto job = committed_.lower_bound({question.feed, ""});
         job != committed_.end() && job->first.first == question.feed; ++job) {
      answer.dropped = answer.dropped || job->second.info.feed_id == question.feed_id;
    }
    return answer;
  }
  if (!listed) {
    return Error(Code::kInvalidArgument, "feed '", question.feed,
                 "' has no part on the server that asks about its retention");
  }
  answer.here = true;
  const auto server = static_cast<uint32_t>(asker - span->servers.begin());
  for (const proto::PartitionInfo& partition : span->partitions) {
    if (partition.released && partition.server == server) {
      answer.released.push_back(partition.partition);
    }
  }
  if (static_cast<int64_t>(answer.released.size()) == question.released) answer.released.clear();
  if (current->second->retention.ttl_ms > 0) {
    PartUses& uses = part_uses_[question.feed];
    if (uses.feed_id != question.feed_id) uses = {question.feed_id, {}};
    const int64_t now = NowMs();
    uses.by_server[server] = {now - std::max<int64_t>(question.unused_ms, 0), now};
  }
  return answer;
}

arrow::Status FeedStoreImpl::ResolveRetention(const RetainedPart& asked,
                                              const proto::RetentionStatusResult& answer) {
  const std::string& feed = asked.question.feed;
  if (answer.dropped) {
    std::lock_guard decisions(decisions_);
    std::shared_ptr<const Snapshot> current;
    {
      std::lock_guard lock(mutex_);
      current = Current(feed);
      const auto job = jobs_.lower_bound({feed, ""});
      if (job != jobs_.end() && job->first.first == feed) return {};  // it may take its place
    }
    if (current == nullptr || current->feed_id != asked.question.feed_id) return {};
    return Drop(feed, current.get());
  }
  if (!answer.here || answer.released.empty()) return {};
  std::vector<proto::RowRange> rows;
  rows.reserve(answer.released.size());
  for (const int64_t partition : answer.released) {
    if (partition >= 0) rows.push_back({partition, 0, std::numeric_limits<int64_t>::max()});
  }
  const auto status = Confirm(feed, asked.question.feed_id, rows).status();
  const Code code = CodeOf(status);
  const bool another = code == Code::kNotFound || code == Code::kFailedPrecondition;
  return another ? arrow::Status::OK() : status;  // the answer is not about what is here now
}

bool FeedStoreImpl::UnusedElsewhere(const Snapshot& snapshot) const {
  if (snapshot.span == nullptr) return true;
  std::set<uint32_t> holders;
  for (const proto::PartitionInfo& partition : snapshot.span->partitions) {
    if (!partition.released && partition.server != snapshot.span->self) {
      holders.insert(partition.server);
    }
  }
  int64_t known_ms = NowMs();
  int64_t used_ms = used_ms_.at(snapshot.name);
  const auto uses = part_uses_.find(snapshot.name);
  if (uses != part_uses_.end() && uses->second.feed_id == snapshot.feed_id) {
    for (const auto& [server, use] : uses->second.by_server) {
      used_ms = std::max(used_ms, use.used_ms);
      if (holders.erase(server) > 0) known_ms = std::min(known_ms, use.known_ms);
    }
  }
  // One that has said nothing may be in use. So may each be since it spoke: what counts is the time
  // of which all have spoken.
  return holders.empty() && known_ms - used_ms >= snapshot.retention.ttl_ms;
}

}  // namespace flightbridge::feed
