#include "server/channel_keys_internal.h"

#include <algorithm>
#include <random>

#include "channel/frame.h"

namespace flightbridge::server {

std::string ChannelKeys::Issue(const Caller& caller) {
  std::random_device random;  // the system's generator
  std::string key(channel::kKeyBytes, '\0');
  std::ranges::generate(key, [&] { return static_cast<char>(random() & 0xff); });
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  DropExpired(now);
  if (unused_.size() >= kMostUnused) {
    unused_.erase(std::ranges::min_element(unused_, {},
                                           [](const auto& entry) { return entry.second.expires; }));
  }
  unused_.emplace(key, Key{now + kLifetime, caller});
  return key;
}

std::optional<Caller> ChannelKeys::Redeem(const std::string& key) {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  DropExpired(now);
  const auto found = unused_.extract(key);
  if (found.empty()) return std::nullopt;
  return found.mapped().caller;
}

void ChannelKeys::DropExpired(Clock::time_point now) {
  std::erase_if(unused_, [now](const auto& entry) { return entry.second.expires <= now; });
}

}  // namespace flightbridge::server
