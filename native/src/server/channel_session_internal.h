// One connection of the data channel, from its first byte to its last.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "channel/frames.h"
#include "channel/ring.h"
#include "server/channel_keys_internal.h"
#include "server/loans_internal.h"
#include "server/put_sessions_internal.h"
#include "server/service_state_internal.h"

namespace flightbridge::server {

// Bytes of rings that are lent, of all connections together: nothing else bounds them.
class LentBytes {
 public:
  static constexpr int64_t kMost = 512 << 20;

  LentBytes() = default;
  LentBytes(LentBytes&& other) noexcept { *this = std::move(other); }
  LentBytes& operator=(LentBytes&& other) noexcept {
    std::swap(total_, other.total_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~LentBytes() {
    if (total_ != nullptr) total_->fetch_sub(bytes_);
  }

  // Empty where that would be too many.
  static LentBytes Take(std::atomic<int64_t>* total, int64_t bytes) {
    LentBytes taken;
    taken.total_ = total;
    taken.bytes_ = bytes;
    if (total->fetch_add(bytes) + bytes > kMost) return {};  // gives them back
    return taken;
  }
  explicit operator bool() const { return total_ != nullptr; }

 private:
  std::atomic<int64_t>* total_ = nullptr;
  int64_t bytes_ = 0;
};

struct ChannelContext {
  std::shared_ptr<ServiceState> state;
  ChannelKeys keys;
  PutSessions puts;
  std::atomic<int64_t> lent_bytes{0};

  // Around each put and get, so that a stopping server can wait for them. False once it stops.
  bool Begin();
  void End();
  // Begin() is refused from now on; waits for those that run, up to `deadline`.
  void Drain(std::chrono::system_clock::time_point deadline);

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  int64_t running_ = 0;
  bool stopping_ = false;
};

// What is known of who is at the other end.
struct ChannelPeer {
  bool local = false;                 // by the Unix socket, and a process of this server's own user
  bool same_host = false;             // by TCP, from one of this machine's own addresses
  Caller caller = Caller::Trusted();  // whom the key was issued to
};

// What one connection keeps from one request to the next.
struct ChannelHoldings {
  Loans loans;
  std::unique_ptr<channel::Ring> ring;  // of a writer on this machine, mapped once
  LentBytes lent;                       // that ring's, if it is lent
};

// Serves puts and gets, one after the other, until the client ends the connection, breaks a rule,
// or is silent for too long. Nothing in here trusts what comes over the socket.
void ServeChannel(ChannelContext* context, const ChannelPeer& peer, channel::Frames* frames);

// A put from its kPut frame on; ends with the result on its way, or an error.
arrow::Status ServeChannelPut(ChannelContext* context, const ChannelPeer& peer,
                              const channel::Header& header, channel::Frames* frames,
                              ChannelHoldings* held);
// Likewise a get from its kGet frame on.
arrow::Status ServeChannelGet(ChannelContext* context, const ChannelPeer& peer,
                              const channel::Header& header, channel::Frames* frames, Loans* loans);
// A get by a client that maps what it reads.
arrow::Status ServeMappedGet(ChannelContext* context, const ChannelPeer& peer,
                             const std::string& ticket, channel::Frames* frames, Loans* loans);
// Receives a kRelease.
arrow::Status TakeRelease(channel::Frames* frames, Loans* loans);

// A month: for waits that another event than time is sure to end.
inline constexpr std::chrono::milliseconds kNoTimeout = std::chrono::hours(24 * 30);

}  // namespace flightbridge::server
