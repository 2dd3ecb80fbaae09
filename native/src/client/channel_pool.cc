#include "client/channel_pool.h"

#include <utility>

#include "client/action.h"
#include "client/uri.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::client {
namespace {

using channel::Fd;
using channel::Kind;
using channel::Socket;

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace

Socket::Timeout ChannelPool::timeout() const {
  return std::chrono::ceil<Socket::Timeout>(
      std::chrono::duration<double>(connection_->options().timeout_s));
}

arrow::Result<Way> ChannelPool::FindWay() {
  if (transport_ == "flight") return Way::kFlight;
  const std::lock_guard finding(finding_);
  {
    const std::lock_guard lock(mutex_);
    if (found_) return way_;
  }
  auto opened = Open();
  if (!opened.ok()) opened = Open();  // a link may fail once, and the answer is for good
  Way way = Way::kFlight;
  if (opened.ok()) {
    way = (*opened)->local ? Way::kMapped : Way::kChannel;
  } else if (transport_ != "auto") {
    return Error(Code::kUnavailable, "transport \"", transport_, "\" is not possible with ",
                 connection_->uri(), ": ", opened.status().message(),
                 "; use transport=\"auto\", or \"flight\"");
  } else if (CodeOf(opened.status()) == Code::kDeadlineExceeded) {
    // The data port may be behind a firewall that drops what it does not know.
    way = Way::kFlight;
  }
  const std::lock_guard lock(mutex_);
  found_ = true;
  way_ = way;
  if (opened.ok()) {
    (*opened)->idle_since = std::chrono::steady_clock::now();
    idle_[0].push_back(*std::move(opened));
  }
  return way_;
}

arrow::Result<std::shared_ptr<DataChannel>> ChannelPool::Open() {
  const std::string doing = "opening a data channel";
  ARROW_ASSIGN_OR_RAISE(const auto answer,
                        RunAction(connection_.get(), "OpenChannel",
                                  proto::OpenChannel{channel::kVersion}.Encode(), doing));
  const auto offer = proto::Parse<proto::ChannelOffer>(answer.value_or(""));
  if (!offer || offer->key.size() != channel::kKeyBytes) {
    return Error(Code::kUnavailable, "the server offers no data channel");
  }
  ARROW_ASSIGN_OR_RAISE(const Endpoint endpoint, ParseUri(connection_->uri()));
  if (transport_ != "channel" && !offer->local_name.empty() && IsLoopback(endpoint.host)) {
    if (auto fd = Socket::ConnectLocal(offer->local_name); fd.ok()) {
      return Greet(*std::move(fd), true, offer->key);
    } else if (transport_ == "mapped") {
      return fd.status();
    }
  }
  if (transport_ == "mapped") {
    return Error(Code::kUnavailable, "the server is not on this machine, as far as its address ",
                 "says");
  }
  if (offer->port == 0) return Error(Code::kUnavailable, "the server has no data port");
  ARROW_ASSIGN_OR_RAISE(
      Fd fd, Socket::ConnectTcp(endpoint.host, static_cast<int>(offer->port), timeout()));
  return Greet(std::move(fd), false, offer->key);
}

arrow::Result<std::shared_ptr<DataChannel>> ChannelPool::Greet(Fd fd, bool local,
                                                               const std::string& key) {
  auto opened = std::make_shared<DataChannel>(std::move(fd), timeout(), local);
  channel::Frames& frames = opened->frames;
  ARROW_RETURN_NOT_OK(
      frames.Send(Kind::kHello, proto::ChannelHello{channel::kVersion, key}.Encode()));
  ARROW_ASSIGN_OR_RAISE(const auto header, frames.ReceiveHeader(0));
  ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames.ReceiveMetadata(header));
  if (header.what() == Kind::kError) return channel::ReceivedError(metadata);
  if (header.what() != Kind::kWelcome) return channel::Unexpected(header, "a welcome");
  if (const auto welcome = proto::Parse<proto::ChannelWelcome>(metadata)) {
    opened->single_use = welcome->single_use;
  }
  return opened;
}

arrow::Result<std::shared_ptr<DataChannel>> ChannelPool::Take(Use use, bool fresh) {
  const auto oldest = std::chrono::steady_clock::now() - kMostIdleTime;
  std::vector<std::shared_ptr<DataChannel>> closed;  // freed after the lock
  if (!fresh) {
    const std::lock_guard lock(mutex_);
    auto& idle = idle_[static_cast<int>(use)];
    while (!idle.empty()) {
      auto taken = std::move(idle.back());
      idle.pop_back();
      // An idle channel has nothing to say but its end.
      if (taken->idle_since >= oldest && !taken->frames.socket().Readable()) return taken;
      closed.push_back(std::move(taken));
    }
  }
  return Open();
}

void ChannelPool::Give(Use use, std::shared_ptr<DataChannel> data_channel) {
  // One that must not be used again ends with what is mapped from it.
  if (data_channel->single_use || data_channel->frames.socket().lost()) return;
  data_channel->frames.socket().set_timeout(timeout());
  data_channel->idle_since = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  auto& idle = idle_[static_cast<int>(use)];
  if (idle.size() < kMostIdle) idle.push_back(std::move(data_channel));
}

}  // namespace flightbridge::client
