// Attempts that come over data channels: which connection writes which, and what a lost connection
// left behind for the next one to go on with.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <arrow/result.h>
#include <arrow/status.h>

#include "channel/socket.h"
#include "feed/feed_store.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::server {

// Thread-safe. The sessions must outlive their claims.
class PutSessions {
 public:
  using Clock = std::chrono::steady_clock;
  // How long an attempt waits for its writer to come back.
  static constexpr std::chrono::seconds kParked{12};

  // The right to write one attempt; given back when destroyed.
  class Claim {
   public:
    Claim(PutSessions* sessions, std::string key) : sessions_(sessions), key_(std::move(key)) {}
    Claim(Claim&& other) noexcept;
    Claim& operator=(Claim&&) = delete;
    ~Claim();

    // The attempt that the last connection left; nullptr where there is none.
    std::unique_ptr<feed::AttemptWriter> TakeParked();
    // For FeedStore::OpenAttempt(): CANCELLED once the connection that holds the claim then has
    // gone or was broken off, so that an attempt which waits for room is free for the next one.
    std::function<arrow::Status()> interrupted() const;
    // Leaves it for the next connection.
    void Park(std::unique_ptr<feed::AttemptWriter> attempt);

   private:
    PutSessions* sessions_;
    std::string key_;
  };

  // A writer that comes back may find its old connection still open here: that one is broken off,
  // so that there is never more than one. DEADLINE_EXCEEDED where it does not end.
  arrow::Result<Claim> Take(const proto::PutCommand& command, channel::Socket* socket,
                            std::chrono::milliseconds timeout);
  // Discards what nobody came back for.
  void Sweep();
  void Clear();

 private:
  struct Session {
    channel::Socket* holder = nullptr;
    std::unique_ptr<feed::AttemptWriter> parked;
    Clock::time_point expires;
  };

  arrow::Status CheckHolder(const std::string& key);

  std::mutex mutex_;
  std::condition_variable released_;
  std::map<std::string, Session> sessions_;
};

}  // namespace flightbridge::server
