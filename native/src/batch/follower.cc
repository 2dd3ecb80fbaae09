#include "batch/follower.h"

#include <algorithm>
#include <string>
#include <utility>

#include "batch/generation_view.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr double kDefaultPatienceS = 3600;
constexpr std::chrono::milliseconds kOneWait{500};  // Cancel() ends no call to a server sooner
constexpr std::chrono::milliseconds kRetryPause{200};

std::chrono::steady_clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(seconds));
}

arrow::Status Cancelled() { return Error(Code::kCancelled, "the reader was cancelled"); }

bool MayComeBack(const arrow::Status& status) {
  return CodeOf(status) == Code::kUnavailable || CodeOf(status) == Code::kDeadlineExceeded;
}

arrow::Status CheckSpec(const proto::ReaderSpec& spec) {
  if (spec.policy == proto::ShardPolicy::kDynamic) {
    return Error(Code::kInvalidArgument,
                 "follow with policy dynamic: leases are of feeds that are committed; use a static "
                 "policy");
  }
  if (spec.epochs != 1 || spec.first_epoch != 0) {
    return Error(Code::kInvalidArgument, "epochs=", spec.epochs, " with follow, from epoch ",
                 spec.first_epoch,
                 ": a feed that grows is followed once; leave epochs out, or read the "
                 "generations that are there without follow");
  }
  if (spec.generation != 0) {
    return Error(Code::kInvalidArgument, "generation=", spec.generation,
                 " with follow, which has no last one: give one of them");
  }
  if (spec.follow_timeout_s < 0 || spec.follow_timeout_s > 30 * 86400.0) {
    return Error(Code::kInvalidArgument, "follow_timeout_s=", spec.follow_timeout_s,
                 " is out of range: give seconds above 0, at most 30 days");
  }
  return {};
}

}  // namespace

arrow::Result<std::unique_ptr<Follower>> Follower::Open(const proto::ReaderSpec& spec,
                                                        ConnectFn connect, bool local) {
  ARROW_RETURN_NOT_OK(CheckSpec(spec));
  std::unique_ptr<Follower> follower(new Follower(spec, std::move(connect), local));
  ARROW_RETURN_NOT_OK(follower->Describe());
  return follower;
}

Follower::Follower(const proto::ReaderSpec& spec, ConnectFn connect, bool local)
    : spec_(spec),
      connect_(std::move(connect)),
      local_(local),
      patience_(Seconds(spec.follow_timeout_s > 0 ? spec.follow_timeout_s : kDefaultPatienceS)),
      waiting_since_(Clock::now()) {}

Follower::~Follower() { Cancel(); }

arrow::Status Follower::Describe() {
  ARROW_ASSIGN_OR_RAISE(source_, connect_());
  ARROW_ASSIGN_OR_RAISE(const auto info, DescribeAfter(source_.get(), spec_.feed, 0));
  if (info.generations.empty() || info.generations.front().generation != 0) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' does not grow, so that there is nothing to follow: read it without follow, or "
                 "write it with mode stream");
  }
  ARROW_ASSIGN_OR_RAISE(const auto schema, source_->GetSchema());
  ARROW_ASSIGN_OR_RAISE(layouts_, LayoutsFor(*schema, spec_));
  schema_hash_ = info.schema_hash;
  if (spec_.fingerprint != 0 &&
      std::ranges::find(info.generations, spec_.fingerprint, &proto::GenerationInfo::fingerprint) ==
          info.generations.end()) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' changed since the dataset was made: make the dataset again");
  }
  retained_ = info.retention.has_value();
  fingerprint_ = info.generations.front().fingerprint;
  // Every other setting is checked where the feed without rows is planned.
  ARROW_RETURN_NOT_OK(OpenGeneration(0).status());
  seen_ = -1;
  return {};
}

arrow::Result<std::unique_ptr<Reader>> Follower::OpenGeneration(int64_t generation) {
  proto::ReaderSpec one = spec_;
  one.follow = false;
  one.fingerprint = 0;
  one.first_epoch = generation;  // its number takes the place of the epoch's in the order
  const GenerationRange range{std::max<int64_t>(generation - 1, 0), generation, /*followed=*/true};
  ARROW_ASSIGN_OR_RAISE(auto reader,
                        Reader::Open(one, ViewOf(connect_, spec_.feed, range), local_));
  proto::Position start = reader->position();
  start.epoch = 0;
  start.follow = true;
  start.generation = generation;
  const std::lock_guard lock(mutex_);
  if (!begun_ || generation == 0) position_ = std::move(start);
  return reader;
}

arrow::Status Follower::CheckHere(const proto::Position& position) const {
  if (position.follow) return {};
  return Error(Code::kPositionMismatch,
               "position has follow=false, this reader has follow=true: restore it in a reader "
               "without follow");
}

arrow::Status Follower::Seek(const proto::Position& position) {
  ARROW_RETURN_NOT_OK(CheckHere(position));
  {
    const std::lock_guard lock(mutex_);
    if (begun_) {
      return Error(Code::kFailedPrecondition,
                   "the reader has begun: seek before the first batch, or open another reader");
    }
  }
  if (position.feed != spec_.feed || position.epoch != 0 || position.generation < 0) {
    return Error(Code::kPositionMismatch, "position is of feed '", position.feed, "', generation ",
                 position.generation, ", epoch ", position.epoch, "; this reader follows feed '",
                 spec_.feed, "' once: restore the position of a reader of it");
  }
  auto reader = OpenGeneration(position.generation);
  if (!reader.ok()) {
    if (CodeOf(reader.status()) != Code::kFailedPrecondition) return reader.status();
    return Error(Code::kPositionMismatch, "position has generation=", position.generation, ": ",
                 reader.status().message());
  }
  proto::Position inner = position;
  inner.follow = false;
  inner.epoch = position.generation;
  inner.generation = (*reader)->position().generation;
  ARROW_RETURN_NOT_OK((*reader)->Seek(inner));
  const std::lock_guard lock(mutex_);
  generation_ = position.generation;
  fingerprint_ = position.fingerprint;
  reader_ = *std::move(reader);
  position_ = position;
  position_.shard_rows = reader_->position().shard_rows;
  return {};
}

arrow::Status Follower::CheckChain(const proto::FeedInfo& info) const {
  if (!info.generations.empty() && info.generations.front().generation == generation_ &&
      info.generations.front().fingerprint == fingerprint_) {
    return {};
  }
  return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
               "' was written again while it was followed, behind generation ", generation_,
               ": start over");
}

arrow::Result<bool> Follower::GoOn(Clock::duration longest) {
  if (lost_) {
    ARROW_RETURN_NOT_OK(Reopen());
    return true;
  }
  if (source_ == nullptr) {
    ARROW_ASSIGN_OR_RAISE(source_, connect_());
  }
  const int64_t wait_ms =
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(longest).count());
  proto::WaitFeed wait;
  wait.feed = spec_.feed;
  wait.generation = seen_;
  wait.timeout_ms = seen_ < 0 ? 0 : wait_ms;
  wait.after_generation = generation_;
  ARROW_ASSIGN_OR_RAISE(
      const std::string answer,
      source_->Act("WaitFeed", wait.Encode(), "waiting for more of feed '" + spec_.feed + "'"));
  const auto info = proto::Parse<proto::FeedInfo>(answer);
  if (!info) {
    return Error(Code::kInternal, "the description of feed '", spec_.feed, "' is damaged");
  }
  ARROW_RETURN_NOT_OK(CheckChain(*info));
  seen_ = info->generation;
  if (info->generations.size() < 2) {
    over_ = info->state != proto::FeedState::kOpen;
    return over_;
  }
  const proto::GenerationInfo& next = info->generations[1];
  ARROW_ASSIGN_OR_RAISE(auto reader, OpenGeneration(next.generation));
  if (reader->position().fingerprint != next.fingerprint) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' was written again while it was followed, behind generation ", generation_,
                 ": start over");
  }
  seen_ = -1;  // there may be more already
  progressed_ = true;
  const std::lock_guard lock(mutex_);
  generation_ = next.generation;
  fingerprint_ = next.fingerprint;
  reader_ = std::move(reader);
  if (cancelled_) reader_->Cancel();
  return true;
}

arrow::Status Follower::Reopen() {
  ARROW_ASSIGN_OR_RAISE(auto reader, OpenGeneration(generation_));
  if (reader->position().fingerprint != fingerprint_) {
    return Error(Code::kFailedPrecondition, "feed '", spec_.feed,
                 "' was written again while it was followed, up to generation ", generation_,
                 ": start over");
  }
  ARROW_RETURN_NOT_OK(reader->Seek(*lost_));
  lost_.reset();
  const std::lock_guard lock(mutex_);
  reader_ = std::move(reader);
  if (cancelled_) reader_->Cancel();
  return {};
}

bool Follower::Prepare(Clock::time_point deadline, bool may_ask) {
  {
    const std::lock_guard lock(mutex_);
    if (!begun_) waiting_since_ = Clock::now();
    begun_ = true;
  }
  while (!front_) {
    const auto now = Clock::now();
    if (const auto at_work = reader()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now);
      if (!at_work->WaitFor(std::max(left, std::chrono::milliseconds(0)))) return false;
      auto next = at_work->Next();
      if (!next.ok() && MayComeBack(next.status())) {
        if (std::exchange(progressed_, false)) waiting_since_ = Clock::now();
        lost_ = at_work->position();
        const std::lock_guard lock(mutex_);
        reader_ = nullptr;
        continue;
      }
      if (!next.ok() || *next != nullptr) {
        front_ = std::move(next);
        break;
      }
      const std::lock_guard lock(mutex_);  // all of the generation is handed out
      const ReaderStats read = reader_->stats();
      done_.feed_rows += read.feed_rows;
      done_.own_rows += read.own_rows;
      done_.padded_rows += read.padded_rows;
      done_.dropped_rows += read.dropped_rows;
      position_ = reader_->position();
      position_.epoch = 0;
      position_.follow = true;
      position_.generation = generation_;
      reader_ = nullptr;
      waiting_since_ = Clock::now();
      continue;
    }
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) front_ = Cancelled();
      if (front_) break;
    }
    if (over_) {
      front_ = BatchPtr(nullptr);
      break;
    }
    if (!may_ask) return false;
    const auto until = waiting_since_ + patience_;
    Clock::duration longest = std::min<Clock::duration>(kOneWait, std::min(deadline, until) - now);
    if (spec_.timeout_s > 0) longest = std::min(longest, Seconds(spec_.timeout_s / 2));
    auto found = GoOn(longest);
    if (found.ok() && *found) continue;
    if (!found.ok()) {
      if (!MayComeBack(found.status())) {
        front_ = found.status();
        break;
      }
      source_ = nullptr;  // the server may be on its way back
      std::unique_lock lock(mutex_);
      cancels_.wait_for(lock, kRetryPause, [this] { return cancelled_; });
    }
    if (Clock::now() >= until) {
      waiting_since_ = Clock::now();
      progressed_ = true;
      front_ =
          found.ok()
              ? Error(Code::kDeadlineExceeded, "feed '", spec_.feed, "' got no generation behind ",
                      generation_,
                      " in follow_timeout_s=", std::chrono::duration<double>(patience_).count(),
                      ": see that its writer is alive, end the feed, or wait longer")
              : found.status();
      break;
    }
    if (Clock::now() >= deadline) return false;
  }
  return true;
}

arrow::Result<BatchPtr> Follower::Next() {
  while (!Prepare(Clock::now() + std::chrono::seconds(1))) {
  }
  arrow::Result<BatchPtr> front = *std::exchange(front_, std::nullopt);
  if (!front.ok() || *front == nullptr) return front;
  progressed_ = true;
  const std::lock_guard lock(mutex_);
  position_ = reader_->position();
  position_.epoch = 0;
  position_.follow = true;
  position_.generation = generation_;
  return front;
}

bool Follower::WaitFor(std::chrono::milliseconds timeout) {
  return Prepare(Clock::now() + timeout, timeout.count() > 0);
}

arrow::Result<int64_t> Follower::Skip(int64_t batches) {
  if (batches < 0) {
    return Error(Code::kInvalidArgument, "batches=", batches, " is out of range: give 0 or more");
  }
  int64_t skipped = 0;
  for (; skipped < batches; ++skipped) {
    ARROW_ASSIGN_OR_RAISE(const BatchPtr batch, Next());
    if (batch == nullptr) break;
  }
  return skipped;
}

proto::Position Follower::position() const {
  const std::lock_guard lock(mutex_);
  return position_;
}

ReaderStats Follower::stats() const {
  const std::lock_guard lock(mutex_);
  ReaderStats stats = done_;
  if (reader_ != nullptr) {
    const ReaderStats now = reader_->stats();
    stats.feed_rows += now.feed_rows;
    stats.own_rows += now.own_rows;
    stats.padded_rows += now.padded_rows;
    stats.dropped_rows += now.dropped_rows;
  }
  return stats;
}

arrow::Status Follower::Confirm(const proto::Position& position) {
  ARROW_RETURN_NOT_OK(CheckHere(position));
  if (position.feed != spec_.feed || position.schema_hash != schema_hash_) {
    return Error(Code::kPositionMismatch, "position is of feed '", position.feed,
                 "' or of another schema, this reader follows feed '", spec_.feed,
                 "': confirm positions of this reader");
  }
  if (!retained_) return {};
  ARROW_ASSIGN_OR_RAISE(const auto source, connect_());
  proto::ConfirmPosition request;
  request.position = position;
  return source
      ->Act("ConfirmPosition", request.Encode(),
            "confirming a position of feed '" + spec_.feed + "'")
      .status();
}

std::shared_ptr<Reader> Follower::reader() const {
  const std::lock_guard lock(mutex_);
  return reader_;
}

void Follower::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (reader_ != nullptr) reader_->Cancel();
  }
  cancels_.notify_all();
}

}  // namespace flightbridge::batch
