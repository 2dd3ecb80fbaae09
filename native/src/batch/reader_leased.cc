// The reader under DYNAMIC: hands out rows only while it holds their lease, says which splits are
// done, and begins anew where the lease was lost.
#include <algorithm>
#include <random>
#include <utility>

#include "batch/reader.h"
#include "flightbridge/error.h"
#include "plan/splits.h"

namespace flightbridge::batch {
namespace {

// Splits asked for in one call; the server grants no more.
constexpr int64_t kMaxAhead = 64;
constexpr std::chrono::hours kLong{1};

uint64_t DrawHolder() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

}  // namespace

arrow::Status Reader::DescribeSplits() {
  int64_t split_rows = spec_.split_rows;
  if (split_rows == 0 && spec_.shuffle_window > 0) split_rows = spec_.shuffle_window;
  if (split_rows == 0)
    split_rows = plan::DefaultSplitRows(feed_.rows, feed_.bytes, spec_.batch_size);
  split_rows = std::min(split_rows, plan::kMaxWindowRows / 2);
  context_ = {.feed = spec_.feed,
              .fingerprint = feed_.fingerprint,
              .schema_hash = feed_.schema_hash,
              .order = {.window = spec_.shuffle_window, .seed = spec_.seed},
              .policy = plan::ShardPolicy::kDynamic,
              .split_rows = split_rows,
              .epochs = spec_.epochs < 0 ? -1 : spec_.first_epoch + spec_.epochs,
              .shard_rows = 1};
  // No epoch would ever bring a batch.
  if (spec_.epochs < 0 && spec_.drop_remainder && feed_.rows < spec_.batch_size)
    context_.epochs = spec_.first_epoch;
  epoch_ = spec_.first_epoch;
  progress_.holder = DrawHolder();
  progress_.epoch = epoch_;
  lease_stats_.feed_rows = feed_.rows;
  lease_stats_.splits = plan::CountSplits(*rows_, split_rows);
  return arrow::Status::OK();
}

LeaseSettings Reader::MakeLeaseSettings() const {
  const int64_t splits = std::max<int64_t>(1, lease_stats_.splits);
  const int64_t rows = std::max<int64_t>(1, feed_.rows / splits);
  const int64_t fit = prefetch_bytes_ / 2 / RowBytes() / rows;
  // Not so many that the last readers of an epoch find none.
  const int64_t ahead = std::max(connections_, std::min(fit, splits / 64));
  return {.group = spec_.group,
          .feed = spec_.feed,
          .fingerprint = feed_.fingerprint,
          .splits = {.split_rows = context_.split_rows,
                     .shuffled = context_.order.shuffled(),
                     .seed = context_.order.seed},
          .epochs = context_.epochs,
          .ahead = std::min(ahead, kMaxAhead),
          .lease_timeout_s = LeaseTimeout(spec_),
          .timeout_s = spec_.timeout_s > 0 ? spec_.timeout_s : ClientOptions{}.timeout_s};
}

arrow::Status Reader::SeekLeased(const proto::Position& position) {
  ARROW_ASSIGN_OR_RAISE(auto completed,
                        plan::SplitSet::Decode(position.completed, lease_stats_.splits));
  const std::lock_guard lock(mutex_);
  if (started_) {
    return Error(Code::kFailedPrecondition,
                 "the reader has begun: seek before the first batch, or open another reader");
  }
  epoch_ = position.epoch;
  progress_ = {.holder = position.holder,
               .epoch = position.epoch,
               .epoch_over = position.cursor > 0,
               .completed = std::move(completed),
               .current = position.current};
  first_join_ = JoinKind::kRestored;
  return arrow::Status::OK();
}

void Reader::DescribeProgress(proto::Position* position) const {
  position->cursor = progress_.epoch_over ? 1 : 0;
  position->split_rows = context_.split_rows;
  position->holder = progress_.holder;
  position->completed = progress_.completed.Encode();
  if (!progress_.epoch_over) position->current = progress_.current;
}

void Reader::Advance(const ReadyBatch& ready) {
  const std::lock_guard lock(mutex_);
  if (ready.epoch != progress_.epoch) {
    progress_.epoch = epoch_ = ready.epoch;
    progress_.completed.Clear();
  }
  progress_.epoch_over = false;
  for (const int64_t split : ready.finished) progress_.completed.Insert(split);
  progress_.current = ready.current;
  lease_stats_.completed_splits += static_cast<int64_t>(ready.finished.size());
  pipeline_->leases()->HandOut(ready.finished, ready.current);
}

bool Reader::PrepareLeased(Clock::time_point deadline) {
  // Splits count as done when the caller asks for what comes after them: it has dealt with them.
  pipeline()->leases()->Confirm();
  while (!front_) {
    const auto now = Clock::now();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now);
    const auto at_work = pipeline();
    if (!at_work->queue().WaitFor(std::max(left, std::chrono::milliseconds(0)))) return false;
    front_ = at_work->queue().Pop();
    if (!front_->ok()) {
      if (!at_work->leases()->fenced()) return true;
      front_.reset();
      if (auto status = Rejoin(); !status.ok()) front_ = std::move(status);
    } else if (**front_ && (**front_)->batch == nullptr) {
      Advance(***front_);
      at_work->leases()->Confirm();
      front_.reset();
    }
  }
  return true;
}

arrow::Result<BatchPtr> Reader::NextLeased() {
  for (;;) {
    while (!PrepareLeased(Clock::now() + kLong)) {
    }
    if (front_->ok() && **front_) {
      const auto at_work = pipeline();
      if (auto status = at_work->leases()->WaitUntilHeld(); !status.ok()) {
        if (!at_work->leases()->fenced()) return status;
        front_.reset();  // its rows may be another reader's by now
        ARROW_RETURN_NOT_OK(Rejoin());
        continue;
      }
    }
    arrow::Result<std::optional<ReadyBatch>> front = *std::exchange(front_, std::nullopt);
    ARROW_ASSIGN_OR_RAISE(std::optional<ReadyBatch> ready, std::move(front));
    if (ready) {
      Advance(*ready);
      return std::move(ready->batch);
    }
    const std::lock_guard lock(mutex_);
    if (context_.epochs > 0 && progress_.epoch != context_.epochs - 1) {
      progress_.epoch = epoch_ = context_.epochs - 1;
      progress_.completed.Clear();  // others had all of the last one
    }
    progress_.epoch_over = true;
    return nullptr;
  }
}

// Goes on behind what was handed out, with whatever the group still has for this reader.
arrow::Status Reader::Rejoin() {
  ARROW_ASSIGN_OR_RAISE(auto source, connect_());
  ARROW_ASSIGN_OR_RAISE(proto::FeedInfo info, source->DescribeFeed());
  if (info.fingerprint != feed_.fingerprint) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' was written again while it was read: start over");
  }
  std::shared_ptr<Pipeline> old;
  const std::lock_guard lock(mutex_);
  if (cancelled_) return Error(Code::kCancelled, "the reader was cancelled");
  source_ = std::move(source);
  feed_ = std::move(info);
  ++lease_stats_.lost_leases;
  lease_stats_.reported_splits += pipeline_->leases()->reported();
  old = std::exchange(pipeline_, MakePipeline(JoinKind::kAgain));
  old->Cancel();
  return arrow::Status::OK();
}

}  // namespace flightbridge::batch
