#include "server/put_sessions_internal.h"

#include <utility>
#include <vector>

#include "flightbridge/error.h"

namespace flightbridge::server {

PutSessions::Claim::Claim(Claim&& other) noexcept
    : sessions_(std::exchange(other.sessions_, nullptr)), key_(std::move(other.key_)) {}

PutSessions::Claim::~Claim() {
  if (sessions_ == nullptr) return;
  {
    const std::lock_guard lock(sessions_->mutex_);
    const auto at = sessions_->sessions_.find(key_);
    at->second.holder = nullptr;
    if (at->second.parked == nullptr) sessions_->sessions_.erase(at);
  }
  sessions_->released_.notify_all();
}

std::unique_ptr<feed::AttemptWriter> PutSessions::Claim::TakeParked() {
  const std::lock_guard lock(sessions_->mutex_);
  return std::move(sessions_->sessions_[key_].parked);
}

std::function<arrow::Status()> PutSessions::Claim::interrupted() const {
  return [sessions = sessions_, key = key_] { return sessions->CheckHolder(key); };
}

void PutSessions::Claim::Park(std::unique_ptr<feed::AttemptWriter> attempt) {
  const std::lock_guard lock(sessions_->mutex_);
  Session& session = sessions_->sessions_[key_];
  session.parked = std::move(attempt);
  session.expires = Clock::now() + kParked;
}

arrow::Result<PutSessions::Claim> PutSessions::Take(const proto::PutCommand& command,
                                                    channel::Socket* socket,
                                                    std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  std::string key = command.Encode();
  std::unique_lock lock(mutex_);
  while (true) {
    Session& session = sessions_[key];
    if (session.holder == nullptr) {
      session.holder = socket;
      return Claim(this, std::move(key));
    }
    session.holder->Break();
    if (released_.wait_until(lock, deadline) == std::cv_status::timeout) {
      return Error(Code::kDeadlineExceeded, "feed '", command.feed, "', partition ",
                   command.partition, ", attempt ", command.attempt,
                   " is still being written by another connection: try again");
    }
  }
}

arrow::Status PutSessions::CheckHolder(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto at = sessions_.find(key);
  const channel::Socket* const holder = at == sessions_.end() ? nullptr : at->second.holder;
  if (holder == nullptr || (!holder->broken() && !holder->PeerGone())) return {};
  return Error(Code::kCancelled, "the writer's connection was lost while its put waited for room");
}

void PutSessions::Sweep() {
  std::vector<std::unique_ptr<feed::AttemptWriter>> expired;  // freed after the lock
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    Session& session = at->second;
    if (session.holder == nullptr && session.expires <= now) {
      expired.push_back(std::move(session.parked));
      at = sessions_.erase(at);
    } else {
      ++at;
    }
  }
}

void PutSessions::Clear() {
  std::vector<std::unique_ptr<feed::AttemptWriter>> dropped;
  const std::lock_guard lock(mutex_);
  for (auto& [key, session] : sessions_) dropped.push_back(std::move(session.parked));
  std::erase_if(sessions_, [](const auto& entry) { return entry.second.holder == nullptr; });
}

}  // namespace flightbridge::server
