#include "feed/retention.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/failpoint.h"
#include "feed/feed_store_impl.h"
#include "feed/schema_rules.h"

namespace flightbridge::feed {
namespace {

constexpr int64_t kMostEpochs = 1'000'000;
constexpr int64_t kLongestTtlMs = int64_t{10} * 365 * 24 * 3600 * 1000;

bool Same(const proto::Retention& a, const proto::Retention& b) {
  return a.epochs == b.epochs && a.ttl_ms == b.ttl_ms;
}

std::string Both(const proto::Retention& retention) {
  return "retention=" + NameOf(retention) +
         " and ttl=" + (retention.ttl_ms == 0 ? "none" : std::to_string(retention.ttl_ms) + " ms");
}

}  // namespace

// Of a partition that the snapshot can confirm rows of: at home any of the feed, else one that is
// here.
static std::optional<int64_t> PartitionRows(const Snapshot& snapshot, int64_t partition) {
  if (snapshot.span != nullptr && snapshot.span->is_home()) {
    const auto& all = snapshot.span->partitions;
    const auto at = std::ranges::lower_bound(all, partition, {}, &proto::PartitionInfo::partition);
    if (at == all.end() || at->partition != partition) return std::nullopt;
    return at->rows;
  }
  const auto at = std::ranges::lower_bound(snapshot.partitions, partition, {},
                                           [](const auto& p) { return p->partition; });
  if (at == snapshot.partitions.end() || (*at)->partition != partition) return std::nullopt;
  return (*at)->rows;
}

// Calls it with number, rows and generation of each partition that PartitionRows() knows.
template <typename F>
static void ForEachPartition(const Snapshot& snapshot, const F& call) {
  if (snapshot.span != nullptr && snapshot.span->is_home()) {
    for (const auto& p : snapshot.span->partitions) call(p.partition, p.rows, p.generation);
  } else {
    for (const auto& p : snapshot.partitions) call(p->partition, p->rows, p->generation);
  }
}

// Of the order that places are of, by their key in Snapshot::confirmed.
static int64_t OrderRows(const Snapshot& snapshot, int64_t key) {
  if (key == kPlaces) return snapshot.rows;
  const auto at =
      std::ranges::find(snapshot.generations, kPlaces - key, &proto::GenerationInfo::generation);
  return at == snapshot.generations.end() ? 0 : at->rows;
}

bool KeepsForEver(const proto::Retention& retention) {
  return retention.epochs == 0 && retention.ttl_ms == 0;
}

std::string NameOf(const proto::Retention& retention) {
  if (retention.epochs == 0) return "keep";
  if (retention.epochs == 1) return "once";
  return "epochs=" + std::to_string(retention.epochs);
}

arrow::Status CheckRetention(const proto::BeginWrite& request) {
  if (!request.retention) return {};
  const proto::Retention& asked = *request.retention;
  if (asked.epochs < 0 || asked.epochs > kMostEpochs) {
    return Error(Code::kInvalidArgument, "feed '", request.feed, "': retention of ", asked.epochs,
                 " epochs is out of range: use 1 to ", kMostEpochs, ", or 0 to keep the rows");
  }
  if (asked.ttl_ms < 0 || asked.ttl_ms > kLongestTtlMs) {
    return Error(Code::kInvalidArgument, "feed '", request.feed, "': a ttl of ", asked.ttl_ms,
                 " ms is out of range: use 1 ms to ten years, or 0 for none");
  }
  return {};
}

arrow::Status CheckRetainedAppend(const WriteJob& job, const Snapshot& current) {
  const bool stream = job.mode == proto::WriteMode::kStream;
  if (job.mode != proto::WriteMode::kAppend && !stream) return {};
  if (job.retention && !Same(*job.retention, current.retention)) {
    return Error(Code::kFailedPrecondition, "cannot add to feed '", job.feed, "' with ",
                 Both(*job.retention), ": it has ", Both(current.retention),
                 "; leave them out, or write with mode overwrite");
  }
  if (stream || current.confirmed == nullptr) return {};
  return Error(Code::kFailedPrecondition, "cannot append to feed '", job.feed,
               "': it has retention=", NameOf(current.retention),
               " and readers have confirmed rows of it; write a feed of another name, or overwrite "
               "it when they are done");
}

bool SameRetention(const std::optional<proto::Retention>& a,
                   const std::optional<proto::Retention>& b) {
  return a.has_value() == b.has_value() && (!a.has_value() || Same(*a, *b));
}

proto::Retention RetentionOf(const WriteJob& job, const Snapshot* current) {
  if (job.retention) return *job.retention;
  const bool append = job.mode == proto::WriteMode::kAppend && current != nullptr;
  return append ? current->retention : proto::Retention{};
}

std::vector<proto::JournalRows> Unconfirmed(const Snapshot& snapshot,
                                            const std::vector<proto::RowRange>& rows) {
  std::map<int64_t, RowSet> asked;
  for (const proto::RowRange& range : rows) {
    if (range.partition <= kPlaces) {
      asked[range.partition].Add(std::max<int64_t>(range.row_begin, 0),
                                 std::min(range.row_end, OrderRows(snapshot, range.partition)));
      continue;
    }
    const auto known = PartitionRows(snapshot, range.partition);
    if (!known) continue;
    asked[range.partition].Add(std::max<int64_t>(range.row_begin, 0),
                               std::min(range.row_end, *known));
  }
  std::vector<proto::JournalRows> found;
  for (const auto& [partition, set] : asked) {
    RowSet have;
    if (snapshot.confirmed != nullptr) {
      if (const auto at = snapshot.confirmed->find(partition); at != snapshot.confirmed->end()) {
        have = at->second;
      }
    }
    for (const auto& [begin, end] : set.runs()) {
      if (have.Add(begin, end) > 0) found.push_back({partition, begin, end});
    }
  }
  return found;
}

std::shared_ptr<const RowSets> Joined(const RowSets* have,
                                      const std::vector<proto::JournalRows>& rows) {
  auto joined = have == nullptr ? std::make_shared<RowSets>() : std::make_shared<RowSets>(*have);
  for (const auto& range : rows) (*joined)[range.partition].Add(range.row_begin, range.row_end);
  return joined;
}

std::shared_ptr<const Snapshot> WithConfirmed(const Snapshot& snapshot,
                                              const std::vector<proto::JournalRows>& rows) {
  auto changed = std::make_shared<Snapshot>(snapshot);
  auto confirmed = std::make_shared<RowSets>(*Joined(snapshot.confirmed.get(), rows));
  for (auto at = confirmed->begin(); at != confirmed->end() && at->first <= kPlaces;) {
    const int64_t order = at->first;
    if (at->second.rows() < OrderRows(snapshot, order)) {
      ++at;
      continue;
    }
    at = confirmed->erase(at);
    ForEachPartition(snapshot, [&](int64_t partition, int64_t rows, int64_t generation) {
      if (rows > 0 && (order == kPlaces || PlacesOf(generation) == order)) {
        (*confirmed)[partition].Add(0, rows);
      }
    });
  }
  const auto done = [&](int64_t partition, int64_t rows) {
    const auto at = confirmed->find(partition);
    return at != confirmed->end() && at->second.rows() >= rows;
  };
  for (auto& partition : changed->partitions) {
    if (partition->released || !done(partition->partition, partition->rows)) continue;
    auto released = std::make_shared<Partition>(*partition);
    released->released = true;
    released->messages.clear();
    released->segments.clear();
    released->verified.reset();
    released->index.reset();
    released->statistics.reset();
    partition = std::move(released);
  }
  if (snapshot.span != nullptr && snapshot.span->is_home()) {
    auto span = std::make_shared<Span>(*snapshot.span);
    for (proto::PartitionInfo& partition : span->partitions) {
      partition.released = partition.released || done(partition.partition, partition.rows);
    }
    changed->span = std::move(span);
  }
  changed->confirmed = std::move(confirmed);
  return changed;
}

std::shared_ptr<const Snapshot> WithConfirmedOf(const WriteJob& job,
                                                std::shared_ptr<const Snapshot> snapshot) {
  if (job.confirmed == nullptr) return snapshot;
  return WithConfirmed(*snapshot, ConfirmedOf(job.confirmed.get()));
}

std::vector<proto::JournalRows> ConfirmedOf(const RowSets* confirmed) {
  std::vector<proto::JournalRows> rows;
  if (confirmed == nullptr) return rows;
  for (const auto& [partition, set] : *confirmed) {
    for (const auto& [begin, end] : set.runs()) rows.push_back({partition, begin, end});
  }
  return rows;
}

proto::ConfirmPositionResult ConfirmResult(const Snapshot& snapshot) {
  proto::ConfirmPositionResult result;
  if (snapshot.span != nullptr && snapshot.span->is_home()) {
    result.released_partitions =
        std::ranges::count_if(snapshot.span->partitions, &proto::PartitionInfo::released);
  } else {
    result.released_partitions =
        std::ranges::count_if(snapshot.partitions, [](const auto& p) { return p->released; });
  }
  if (snapshot.confirmed == nullptr) return result;
  int64_t places = 0;
  for (const auto& [partition, set] : *snapshot.confirmed) {
    (partition <= kPlaces ? places : result.confirmed_rows) += set.rows();
  }
  // Which rows they are is not known, but not less than the larger of the two.
  result.confirmed_rows = std::max(result.confirmed_rows, places);
  return result;
}

arrow::Result<proto::ConfirmPositionResult> FeedStoreImpl::Confirm(
    const std::string& feed, uint64_t feed_id, const std::vector<proto::RowRange>& rows) {
  ARROW_RETURN_NOT_OK(ValidateFeedName(feed));
  std::shared_ptr<const Snapshot> replaced;  // freed after the locks
  std::lock_guard decisions(decisions_);
  std::shared_ptr<const Snapshot> current;
  JobPtr job;  // that still writes the feed
  {
    std::lock_guard lock(mutex_);
    current = Visible(feed);
    if (current == nullptr) return NotFound(feed);
    if (Current(feed) == nullptr) job = jobs_.at({feed, streams_.at(feed).job_id});
    // What a home tells one of the others is no use of that one's rows.
    if (current->span == nullptr || current->span->is_home()) Use(*current);
  }
  if (current->feed_id != feed_id) {
    return Error(Code::kFailedPrecondition, "feed '", feed,
                 "' was written again since the reader began: there is nothing of it to confirm");
  }
  if (current->retention.epochs == 0) return proto::ConfirmPositionResult{};
  auto added = Unconfirmed(*current, rows);
  if (added.empty()) return ConfirmResult(*current);
  std::shared_ptr<const Snapshot> changed;
  {
    std::shared_lock recording(recording_);
    proto::JournalRecord record;
    record.confirm = {feed, feed_id, added};
    FB_FAILPOINT("confirm.before_journal");
    ARROW_RETURN_NOT_OK(Record(record));
    FB_FAILPOINT("confirm.after_journal");
    std::lock_guard lock(mutex_);
    if (job != nullptr) {  // of which more may have become visible in the meantime
      job->confirmed = Joined(job->confirmed.get(), added);
      Publish(job.get());
      changed = Visible(feed);
    } else {
      changed = WithConfirmed(*current, added);
      replaced = std::exchange(feeds_[feed], changed);
      changed_.notify_all();
    }
  }
  current.reset();
  CompactIfLarge();
  return ConfirmResult(*changed);
}

arrow::Status FeedStoreImpl::ReplayConfirm(const proto::JournalConfirm& record) {
  const auto current = Current(record.feed);
  if (current == nullptr) {
    const auto job = std::ranges::find_if(jobs_, [&](const auto& at) {
      return at.second->stream && at.second->feed_id == record.feed_id;
    });
    if (job != jobs_.end()) {
      job->second->confirmed = Joined(job->second->confirmed.get(), record.rows);
      return {};
    }
  }
  if (current == nullptr || current->feed_id != record.feed_id) {
    return Error(Code::kDataLoss, "a record confirms rows of an unknown feed");
  }
  feeds_[record.feed] = WithConfirmed(*current, record.rows);
  return {};
}

void FeedStoreImpl::Use(const Snapshot& snapshot) const {
  if (snapshot.retention.ttl_ms > 0) used_ms_[snapshot.name] = NowMs();
}

int64_t FeedStoreImpl::UnusedMs(const std::shared_ptr<const Snapshot>& snapshot) const {
  const int64_t now = NowMs();
  const auto [used, first] = used_ms_.emplace(snapshot->name, now);
  const auto job = jobs_.lower_bound({snapshot->name, ""});
  const bool written = job != jobs_.end() && job->first.first == snapshot->name;
  // A stream that is being sent holds the snapshot.
  if (first || written || snapshot.use_count() > 1) used->second = now;
  return now - used->second;
}

int FeedStoreImpl::DropIdleFeeds() {
  std::vector<std::shared_ptr<const Snapshot>> idle;
  std::lock_guard decisions(decisions_);
  {
    std::lock_guard lock(mutex_);
    for (const auto& [name, snapshot] : feeds_) {
      const int64_t ttl_ms = snapshot->retention.ttl_ms;
      if (ttl_ms == 0 || (snapshot->span != nullptr && !snapshot->span->is_home())) continue;
      if (UnusedMs(snapshot) >= ttl_ms && UnusedElsewhere(*snapshot)) idle.push_back(snapshot);
    }
  }
  int dropped = 0;
  for (const auto& snapshot : idle) dropped += Drop(snapshot->name, snapshot.get()).ok() ? 1 : 0;
  return dropped;
}

}  // namespace flightbridge::feed
