#include "lease/group.h"

#include <algorithm>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::lease {

Group::Group(std::string name, std::string feed, uint64_t fingerprint,
             std::shared_ptr<const plan::FeedRows> rows, const plan::SplitSpec& spec, int64_t epoch,
             Time now)
    : name_(std::move(name)),
      feed_(std::move(feed)),
      fingerprint_(fingerprint),
      rows_(std::move(rows)),
      spec_(spec),
      epoch_(epoch),
      order_(rows_, spec_, epoch),
      splits_(order_.size()),
      recovered_(now),
      last_used_(now),
      last_read_(now) {}

std::string Group::Name() const { return "group '" + name_ + "' of feed '" + feed_ + "'"; }

arrow::Status Group::CheckSpec(const plan::SplitSpec& spec) const {
  const auto differs = [&](const char* setting, auto here, auto asked) {
    return Error(Code::kFailedPrecondition, Name(), " reads with ", setting, "=", here,
                 ", this reader asks for ", setting, "=", asked,
                 ": give all readers of a group the same settings, or another group");
  };
  if (spec.split_rows != spec_.split_rows)
    return differs("split_rows", spec_.split_rows, spec.split_rows);
  if (spec.shuffled != spec_.shuffled) return differs("shuffle", spec_.shuffled, spec.shuffled);
  if (spec.shuffled && spec.seed != spec_.seed) return differs("seed", spec_.seed, spec.seed);
  return arrow::Status::OK();
}

arrow::Result<Group::Holder*> Group::Find(uint64_t holder, uint64_t token) {
  const auto found = holders_.find(holder);
  if (found != holders_.end() && found->second.token == token) return &found->second;
  return Error(
      Code::kFailedPrecondition, "this reader has no lease in ", Name(),
      ": it was not heard of for longer than its lease_timeout_s, or another took its "
      "place; its splits may be read by others, so rows not handed out yet must be dropped");
}

void Group::Touch(Holder* holder, Time now) {
  holder->deadline = now + holder->timeout;
  last_used_ = now;
  if (holder->epoch == epoch_) last_read_ = now;
}

void Group::Expire(Time now) {
  std::vector<uint64_t> over;
  for (const auto& [id, holder] : holders_) {
    if (holder.deadline <= now) over.push_back(id);
  }
  for (const uint64_t id : over) Remove(id);
}

void Group::Remove(uint64_t holder) {
  const auto found = holders_.find(holder);
  if (found == holders_.end()) return;
  for (const int64_t split : found->second.held) Free(split);
  holders_.erase(found);
}

void Group::Free(int64_t split) {
  splits_[split].state = State::kFree;
  if (split < next_) returned_.insert(split);
}

void Group::Lease(int64_t split, uint64_t id, Holder* holder) {
  splits_[split].state = State::kLeased;
  splits_[split].by = id;
  returned_.erase(split);
  holder->held.insert(split);
}

void Group::Complete(int64_t split, uint64_t id) {
  splits_[split].state = State::kDone;
  splits_[split].by = id;
  returned_.erase(split);
  ++done_;
}

int64_t Group::NextFree() {
  if (!returned_.empty()) return *returned_.begin();
  while (next_ < order_.size() && splits_[next_].state != State::kFree) ++next_;
  return next_ < order_.size() ? next_++ : -1;
}

void Group::StartEpoch(int64_t epoch) {
  last_splits_ = epoch == epoch_ + 1 ? std::move(splits_) : std::vector<Split>();
  epoch_ = epoch;
  order_ = plan::SplitOrder(rows_, spec_, epoch);
  splits_.assign(order_.size(), Split{});
  returned_.clear();
  next_ = done_ = 0;
  for (auto& [id, holder] : holders_) holder.held.clear();
}

proto::AcquiredSplit Group::Describe(int64_t split) const {
  const plan::Interval rows = order_.Rows(split);
  const plan::Range first = rows_->Locate(rows.begin);
  return {split, first.partition, first.row_begin, first.row_begin + rows.rows(),
          splits_[split].cursor};
}

// A checkpoint of the end of an epoch may be restored when the next one has begun, once nobody
// reads that any more.
arrow::Result<bool> Group::GoBack(const proto::AcquireSplits& request) {
  if (request.epoch != epoch_ - 1 || last_splits_.empty()) {
    return Error(Code::kFailedPrecondition, Name(), " is in epoch ", epoch_,
                 ", the restored position is of epoch ", request.epoch,
                 ": restore all readers with another group, which begins where they stopped");
  }
  if (holders_.size() > holders_.count(request.holder)) return false;
  Remove(request.holder);
  --epoch_;
  order_ = plan::SplitOrder(rows_, spec_, epoch_);
  splits_ = std::exchange(last_splits_, {});
  returned_.clear();
  next_ = done_ = order_.size();
  return true;
}

// Brings the group to the epoch that is asked for where the one before is over.
arrow::Result<bool> Group::CheckEpoch(const proto::AcquireSplits& request, Time now) {
  const bool resumes = request.join && request.resume &&
                       (!request.resume->completed.empty() || request.resume->current);
  if (request.epoch < epoch_) {
    if (!resumes || !request.resume->restored) return true;
    return GoBack(request);
  }
  if (request.epoch == epoch_) return true;
  if (epoch_done()) {
    StartEpoch(request.epoch);
    return true;
  }
  if (resumes) {
    return Error(Code::kFailedPrecondition, Name(), " is in epoch ", epoch_,
                 ", the position is of epoch ", request.epoch,
                 ": restore all readers of a group from positions of the same time");
  }
  if (last_read_ + std::chrono::milliseconds(request.lease_timeout_ms) < now) {
    return Error(Code::kFailedPrecondition, Name(), " was left in epoch ", epoch_, " with ",
                 order_.size() - done_, " of ", order_.size(), " splits unread, and epoch ",
                 request.epoch, " begins only after it: name another group");
  }
  return true;
}

arrow::Status Group::Join(const proto::AcquireSplits& request, Time now) {
  const auto there = holders_.find(request.holder);
  const bool restored = request.resume && request.resume->restored;
  if (there != holders_.end()) {
    if (there->second.token == request.token) return arrow::Status::OK();  // said once more
    if (!restored) {
      return Error(Code::kFailedPrecondition, "another reader of ", Name(),
                   " took the place of this one: restore a position in one reader only");
    }
    Remove(request.holder);
  }
  if (holders_.size() >= kMaxHolders) {
    return Error(Code::kResourceExhausted, Name(), " has ", kMaxHolders,
                 " readers, and takes no more: use fewer, larger readers");
  }
  if (fresh_ && request.resume)
    recovered_ = now + std::chrono::milliseconds(request.lease_timeout_ms);
  fresh_ = false;
  Holder& holder = holders_[request.holder];
  holder.token = request.token;
  holder.timeout = std::chrono::milliseconds(request.lease_timeout_ms);
  if (!request.resume || request.epoch != epoch_) return arrow::Status::OK();
  return Resume(request.holder, &holder, *request.resume);
}

// Makes the state what the reader says of its own splits. Those of others stay as they are.
arrow::Status Group::Resume(uint64_t id, Holder* holder, const proto::ResumeLease& resume) {
  ARROW_ASSIGN_OR_RAISE(const auto completed,
                        plan::SplitSet::Decode(resume.completed, order_.size()));
  if (resume.restored) {
    // What it completed after its checkpoint never happened.
    for (int64_t split = 0; split < order_.size(); ++split) {
      Split& at = splits_[split];
      if (at.by != id || completed.Contains(split)) continue;
      if (at.state == State::kDone) {
        --done_;
        Free(split);
      }
      if (at.state == State::kFree) at.cursor = 0;
    }
  }
  completed.ForEach([&](int64_t split) {
    if (splits_[split].state == State::kFree) Complete(split, id);
  });
  if (!resume.current) return arrow::Status::OK();
  const int64_t split = resume.current->split;
  if (split < 0 || split >= order_.size() || resume.current->cursor < 0 ||
      resume.current->cursor >= order_.Rows(split).rows()) {
    return Error(Code::kInvalidArgument, "split ", split, " row ", resume.current->cursor,
                 " is not in ", Name(), ": the position is damaged");
  }
  if (splits_[split].state == State::kFree) {
    Lease(split, id, holder);
    splits_[split].cursor = resume.current->cursor;
  }
  return arrow::Status::OK();
}

arrow::Result<proto::AcquireSplitsResult> Group::Acquire(const proto::AcquireSplits& request,
                                                         Time now) {
  Expire(now);
  ARROW_ASSIGN_OR_RAISE(const bool welcome, CheckEpoch(request, now));
  if (!welcome) {
    proto::AcquireSplitsResult wait;
    wait.not_joined = true;
    wait.num_splits = order_.size();
    return wait;
  }
  if (request.join) ARROW_RETURN_NOT_OK(Join(request, now));
  ARROW_ASSIGN_OR_RAISE(Holder* const holder, Find(request.holder, request.token));
  if (request.sequence <= holder->sequence) {
    return Error(Code::kFailedPrecondition, "call ", request.sequence, " of a reader of ", Name(),
                 " came after its call ", holder->sequence, ": it was delayed on its way");
  }
  holder->sequence = request.sequence;
  holder->epoch = request.epoch;
  Touch(holder, now);

  proto::AcquireSplitsResult result;
  result.num_splits = order_.size();
  if (request.epoch != epoch_ || epoch_done()) {
    result.epoch_done = request.epoch <= epoch_;
    return result;
  }
  // What an answer that was lost gave it, it does not know of: it is free again.
  const std::set<int64_t> known(request.held.begin(), request.held.end());
  const std::vector<int64_t> before(holder->held.begin(), holder->held.end());
  for (const int64_t split : before) {
    if (known.contains(split)) continue;
    if (request.join) {
      result.splits.push_back(Describe(split));  // the one it goes on with
    } else {
      holder->held.erase(split);
      Free(split);
    }
  }
  if (now < recovered_) {
    result.retry_after_ms = std::chrono::ceil<std::chrono::milliseconds>(recovered_ - now).count();
    return result;
  }
  while (static_cast<int64_t>(result.splits.size()) < request.max_splits) {
    const int64_t split = NextFree();
    if (split < 0) break;
    Lease(split, request.holder, holder);
    result.splits.push_back(Describe(split));
  }
  result.drained = result.splits.empty();
  return result;
}

arrow::Status Group::Renew(const proto::RenewLease& request, Time now) {
  Expire(now);
  ARROW_ASSIGN_OR_RAISE(Holder* const holder, Find(request.holder, request.token));
  Touch(holder, now);
  return arrow::Status::OK();
}

arrow::Status Group::Release(const proto::ReleaseSplits& request, Time now) {
  Expire(now);
  ARROW_ASSIGN_OR_RAISE(Holder* const holder, Find(request.holder, request.token));
  Touch(holder, now);
  const bool current = request.epoch == epoch_;  // of an epoch that is over there is no more to say
  for (const int64_t split : request.done) {
    if (!current) break;
    const bool known = split >= 0 && split < order_.size();
    if (known && splits_[split].by == request.holder && splits_[split].state != State::kFree)
      continue;
    return Error(Code::kFailedPrecondition, "split ", split, " of epoch ", request.epoch, " in ",
                 Name(), " is not leased to this reader: its completion is refused");
  }
  for (const int64_t split : request.done) {
    if (!current) break;
    if (splits_[split].state == State::kLeased) {
      holder->held.erase(split);
      Complete(split, request.holder);
    }
  }
  if (!request.leave) return arrow::Status::OK();
  if (current && request.returned && holder->held.contains(request.returned->split)) {
    const int64_t split = request.returned->split;
    splits_[split].cursor =
        std::clamp<int64_t>(request.returned->cursor, 0, order_.Rows(split).rows() - 1);
  }
  Remove(request.holder);
  return arrow::Status::OK();
}

}  // namespace flightbridge::lease
