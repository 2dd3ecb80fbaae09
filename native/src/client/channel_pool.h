// The data channels of one client: opened on demand, kept for the next stream.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>

#include "channel/frames.h"
#include "channel/ring.h"
#include "client/connection.h"
#include "client/mapped_chunks.h"

namespace flightbridge::client {

// One open data channel, in the hands of one stream at a time.
struct DataChannel {
  DataChannel(channel::Fd fd, channel::Socket::Timeout timeout, bool local)
      : frames(std::move(fd), timeout), local(local) {}

  // A frame in one piece, whoever else sends: a stream its requests, buffers their releases.
  arrow::Status Send(channel::Kind kind, std::string_view metadata, uint64_t sequence = 0) {
    const std::lock_guard lock(sending);
    return frames.Send(kind, metadata, sequence);
  }
  // Ends every wait of a get. On this machine the connection stays until nothing is mapped any
  // more: its end tells the server that the segments may be used again.
  void BreakGet() {
    if (local) {
      frames.socket().BreakReceiving();
    } else {
      frames.socket().Break();
    }
  }
  // Nothing refers to the message any more. Without effect where the server is gone.
  void Release(uint64_t loan) { (void)Send(channel::Kind::kRelease, {}, loan); }

  channel::Frames frames;
  bool single_use = false;
  const bool local;  // to a server on this machine, with descriptors passed beside the bytes
  std::mutex sending;
  MappedChunks chunks;
  std::unique_ptr<channel::Ring> ring;  // for puts, once there was one
  std::chrono::steady_clock::time_point idle_since;
};

// How record batches travel between two processes.
enum class Way { kMapped, kChannel, kFlight };

// Thread-safe.
class ChannelPool {
 public:
  // `transport` as in ClientOptions; of those, "local" is not this class's.
  ChannelPool(std::shared_ptr<Connection> connection, std::string transport)
      : connection_(std::move(connection)), transport_(std::move(transport)) {}

  // Found out once, by opening a channel. A server that offers none, or cannot be reached at its
  // data port, is one for kFlight; UNAVAILABLE where `transport` asks for more than there is.
  arrow::Result<Way> FindWay();
  // Channels are used again for the same: while messages of a get are mapped, their channel has
  // releases on it.
  enum class Use { kPut, kGet };
  // An idle channel or a new one; `fresh` never an idle one, which may have been closed by the
  // server.
  arrow::Result<std::shared_ptr<DataChannel>> Take(Use use, bool fresh = false);
  // One that is between two requests.
  void Give(Use use, std::shared_ptr<DataChannel> data_channel);

  Connection& connection() { return *connection_; }
  const std::shared_ptr<Connection>& shared_connection() const { return connection_; }
  channel::Socket::Timeout timeout() const;

 private:
  static constexpr size_t kMostIdle = 16;
  static constexpr std::chrono::seconds kMostIdleTime{30};

  arrow::Result<std::shared_ptr<DataChannel>> Open();
  arrow::Result<std::shared_ptr<DataChannel>> Greet(channel::Fd fd, bool local,
                                                    const std::string& key);

  const std::shared_ptr<Connection> connection_;
  const std::string transport_;
  std::mutex finding_;  // held while the way is found out
  std::mutex mutex_;
  bool found_ = false;
  Way way_ = Way::kFlight;
  std::vector<std::shared_ptr<DataChannel>> idle_[2];  // by use
};

}  // namespace flightbridge::client
