#include "server/confirm_internal.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "feed/retention.h"
#include "feed/span.h"
#include "flightbridge/error.h"
#include "plan/order.h"
#include "plan/position.h"
#include "plan/remainder.h"
#include "plan/rows.h"
#include "plan/shard.h"
#include "plan/splits.h"
#include "server/planned_rows_internal.h"

namespace flightbridge::server {
namespace {

using plan::Interval;
using Rows = std::shared_ptr<const plan::FeedRows>;

// What a position costs must not depend on a stranger.
constexpr int64_t kMostPartShards = 1 << 20;
constexpr int64_t kMostSplits = 50'000'000;

arrow::Status Damaged(const proto::Position& position, const char* field, int64_t value) {
  return Error(Code::kInvalidArgument, "the position of feed '", position.feed, "' has ", field,
               "=", value, ", which no reader of it has: it is damaged; confirm another");
}

// What `shard`, number order.shard of order.num_shards, has handed out of an epoch. Only whole
// windows count where it shuffles.
class Handed {
 public:
  Handed(const plan::ShardRows& shard, const plan::OrderSpec& order, int64_t epoch)
      : shard_(shard) {
    if (order.shuffled()) shuffled_.emplace(order, Interval{0, shard.rows()}, epoch);
  }

  // [begin, end) of its order.
  void Append(int64_t begin, int64_t end, std::vector<Interval>* done) const {
    if (!shuffled_) return shard_.AppendGlobal({begin, end}, done);
    for (int64_t w = 0; w < shuffled_->num_windows() && shuffled_->WindowStart(w + 1) <= end; ++w) {
      if (shuffled_->WindowStart(w) < begin) continue;
      for (const Interval& part : shuffled_->WindowIntervals(w)) shard_.AppendGlobal(part, done);
    }
  }

 private:
  const plan::ShardRows& shard_;
  std::optional<plan::ShuffledEpoch> shuffled_;
};

plan::OrderSpec OrderOf(const proto::Position& position, int64_t shard, int64_t num_shards) {
  return {.shard = shard,
          .num_shards = num_shards,
          .window = position.shuffle_window,
          .seed = position.seed};
}

// Of an epoch that was begun with other shards. A window that two readers share is never done,
// since neither knows how far the other is; nor are partitions that are fully shuffled.
arrow::Status RemainderDone(const proto::Position& position, const Rows& rows,
                            std::vector<Interval>* done, std::vector<Interval>* places) {
  ARROW_RETURN_NOT_OK(plan::CheckRanges(position, rows));
  if (position.cursor < 0 || position.cursor > plan::RemainingRows(position, position.epoch)) {
    return Damaged(position, "cursor", position.cursor);
  }
  const plan::ShardSpec like{.policy = position.policy, .uneven = position.uneven};
  const auto ranges = plan::CutRanges(position.remaining, position.epoch, 0, position.cursor);
  for (size_t i = 0; i < ranges.size();) {
    const proto::OrderRange& first = ranges[i];
    if (first.num_shards > kMostPartShards) {
      return Damaged(position, "num_shards", first.num_shards);
    }
    const plan::ShardRows shard = plan::ShardOfRange(first, rows, like);
    if (position.shuffle_window == plan::kWholeShard) {
      const proto::OrderRange& range = ranges[i++];
      if (range.end > shard.rows()) return Damaged(position, "end", range.end);
      if (position.policy != plan::ShardPolicy::kStaticPartition) {
        shard.AppendGlobal({range.begin, range.end}, places);
      }
      continue;
    }
    const Handed handed(shard, OrderOf(position, first.shard, first.num_shards), first.epoch);
    for (; i < ranges.size() && ranges[i].shard == first.shard; ++i) {
      if (ranges[i].end > shard.rows()) return Damaged(position, "end", ranges[i].end);
      handed.Append(ranges[i].begin, ranges[i].end, done);
    }
    // Each shard once: what a position costs is one pass over the feed.
    if (i < ranges.size() && ranges[i].shard < first.shard) {
      return Damaged(position, "shard", ranges[i].shard);
    }
  }
  return {};
}

// Of a shard that is read to `cursor` in the last epoch, or beyond that epoch: all of it.
arrow::Status ShardDone(const proto::Position& position, const Rows& rows, bool beyond,
                        std::vector<Interval>* done, std::vector<Interval>* places) {
  if (position.num_shards < 1) return Damaged(position, "num_shards", position.num_shards);
  if (position.shard < 0 || position.shard >= position.num_shards) {
    return Damaged(position, "shard", position.shard);
  }
  if (position.policy == plan::ShardPolicy::kStaticPartition &&
      position.num_shards > kMostPartShards) {
    return Damaged(position, "num_shards", position.num_shards);
  }
  if (position.policy == plan::ShardPolicy::kOff && position.num_shards > 1) return {};
  if (position.shuffle_window < plan::kWholeShard) {
    return Damaged(position, "shuffle_window", position.shuffle_window);
  }
  if (position.epoch < position.plan_until) {
    if (beyond || position.uneven == plan::UnevenShards::kPad) return {};
    return RemainderDone(position, rows, done, places);
  }
  const plan::ShardRows shard(
      rows, {position.policy, position.uneven, position.shard, position.num_shards});
  const int64_t cursor = beyond ? shard.rows() : position.cursor;
  if (cursor < 0 || cursor > shard.rows()) return Damaged(position, "cursor", cursor);
  const bool padded = position.uneven == plan::UnevenShards::kPad;
  // A shard without rows of its own is padded with those of others.
  if (padded && rows->rows() < position.num_shards) return {};
  if (position.shuffle_window == plan::kWholeShard &&
      position.policy != plan::ShardPolicy::kStaticPartition) {
    if (cursor < shard.rows() && padded) return {};
    // Under a full order the shard's are the places of the rows.
    shard.AppendGlobal({0, cursor == shard.rows() ? shard.own_rows() : cursor}, places);
    return {};
  }
  if (cursor == shard.rows()) {
    shard.AppendGlobal({0, shard.own_rows()}, done);
  } else if (padded || position.shuffle_window == plan::kWholeShard) {
    return {};
  } else {
    Handed(shard, OrderOf(position, position.shard, position.num_shards), position.epoch)
        .Append(0, cursor, done);
  }
  return {};
}

arrow::Status SplitsDone(const proto::Position& position, const Rows& rows,
                         std::vector<Interval>* done) {
  if (position.split_rows < 1 || plan::CountSplits(*rows, position.split_rows) > kMostSplits) {
    return Damaged(position, "split_rows", position.split_rows);
  }
  const plan::SplitOrder order(rows,
                               {.split_rows = position.split_rows,
                                .shuffled = position.shuffle_window != 0,
                                .seed = position.seed},
                               position.epoch);
  ARROW_ASSIGN_OR_RAISE(const auto splits,
                        plan::SplitSet::Decode(position.completed, order.size()));
  splits.ForEach([&](int64_t split) { done->push_back(order.Rows(split)); });
  return {};
}

}  // namespace

namespace {

arrow::Status OtherRows(const feed::Snapshot& snapshot) {
  return Error(Code::kPositionMismatch, "the position is of other rows than feed '", snapshot.name,
               "' has: the feed was written again, and there is nothing of it to confirm");
}

const proto::GenerationInfo* FindGeneration(const feed::Snapshot& snapshot, int64_t generation) {
  const auto at =
      std::ranges::find(snapshot.generations, generation, &proto::GenerationInfo::generation);
  return at == snapshot.generations.end() ? nullptr : &*at;
}

// Of generations (first, last].
Rows RowsOfGenerations(const feed::Snapshot& snapshot, int64_t first, int64_t last) {
  std::vector<plan::PartitionRows> partitions;
  for (const auto& p : snapshot.partitions) {
    if (p->generation > first && p->generation <= last) {
      partitions.push_back({p->partition, p->rows});
    }
  }
  return std::make_shared<const plan::FeedRows>(std::move(partitions));
}

// What is done of `rows` by a reader at `position`; `places` are confirmed under this key.
arrow::Status AddConfirmed(const proto::Position& position, const Rows& rows, bool beyond,
                           int64_t places_key, std::vector<proto::RowRange>* confirmed) {
  std::vector<Interval> done;
  std::vector<Interval> places;
  if (position.policy != plan::ShardPolicy::kDynamic) {
    ARROW_RETURN_NOT_OK(ShardDone(position, rows, beyond, &done, &places));
  } else if (!beyond) {
    ARROW_RETURN_NOT_OK(SplitsDone(position, rows, &done));
  }
  std::vector<plan::Range> ranges;
  for (const Interval& interval : done) rows->AppendRanges(interval, &ranges);
  for (const auto& range : ranges) {
    confirmed->push_back({range.partition, range.row_begin, range.row_end});
  }
  for (const Interval& some : places) confirmed->push_back({places_key, some.begin, some.end});
  return {};
}

// A follower has done with its shard of every generation before that of its position.
arrow::Result<std::vector<proto::RowRange>> FollowedRows(const proto::Position& position,
                                                         const feed::Snapshot& snapshot) {
  const proto::GenerationInfo* at = FindGeneration(snapshot, position.generation);
  if (at == nullptr || at->fingerprint != position.fingerprint) return OtherRows(snapshot);
  if (position.policy == plan::ShardPolicy::kDynamic || position.epoch != 0) {
    return Damaged(position, "epoch", position.epoch);
  }
  std::vector<proto::RowRange> confirmed;
  if (snapshot.retention.epochs != 1) return confirmed;  // it reads each of them once
  std::set<int64_t> kept;
  for (const auto& p : snapshot.partitions) {
    if (!p->released && p->generation <= position.generation) kept.insert(p->generation);
  }
  for (const int64_t generation : kept) {
    proto::Position one = position;
    one.epoch = generation;  // which its order depends on
    const bool beyond = generation < position.generation;
    if (beyond) one.plan_until = 0;
    ARROW_RETURN_NOT_OK(AddConfirmed(one, RowsOfGenerations(snapshot, generation - 1, generation),
                                     beyond, feed::PlacesOf(generation), &confirmed));
  }
  return confirmed;
}

}  // namespace

arrow::Result<std::vector<proto::RowRange>> ConfirmedRows(const proto::Position& position,
                                                          const feed::Snapshot& snapshot) {
  if (position.follow) return FollowedRows(position, snapshot);
  Rows rows;
  // Places of an order are of one reader's generations only, and say nothing once there are more.
  bool whole = !snapshot.open;
  if (position.fingerprint == snapshot.fingerprint) {
    rows = RowsOf(snapshot);
  } else {
    const proto::GenerationInfo* last = FindGeneration(snapshot, position.generation);
    if (last == nullptr || position.generation == 0 || last->fingerprint != position.fingerprint) {
      return OtherRows(snapshot);
    }
    rows = RowsOfGenerations(snapshot, 0, position.generation);
    whole = false;
  }
  const int64_t last = snapshot.retention.epochs - 1;
  std::vector<proto::RowRange> confirmed;
  if (last < 0 || position.epoch < last) return confirmed;
  ARROW_RETURN_NOT_OK(
      AddConfirmed(position, rows, position.epoch > last, feed::kPlaces, &confirmed));
  if (!whole) std::erase_if(confirmed, [](const auto& r) { return r.partition == feed::kPlaces; });
  return confirmed;
}

arrow::Result<proto::ConfirmPositionResult> ConfirmPosition(ServiceState* state,
                                                            const proto::Position& position) {
  ARROW_RETURN_NOT_OK(feed::ValidateFeedName(position.feed));
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, state->store->Find(position.feed));
  ARROW_RETURN_NOT_OK(feed::CheckHome(*snapshot));
  ARROW_ASSIGN_OR_RAISE(const auto rows, ConfirmedRows(position, *snapshot));
  return state->store->Confirm(position.feed, snapshot->feed_id, rows);
}

}  // namespace flightbridge::server
