#include "batch/split_leases.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <random>
#include <utility>

#include "common/thread.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr std::chrono::milliseconds kRetryPause{200};
constexpr std::chrono::milliseconds kFirstPoll{20};
constexpr std::chrono::milliseconds kLastPoll{500};

// Goes on while the process is stopped and while the machine sleeps; the wall clock may jump.
std::chrono::nanoseconds BootTime() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

std::chrono::nanoseconds Nanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

uint64_t DrawToken() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;  // never 0
}

arrow::Status Cancelled() { return Error(Code::kCancelled, "the reader was cancelled"); }

std::optional<proto::ResumeLease> ResumeOf(const SplitProgress& from, JoinKind kind) {
  if (kind == JoinKind::kFirst) return std::nullopt;
  proto::ResumeLease resume;
  resume.restored = kind == JoinKind::kRestored;
  if (from.epoch_over) return resume;
  resume.completed = from.completed.Encode();
  resume.current = from.current;
  return resume;
}

// An answer may come yet: from the server, or from one that is started in its place.
bool IsAway(Code code) {
  return code == Code::kUnavailable || code == Code::kDeadlineExceeded || code == Code::kCancelled;
}

}  // namespace

double LeaseTimeout(const proto::ReaderSpec& spec) {
  return spec.lease_timeout_s > 0 ? spec.lease_timeout_s : kDefaultLeaseTimeout;
}

double LeaseCallTimeout(const proto::ReaderSpec& spec) {
  const double most = std::clamp(LeaseTimeout(spec) / 3, 1.0, 5.0);
  return spec.timeout_s > 0 ? std::min(spec.timeout_s, most) : most;
}

SplitLeases::SplitLeases(ConnectFn connect, const LeaseSettings& settings,
                         std::shared_ptr<const plan::FeedRows> rows, const SplitProgress& from,
                         JoinKind kind)
    : connect_(std::move(connect)),
      settings_(settings),
      rows_(std::move(rows)),
      holder_(from.holder),
      token_(DrawToken()),
      resume_(ResumeOf(from, kind)),
      epoch_(from.epoch + (from.epoch_over ? 1 : 0)),
      order_(std::make_unique<plan::SplitOrder>(rows_, settings_.splits, epoch_)),
      ask_at_(Clock::now()),
      renew_at_(Clock::time_point::max()) {
  finished_ = settings_.epochs >= 0 && epoch_ >= settings_.epochs;
  if (!finished_) thread_ = StartThread(&SplitLeases::Run, this);
}

SplitLeases::~SplitLeases() {
  Cancel();
  if (thread_.joinable()) thread_.join();
}

void SplitLeases::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

bool SplitLeases::fenced() const {
  const std::lock_guard lock(mutex_);
  return fenced_;
}

int64_t SplitLeases::reported() const {
  const std::lock_guard lock(mutex_);
  return reported_;
}

void SplitLeases::HandOut(const std::vector<int64_t>& finished,
                          std::optional<proto::SplitCursor> current) {
  const std::lock_guard lock(mutex_);
  handed_out_.insert(handed_out_.end(), finished.begin(), finished.end());
  current_ = current;
}

void SplitLeases::Confirm() {
  const std::lock_guard lock(mutex_);
  if (handed_out_.empty()) return;
  completed_.insert(completed_.end(), handed_out_.begin(), handed_out_.end());
  handed_out_.clear();
  changed_.notify_all();
}

arrow::Status SplitLeases::WaitUntilHeld() {
  std::unique_lock lock(mutex_);
  const auto held = [&] { return BootTime() < held_until_; };
  if (held() && status_.ok()) return status_;
  const bool known = changed_.wait_for(lock, Nanoseconds(settings_.timeout_s), [&] {
    return cancelled_ || finished_ || !status_.ok() || held();
  });
  if (cancelled_) return Cancelled();
  if (known) return status_;
  return Error(Code::kDeadlineExceeded, "the lease on splits of feed '", settings_.feed,
               "' could not be renewed within timeout_s=", settings_.timeout_s,
               ": the rows that were read ahead may be another reader's by now");
}

arrow::Result<std::optional<plan::Unit>> SplitLeases::Next() {
  std::unique_lock lock(mutex_);
  changed_.wait(
      lock, [&] { return cancelled_ || !status_.ok() || !leased_.empty() || flush_ || finished_; });
  if (cancelled_) return Cancelled();
  if (!status_.ok()) return status_;
  if (!leased_.empty()) {
    const proto::AcquiredSplit split = leased_.front();
    leased_.pop_front();
    changed_.notify_all();
    return MakeUnit(split);
  }
  if (std::exchange(flush_, false)) {
    plan::Unit unit;
    unit.group = group_++;
    unit.epoch = epoch_;
    return unit;
  }
  return std::nullopt;
}

plan::Unit SplitLeases::MakeUnit(const proto::AcquiredSplit& split) {
  plan::Interval rows = order_->Rows(split.split);
  plan::Unit unit;
  unit.group = group_++;
  unit.epoch = epoch_;
  unit.split = split.split;
  unit.split_cursor = split.cursor;
  unit.take = rows.rows() - split.cursor;
  if (settings_.splits.shuffled) {
    unit.skip = split.cursor;
    unit.shuffle = order_->RowRandom(split.split);
  } else {
    rows.begin += split.cursor;
  }
  unit.rows = rows.rows();
  unit.intervals = {rows};
  return unit;
}

void SplitLeases::Run() {
  arrow::Status status;
  try {
    status = Serve();
  } catch (const std::exception& e) {
    status = Error(Code::kResourceExhausted, "leasing splits stopped: ", e.what());
  }
  {
    const std::lock_guard lock(mutex_);
    status_ = std::move(status);
    changed_.notify_all();
  }
  Leave();
}

bool SplitLeases::WantsMore(Clock::time_point now) const {
  return !finished_ && now >= ask_at_ &&
         static_cast<int64_t>(leased_.size()) <= settings_.ahead / 2;
}

// Until cancelled (OK) or failed.
arrow::Status SplitLeases::Serve() {
  ARROW_RETURN_NOT_OK(Join());
  for (;;) {
    bool report = false;
    bool ask = false;
    bool renew = false;
    {
      std::unique_lock lock(mutex_);
      for (;;) {
        const auto now = Clock::now();
        report = !completed_.empty();
        ask = WantsMore(now);
        renew = now >= renew_at_;
        if (cancelled_ || finished_ || report || ask || renew) break;
        auto wake = renew_at_;
        if (!finished_ && ask_at_ > now) wake = std::min(wake, ask_at_);
        changed_.wait_until(lock, wake);
      }
      if (cancelled_ || (finished_ && !report)) return arrow::Status::OK();
    }
    arrow::Status status;
    if (report) {
      status = Report();
    } else if (ask) {
      auto result = Ask(/*join=*/false);
      status = result.ok() ? Take(*result) : result.status();
    } else {
      status = Renew();
    }
    if (CodeOf(status) == Code::kFailedPrecondition) {
      const std::lock_guard lock(mutex_);
      fenced_ = true;
    }
    ARROW_RETURN_NOT_OK(status);
  }
}

arrow::Result<std::string> SplitLeases::Call(const char* action,
                                             const std::function<std::string()>& encode) {
  const auto give_up = Clock::now() + Nanoseconds(settings_.timeout_s);
  for (;;) {
    arrow::Status status;
    const auto sent = BootTime();
    if (source_ == nullptr) {
      auto connected = connect_();
      status = connected.status();
      if (connected.ok()) source_ = *std::move(connected);
    }
    if (source_ != nullptr) {
      auto answer =
          source_->Act(action, encode(), "leasing splits of feed '" + settings_.feed + "'");
      status = answer.status();
      if (answer.ok()) {
        reachable_ = true;
        const std::lock_guard lock(mutex_);
        held_until_ = sent + Nanoseconds(settings_.lease_timeout_s);
        renew_at_ = Clock::now() + Nanoseconds(settings_.lease_timeout_s / 3);
        changed_.notify_all();
        return answer;
      }
    }
    reachable_ = !IsAway(CodeOf(status));
    if (reachable_ || Clock::now() >= give_up) return status;
    source_.reset();
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kRetryPause, [&] { return cancelled_; })) return Cancelled();
  }
}

// A restored reader waits until the leases of those that its checkpoint does not know are over.
arrow::Status SplitLeases::Join() {
  const auto give_up = Clock::now() + Nanoseconds(settings_.lease_timeout_s + settings_.timeout_s);
  for (;;) {
    ARROW_ASSIGN_OR_RAISE(const auto result, Ask(/*join=*/true));
    joined_ = !result.not_joined;
    if (joined_) return Take(result);
    if (Clock::now() >= give_up) {
      return Error(Code::kFailedPrecondition, "other readers of group '", settings_.group,
                   "' are beyond epoch ", epoch_,
                   ", which the restored position is of: stop them, or restore all readers with "
                   "another group");
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kRetryPause, [&] { return cancelled_; })) return Cancelled();
  }
}

arrow::Result<proto::AcquireSplitsResult> SplitLeases::Ask(bool join) {
  proto::AcquireSplits request;
  request.group = settings_.group;
  request.feed = settings_.feed;
  request.fingerprint = settings_.fingerprint;
  request.split_rows = settings_.splits.split_rows;
  request.shuffled = settings_.splits.shuffled;
  request.seed = settings_.splits.seed;
  request.holder = holder_;
  request.token = token_;
  request.join = join;
  if (join) request.resume = resume_;
  request.max_splits = settings_.ahead;
  request.lease_timeout_ms = std::max<int64_t>(1, std::llround(settings_.lease_timeout_s * 1000));
  {
    const std::lock_guard lock(mutex_);
    request.epoch = epoch_;
    request.held.assign(held_.begin(), held_.end());
  }
  // A try whose answer was lost has been counted: the next one is another call.
  const auto encode = [&] {
    request.sequence = ++sequence_;
    return request.Encode();
  };
  ARROW_ASSIGN_OR_RAISE(const std::string answer, Call("AcquireSplits", encode));
  auto result = proto::Parse<proto::AcquireSplitsResult>(answer);
  if (!result) {
    return Error(Code::kInternal,
                 "the answer to AcquireSplits cannot be parsed: is it a "
                 "FlightBridge server of this version?");
  }
  return *std::move(result);
}

// Goes to the next epoch, or ends.
void SplitLeases::EndEpoch(int64_t num_splits) {
  // Without end, an epoch without rows would spin.
  if (num_splits == 0 || (settings_.epochs >= 0 && epoch_ + 1 >= settings_.epochs)) {
    finished_ = true;
    return;
  }
  order_ = std::make_unique<plan::SplitOrder>(rows_, settings_.splits, ++epoch_);
  held_.clear();
  completed_.clear();
  ask_at_ = Clock::now();
}

arrow::Status SplitLeases::Take(const proto::AcquireSplitsResult& result) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (result.num_splits != order_->size() && !result.splits.empty()) {
    return Error(Code::kInternal, "the server cut feed '", settings_.feed, "' into ",
                 result.num_splits, " splits, this reader into ", order_->size(),
                 ": run the same version of FlightBridge on both sides");
  }
  for (const proto::AcquiredSplit& split : result.splits) {
    if (split.split < 0 || split.split >= order_->size() || split.cursor < 0 ||
        split.cursor >= order_->Rows(split.split).rows()) {
      return Error(Code::kInternal, "the server leased split ", split.split, " row ", split.cursor,
                   ", which feed '", settings_.feed, "' does not have");
    }
    leased_.push_back(split);
    held_.insert(split.split);
    flushed_ = false;
  }
  changed_.notify_all();
  if (result.epoch_done) {
    EndEpoch(result.num_splits);
    return arrow::Status::OK();
  }
  if (!result.splits.empty()) {
    ask_at_ = now;
    return arrow::Status::OK();
  }
  // Nothing to have: once more a little later, and later each time.
  if (result.drained && !std::exchange(flushed_, true)) {
    flush_ = true;
    poll_ = kFirstPoll;
  }
  ask_at_ =
      now +
      std::max(poll_, std::chrono::milliseconds(std::min<int64_t>(result.retry_after_ms, 1000)));
  poll_ = std::min(poll_ * 2, kLastPoll);
  return arrow::Status::OK();
}

arrow::Status SplitLeases::Report() {
  proto::ReleaseSplits request;
  request.group = settings_.group;
  request.feed = settings_.feed;
  request.holder = holder_;
  request.token = token_;
  {
    const std::lock_guard lock(mutex_);
    request.epoch = epoch_;
    request.done = completed_;
  }
  ARROW_RETURN_NOT_OK(Call("ReleaseSplits", [&] { return request.Encode(); }).status());
  const std::lock_guard lock(mutex_);
  for (const int64_t split : request.done) held_.erase(split);
  reported_ += static_cast<int64_t>(request.done.size());
  completed_.erase(completed_.begin(), completed_.begin() + request.done.size());
  poll_ = kFirstPoll;
  ask_at_ = Clock::now();  // it may have been the last of the epoch
  return arrow::Status::OK();
}

arrow::Status SplitLeases::Renew() {
  const proto::RenewLease request{settings_.group, settings_.feed, holder_, token_};
  return Call("RenewLease", [&] { return request.Encode(); }).status();
}

// One call, if the server is there: what it does not hear ends with the lease.
void SplitLeases::Leave() {
  proto::ReleaseSplits request;
  {
    const std::lock_guard lock(mutex_);
    if (!joined_ || !reachable_ || fenced_ || source_ == nullptr) return;
    request = {settings_.group, settings_.feed, holder_,  token_,
               epoch_,          completed_,     current_, true};
    request.done.insert(request.done.end(), handed_out_.begin(), handed_out_.end());
  }
  (void)source_->Act("ReleaseSplits", request.Encode(), "leaving");
}

}  // namespace flightbridge::batch
