#include "feed/partition_statistics.h"

#include <algorithm>
#include <utility>

#include <arrow/record_batch.h>

#include "feed/partition.h"

namespace flightbridge::feed {

StatisticsRoom::StatisticsRoom(std::shared_ptr<segment::SegmentStore> segments)
    : segments_(std::move(segments)), limit_(segments_->budget().limit_bytes() / kPart) {}

bool StatisticsRoom::Take(PartitionStatistics* who, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  while (used_ + bytes > limit_) {
    const auto oldest =
        std::ranges::find_if(kept_, [who](const auto* kept) { return kept != who; });
    if (oldest == kept_.end()) return false;
    const std::lock_guard partition_lock((*oldest)->mutex_);
    (*oldest)->columns_.clear();
    Drop(*oldest);
  }
  if (!segments_->ReserveMemory(bytes)) return false;
  used_ += bytes;
  who->bytes_ += bytes;
  if (who->place_) {
    kept_.splice(kept_.end(), kept_, *who->place_);
  } else {
    who->place_ = kept_.insert(kept_.end(), who);
  }
  return true;
}

void StatisticsRoom::Drop(PartitionStatistics* who) {
  if (!who->place_) return;
  kept_.erase(*std::exchange(who->place_, std::nullopt));
  used_ -= who->bytes_;
  segments_->ReleaseMemory(std::exchange(who->bytes_, 0));
}

void StatisticsRoom::Leave(PartitionStatistics* who) {
  const std::lock_guard lock(mutex_);
  Drop(who);
}

int64_t StatisticsRoom::used_bytes() {
  const std::lock_guard lock(mutex_);
  return used_;
}

// One caller at a time reads the partition, and the next one finds what it has learnt. However the
// turn ends, memory that cannot be had included, the next one gets its own.
class PartitionStatistics::Turn {
 public:
  Turn(PartitionStatistics* whose, Deadline deadline) : whose_(whose) {
    std::unique_lock lock(whose_->mutex_);
    ours_ = whose_->idle_.wait_until(lock, deadline, [this] { return !whose_->busy_; });
    if (ours_) whose_->busy_ = true;
  }
  ~Turn() {
    if (!ours_) return;
    {
      const std::lock_guard lock(whose_->mutex_);
      whose_->busy_ = false;
    }
    whose_->idle_.notify_one();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  bool is_ours() const { return ours_; }

 private:
  PartitionStatistics* const whose_;
  bool ours_ = false;
};

arrow::Result<std::optional<std::vector<proto::ColumnStatistics>>> PartitionStatistics::Of(
    const Partition& partition, const std::vector<int>& columns, Deadline deadline, bool insist) {
  std::map<int, Progress> made;
  const Turn turn(this, deadline);
  if (!turn.is_ours()) return std::nullopt;
  {
    const std::lock_guard lock(mutex_);
    for (const int column : columns) {
      const auto known = columns_.find(column);
      made[column] = known == columns_.end() ? Progress{} : known->second;
    }
  }
  const auto whole = [&](const auto& column) {
    return column.second.next_message == partition.messages.size();
  };
  if (!std::ranges::all_of(made, whole)) {
    ARROW_RETURN_NOT_OK(Advance(partition, &made, deadline, insist));
    Keep(made);
  }
  if (!std::ranges::all_of(made, whole)) return std::nullopt;
  std::vector<proto::ColumnStatistics> found;
  found.reserve(columns.size());
  for (const int column : columns) {
    found.push_back(made.at(column).bounds.Finish(*partition.schema->field(column)->type()));
  }
  return found;
}

arrow::Status PartitionStatistics::Advance(const Partition& partition,
                                           std::map<int, Progress>* unfinished, Deadline deadline,
                                           bool insist) {
  size_t first = partition.messages.size();
  for (const auto& [column, progress] : *unfinished) first = std::min(first, progress.next_message);
  for (size_t i = first; i < partition.messages.size(); ++i) {
    const bool free = insist && i == first;
    if (!free && std::chrono::steady_clock::now() >= deadline) break;
    std::shared_ptr<arrow::RecordBatch> batch;
    if (!partition.messages[i].is_dictionary) {
      ARROW_ASSIGN_OR_RAISE(batch, partition.Decode(i));
    }
    for (auto& [column, progress] : *unfinished) {
      if (progress.next_message != i) continue;
      if (batch != nullptr) progress.bounds.Add(*batch->column(column));
      progress.next_message = i + 1;
    }
  }
  return {};
}

void PartitionStatistics::Keep(const std::map<int, Progress>& made) {
  const auto missing = [&] {
    return std::ranges::count_if(
        made, [&](const auto& entry) { return !columns_.contains(entry.first); });
  };
  int64_t more = 0;
  {
    const std::lock_guard lock(mutex_);
    more = missing();
  }
  // The room locks partitions that are to give way, so this one must not be locked here.
  if (more > 0 && !room_->Take(this, more * kColumnBytes)) return;
  const std::lock_guard lock(mutex_);
  if (missing() > more) return;  // it had to give way meanwhile
  for (const auto& [column, progress] : made) columns_[column] = progress;
}

}  // namespace flightbridge::feed
