// Keys of the data channel: who may open one connection, handed out over an authorized call.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "server/auth.h"

namespace flightbridge::server {

// Thread-safe; never blocks.
class ChannelKeys {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kLifetime{30};
  // More than this many unused ones are somebody's flood: the oldest goes.
  static constexpr size_t kMostUnused = 4096;

  // 32 random bytes, good for one Redeem() within kLifetime.
  std::string Issue(const Caller& caller);
  // Who it was issued to.
  std::optional<Caller> Redeem(const std::string& key);

 private:
  void DropExpired(Clock::time_point now);  // under mutex_

  struct Key {
    Clock::time_point expires;
    Caller caller;
  };

  std::mutex mutex_;
  std::map<std::string, Key> unused_;
};

}  // namespace flightbridge::server
