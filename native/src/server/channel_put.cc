#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>

#include "channel/ring.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/message_body.h"
#include "server/channel_session_internal.h"
#include "server/put_command_internal.h"

namespace flightbridge::server {
namespace {

using channel::Header;
using channel::Kind;
using std::chrono::milliseconds;

constexpr milliseconds kTakeOver{10'000};
// A writer may think for long between batches; one that is gone is noticed by the keepalive.
constexpr milliseconds kNextMessage{60 * 60'000};
// Acks free the writer's memory: often enough for a small window, seldom enough to cost nothing.
constexpr int64_t kAckBytes = 1 << 20;
// A ring that is lent has at least and at most so many bytes.
constexpr uint64_t kLeastLent = 64 << 10;
constexpr uint64_t kMostLent = 64 << 20;

arrow::Result<std::shared_ptr<arrow::Schema>> ParseSchema(const std::string& bytes) {
  arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(std::string_view(bytes)));
  arrow::ipc::DictionaryMemo memo;
  auto schema = arrow::ipc::ReadSchema(&reader, &memo);
  if (schema.ok()) return schema;
  return Error(Code::kInvalidArgument,
               "the schema of the put is no Arrow IPC schema message: ", schema.status().message());
}

// The stream of one put, once its attempt is known.
class PutReceiver {
 public:
  PutReceiver(ServiceState* state, const ChannelPeer& peer, channel::Frames* frames,
              feed::AttemptWriter* attempt, channel::LentRing lent,
              std::unique_ptr<channel::Ring>* ring)
      : state_(state),
        open_(&state->open_puts),
        peer_(peer),
        frames_(frames),
        attempt_(attempt),
        lent_(std::move(lent)),
        ring_(*ring) {}

  // Up to the result; OK also where the writer gave up.
  arrow::Status Run() {
    while (true) {
      ARROW_ASSIGN_OR_RAISE(const bool ended, frames_->socket().AtEnd(kNextMessage));
      (void)ended;  // the next read says so, too
      ARROW_ASSIGN_OR_RAISE(const Header header, frames_->ReceiveHeader(state_->max_batch_bytes));
      switch (header.what()) {
        case Kind::kMessage:
          lent_ = {};  // the client had its chance
          ARROW_RETURN_NOT_OK(TakeMessage(header));
          break;
        case Kind::kRing: ARROW_RETURN_NOT_OK(TakeRing(header)); break;
        case Kind::kEnd: return Finish(header);
        case Kind::kError: return frames_->ReceiveMetadata(header).status();
        default: return channel::Unexpected(header, "a message of the put");
      }
    }
  }

  // Nothing of it is to be sent again, also where the answer was lost.
  bool staged() const { return staged_; }

 private:
  arrow::Status TakeRing(const Header& header) {
    ARROW_ASSIGN_OR_RAISE(const std::string key, frames_->ReceiveMetadata(header));
    if (lent_.ring != nullptr) {
      if (key != lent_.key) {
        return Error(Code::kPermissionDenied,
                     "the client has not opened the ring that it was lent: it uses what only "
                     "processes of this server's user can open");
      }
      ring_ = std::move(lent_.ring);
      return {};
    }
    if (!peer_.local) return channel::Unexpected(header, "a message over TCP");
    ARROW_ASSIGN_OR_RAISE(ring_, channel::Ring::Map(frames_->socket().TakeFd()));
    return {};
  }

  arrow::Status TakeMessage(const Header& header) {
    const auto have = static_cast<uint64_t>(attempt_->messages());
    if (header.sequence < have) return Discard(header);
    if (header.sequence > have) {
      return Error(Code::kDataLoss, "message ", header.sequence, " arrived where message ", have,
                   " was expected: send the attempt again");
    }
    ARROW_ASSIGN_OR_RAISE(const auto room,
                          attempt_->Reserve(header.metadata_bytes, header.body_bytes));
    ARROW_RETURN_NOT_OK(frames_->ReceiveMetadata(header, room.metadata));
    ARROW_ASSIGN_OR_RAISE(const auto message, attempt_->ParseReserved());
    ARROW_ASSIGN_OR_RAISE(const uint32_t crc, TakeBody(header, message, room.body));
    ARROW_ASSIGN_OR_RAISE(const uint32_t expected, frames_->ReceiveTrailer());
    ARROW_RETURN_NOT_OK(attempt_->AppendReserved(message, crc, expected));
    state_->bytes_put.fetch_add(header.body_bytes, std::memory_order_relaxed);
    return Ack(header.body_bytes, (header.flags & channel::kInRing) != 0);
  }

  // Into the segment, checksummed while it is in the cache.
  arrow::Result<uint32_t> TakeBody(const Header& header, const segment::IpcMessage& message,
                                   uint8_t* body) {
    if ((header.flags & channel::kInRing) != 0) {
      if (ring_ == nullptr) return channel::Unexpected(header, "a body without a ring");
      ARROW_ASSIGN_OR_RAISE(const uint8_t* from, ring_->At(header.place, header.body_bytes));
      return segment::CopyBodyCrc32c(message, body, from);
    }
    segment::BodyChecksum checksum(message, body);
    const std::function<void(int64_t)> advance = [&](int64_t end) { checksum.Advance(end); };
    ARROW_RETURN_NOT_OK(frames_->socket().Receive(body, header.body_bytes, &advance));
    return checksum.Finish();
  }

  // One that came before, over the connection that was lost.
  arrow::Status Discard(const Header& header) {
    std::string nothing(header.metadata_bytes, '\0');
    ARROW_RETURN_NOT_OK(frames_->ReceiveMetadata(header, nothing.data()));
    if ((header.flags & channel::kInRing) == 0) {
      nothing.resize(256 << 10);
      for (int64_t left = header.body_bytes; left > 0;) {
        const int64_t part = std::min<int64_t>(left, static_cast<int64_t>(nothing.size()));
        ARROW_RETURN_NOT_OK(frames_->socket().Receive(nothing.data(), part));
        left -= part;
      }
    }
    ARROW_RETURN_NOT_OK(frames_->ReceiveTrailer().status());
    return Ack(0, true);
  }

  arrow::Status Ack(int64_t bytes, bool now) {
    unacked_bytes_ += bytes;
    if (!now && unacked_bytes_ < kAckBytes) return {};
    unacked_bytes_ = 0;
    const proto::ChannelAck ack{static_cast<uint64_t>(attempt_->messages())};
    return frames_->Send(Kind::kAck, ack.Encode());
  }

  arrow::Status Finish(const Header& header) {
    ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames_->ReceiveMetadata(header));
    const auto end = proto::Parse<proto::PutEnd>(metadata);
    if (!end) return Error(Code::kInvalidArgument, "the end record of the put cannot be parsed");
    ARROW_ASSIGN_OR_RAISE(const proto::PutResult result, attempt_->Finish(end));
    staged_ = true;
    return frames_->Send(Kind::kResult, result.Encode());
  }

  ServiceState* const state_;
  CountGuard open_;
  const ChannelPeer& peer_;
  channel::Frames* const frames_;
  feed::AttemptWriter* const attempt_;
  channel::LentRing lent_;                // until the client says that it has opened it
  std::unique_ptr<channel::Ring>& ring_;  // the connection's
  int64_t unacked_bytes_ = 0;
  bool staged_ = false;
};

// Where there is no memory for a ring, the bodies come over the socket.
channel::LentRing Lend(ChannelContext* context, int64_t bytes, ChannelHoldings* held) {
  held->ring.reset();
  held->lent = {};
  held->lent = LentBytes::Take(&context->lent_bytes, bytes);
  if (held->lent) {
    if (auto made = channel::Ring::Lend(bytes); made.ok()) return *std::move(made);
    held->lent = {};
  }
  return {};
}

}  // namespace

arrow::Status ServeChannelPut(ChannelContext* context, const ChannelPeer& peer,
                              const Header& header, channel::Frames* frames,
                              ChannelHoldings* held) {
  ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames->ReceiveMetadata(header));
  const auto put = proto::Parse<proto::ChannelPut>(metadata);
  if (!put || !put->command) {
    return Error(Code::kInvalidArgument, "the request (", metadata.size(),
                 " bytes) is not an encoded flightbridge.v1.ChannelPut");
  }
  const proto::PutCommand& command = *put->command;
  ARROW_RETURN_NOT_OK(CheckPutCommand(command));
  ARROW_RETURN_NOT_OK(Authorize(peer.caller, Scope::kWrite, command.feed));
  ARROW_ASSIGN_OR_RAISE(const StreamSlot slot, StreamSlot::Take(context->state.get()));
  ARROW_ASSIGN_OR_RAISE(const auto schema, ParseSchema(put->schema));
  ARROW_ASSIGN_OR_RAISE(auto claim, context->puts.Take(command, &frames->socket(), kTakeOver));
  std::unique_ptr<feed::AttemptWriter> attempt = claim.TakeParked();
  if (!put->resume) attempt.reset();
  proto::ChannelReady ready;
  if (attempt == nullptr) {
    feed::FeedStore& store = *context->state->store;
    if (put->resume) {
      // Its end was received, and the answer lost.
      ready.staged = store.FindStaged(command);
      if (ready.staged) return frames->Send(Kind::kReady, ready.Encode());
    }
    ARROW_ASSIGN_OR_RAISE(attempt, store.OpenAttempt(command, schema, claim.interrupted()));
  }
  ready.next_sequence = static_cast<uint64_t>(attempt->messages());
  channel::LentRing lent;
  if (put->ring_bytes != 0 && peer.same_host) {
    const uint64_t bytes = std::clamp(put->ring_bytes, kLeastLent, kMostLent);
    lent = Lend(context, static_cast<int64_t>(bytes), held);
    if (lent.ring != nullptr) {
      ready.ring = proto::LentRing{static_cast<uint32_t>(getpid()),
                                   static_cast<uint32_t>(lent.ring->fd()), lent.name, bytes};
    }
  }
  ARROW_RETURN_NOT_OK(frames->Send(Kind::kReady, ready.Encode()));
  PutReceiver receiver(context->state.get(), peer, frames, attempt.get(), std::move(lent),
                       &held->ring);
  const arrow::Status status = receiver.Run();
  const channel::Socket& socket = frames->socket();
  const bool gone = socket.lost() || socket.broken() || socket.PeerGone();
  if (!status.ok() && gone && !receiver.staged()) {
    claim.Park(std::move(attempt));
  }
  return status;
}

}  // namespace flightbridge::server
