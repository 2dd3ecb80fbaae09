#include "lease/lease_table.h"

#include <algorithm>

#include "flightbridge/error.h"

namespace flightbridge::lease {
namespace {

constexpr int64_t kMaxHeld = 4096;
constexpr int64_t kMaxGranted = 64;
constexpr int64_t kMinTimeoutMs = 100;
constexpr int64_t kMaxTimeoutMs = int64_t{24} * 3600 * 1000;

arrow::Status CheckRequest(const proto::AcquireSplits& request) {
  if (request.group.empty() || request.group.size() > 200)
    return Error(Code::kInvalidArgument, "the group's name has ", request.group.size(),
                 " bytes: give 1 to 200");
  if (request.split_rows < 1)
    return Error(Code::kInvalidArgument, "split_rows=", request.split_rows,
                 " is out of range: give at least 1");
  if (request.epoch < 0)
    return Error(Code::kInvalidArgument, "epoch=", request.epoch,
                 " is out of range: give 0 or more");
  if (request.max_splits < 1 || request.max_splits > kMaxGranted)
    return Error(Code::kInvalidArgument, "max_splits=", request.max_splits,
                 " is out of range: give 1 to ", kMaxGranted);
  if (request.lease_timeout_ms < kMinTimeoutMs || request.lease_timeout_ms > kMaxTimeoutMs)
    return Error(Code::kInvalidArgument, "lease_timeout_s=", request.lease_timeout_ms / 1000.0,
                 " is out of range: give 0.1 to 86400 seconds");
  if (static_cast<int64_t>(request.held.size()) > kMaxHeld)
    return Error(Code::kInvalidArgument, "a reader holds ", request.held.size(),
                 " splits; at most ", kMaxHeld, " are allowed: raise split_rows");
  return arrow::Status::OK();
}

arrow::Status Unknown(const std::string& group, const std::string& feed) {
  return Error(Code::kFailedPrecondition, "this server knows no group '", group, "' of feed '",
               feed, "': it was started again, or nobody read for a day; join the group anew");
}

}  // namespace

arrow::Status LeaseTable::MakeRoom(const proto::AcquireSplits& request, int64_t splits, Time now) {
  int64_t held = 0;
  for (auto at = groups_.begin(); at != groups_.end();) {
    at->second.Expire(now);
    if (at->second.num_holders() == 0 && at->second.last_used() + limits_.keep_idle <= now) {
      at = groups_.erase(at);
      continue;
    }
    held += at->second.num_splits();
    ++at;
  }
  if (groups_.size() >= limits_.max_groups)
    return Error(Code::kResourceExhausted, "the server keeps ", groups_.size(),
                 " groups of readers, and takes no more: use the names of groups again");
  if (splits > limits_.max_splits - held)
    return Error(Code::kResourceExhausted, "feed '", request.feed, "' has ", splits,
                 " splits of split_rows=", request.split_rows, ", and the server keeps ", held,
                 " of at most ", limits_.max_splits, ": raise split_rows");
  return arrow::Status::OK();
}

arrow::Result<Group*> LeaseTable::FindOrBegin(const proto::AcquireSplits& request,
                                              const FeedContent& feed, Time now) {
  if (request.fingerprint != feed.fingerprint)
    return Error(Code::kFailedPrecondition, "feed '", request.feed,
                 "' was written again while it was read: start over");
  const plan::SplitSpec spec{request.split_rows, request.shuffled,
                             request.shuffled ? request.seed : 0};
  Key key{request.group, request.feed};
  if (const auto found = groups_.find(key); found != groups_.end()) {
    if (found->second.fingerprint() == feed.fingerprint) {
      ARROW_RETURN_NOT_OK(found->second.CheckSpec(spec));
      return &found->second;
    }
    groups_.erase(found);  // of content that is no more
  }
  if (!request.join) return Unknown(request.group, request.feed);
  auto rows = feed.rows();
  ARROW_RETURN_NOT_OK(MakeRoom(request, plan::CountSplits(*rows, request.split_rows), now));
  return &groups_
              .try_emplace(std::move(key), request.group, request.feed, feed.fingerprint,
                           std::move(rows), spec, request.epoch, now)
              .first->second;
}

arrow::Result<proto::AcquireSplitsResult> LeaseTable::Acquire(const proto::AcquireSplits& request,
                                                              const FeedContent& feed) {
  ARROW_RETURN_NOT_OK(CheckRequest(request));
  const std::lock_guard lock(mutex_);
  const Time now = now_();
  ARROW_ASSIGN_OR_RAISE(Group* const group, FindOrBegin(request, feed, now));
  return group->Acquire(request, now);
}

arrow::Status LeaseTable::Renew(const proto::RenewLease& request) {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find({request.group, request.feed});
  if (found == groups_.end()) return Unknown(request.group, request.feed);
  return found->second.Renew(request, now_());
}

arrow::Status LeaseTable::Release(const proto::ReleaseSplits& request) {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find({request.group, request.feed});
  if (found == groups_.end()) return Unknown(request.group, request.feed);
  return found->second.Release(request, now_());
}

int64_t LeaseTable::open_leases() {
  const std::lock_guard lock(mutex_);
  const Time now = now_();
  int64_t open = 0;
  for (auto& [key, group] : groups_) {
    group.Expire(now);
    open += static_cast<int64_t>(group.num_holders());
  }
  return open;
}

size_t LeaseTable::num_groups() {
  const std::lock_guard lock(mutex_);
  return groups_.size();
}

}  // namespace flightbridge::lease
