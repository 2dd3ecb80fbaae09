#include "server/channel_session_internal.h"

#include <chrono>
#include <string>
#include <utility>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "server/reply_internal.h"

namespace flightbridge::server {
namespace {

using channel::Header;
using channel::Kind;
using std::chrono::milliseconds;

constexpr milliseconds kHandshake{10'000};
constexpr milliseconds kProgress{60'000};   // within a frame
constexpr milliseconds kIdle{10 * 60'000};  // between requests
constexpr milliseconds kDrain{2'000};

// Returns who the client is.
arrow::Result<Caller> Greet(ChannelContext* context, channel::Frames* frames) {
  frames->socket().set_timeout(kHandshake);
  ARROW_ASSIGN_OR_RAISE(const Header header, frames->ReceiveHeader(0));
  // Before the key is known, a stranger gets no more memory than this.
  if (header.what() != Kind::kHello || header.metadata_bytes > 256) {
    return channel::Unexpected(header, "a greeting");
  }
  ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames->ReceiveMetadata(header));
  const auto hello = proto::Parse<proto::ChannelHello>(metadata);
  if (!hello) return Error(Code::kInvalidArgument, "the greeting cannot be parsed");
  if (hello->version != channel::kVersion) {
    return Error(Code::kInvalidArgument, "the client speaks version ", hello->version,
                 " of the data channel, this server version ", channel::kVersion,
                 ": use the same version of FlightBridge, or transport=\"flight\"");
  }
  auto caller = context->keys.Redeem(hello->key);
  if (!caller) {
    return Error(Code::kUnauthenticated,
                 "the key of the data channel is unknown, used or too old: ask for a new one with "
                 "action flightbridge.v1.OpenChannel");
  }
  proto::ChannelWelcome welcome;
  welcome.single_use = context->state->has_tokens;
  ARROW_RETURN_NOT_OK(frames->Send(Kind::kWelcome, welcome.Encode()));
  return *std::move(caller);
}

arrow::Status ServeRequest(ChannelContext* context, const ChannelPeer& peer, const Header& header,
                           channel::Frames* frames, ChannelHoldings* held) {
  switch (header.what()) {
    case Kind::kPut: return ServeChannelPut(context, peer, header, frames, held);
    case Kind::kGet: return ServeChannelGet(context, peer, header, frames, &held->loans);
    default: return channel::Unexpected(header, "a request");
  }
}

arrow::Status ServeRequests(ChannelContext* context, ChannelPeer peer, channel::Frames* frames,
                            ChannelHoldings* held) {
  Loans* const loans = &held->loans;
  ARROW_ASSIGN_OR_RAISE(peer.caller, Greet(context, frames));
  frames->socket().set_timeout(kProgress);
  bool served_one = false;
  while (true) {
    ARROW_ASSIGN_OR_RAISE(const bool ended,
                          frames->socket().AtEnd(loans->empty() ? kIdle : kNoTimeout));
    if (ended) return {};
    ARROW_ASSIGN_OR_RAISE(const Header header, frames->ReceiveHeader(0));
    if (header.what() == Kind::kRelease) {
      ARROW_RETURN_NOT_OK(frames->ReceiveMetadata(header).status());
      loans->Release(header.sequence);
      continue;
    }
    // A token is looked up when a call starts, and a request is a call: with tokens each has a key
    // of its own.
    if (served_one && context->state->has_tokens) {
      return Error(Code::kUnauthenticated,
                   "a data channel serves one request where the server has ",
                   "tokens: open another one");
    }
    served_one = true;
    if (!context->Begin()) return Error(Code::kUnavailable, "the server is stopping");
    const arrow::Status served = ServeRequest(context, peer, header, frames, held);
    context->End();
    ARROW_RETURN_NOT_OK(served);
  }
}

}  // namespace

bool ChannelContext::Begin() {
  const std::lock_guard lock(mutex_);
  if (!stopping_) ++running_;
  return !stopping_;
}

void ChannelContext::End() {
  const std::lock_guard lock(mutex_);
  if (--running_ == 0) idle_.notify_all();
}

void ChannelContext::Drain(std::chrono::system_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  idle_.wait_until(lock, deadline, [this] { return running_ == 0; });
}

void ServeChannel(ChannelContext* context, const ChannelPeer& peer, channel::Frames* frames) {
  ChannelHoldings held;
  const arrow::Status status = ServeRequests(context, peer, frames, &held);
  if (!status.ok() && !frames->socket().lost()) {
    frames->socket().set_timeout(kDrain);
    if (frames->SendError(Reply(status)).ok()) {
      // Closing with bytes unread would reset the connection, and the error could be lost with it.
      frames->socket().EndSending();
      frames->socket().Drain(kDrain);
    }
  }
  // However the session ended: what the client still maps is not used again before its end.
  if (!held.loans.empty()) frames->socket().Drain(kNoTimeout);
}

}  // namespace flightbridge::server
