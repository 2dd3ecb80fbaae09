#include <memory>
#include <string>
#include <utility>

#include <arrow/flight/types.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/writer.h>

#include "channel/message.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"
#include "server/channel_session_internal.h"
#include "server/get_stream_internal.h"

namespace flightbridge::server {
namespace {

using channel::Header;
using channel::Kind;

// A reader may stop for long, its buffers full; one that is gone is noticed by the keepalive, and
// one that was dropped here while it slept opens its stream again where it was.
constexpr std::chrono::milliseconds kSlowReader{60 * 60'000};

// Messages of the store are laid out already, and go out as they lie there.
arrow::Result<channel::Message> ToMessage(const arrow::flight::FlightPayload& payload,
                                          const proto::GetMetadata* mark) {
  const arrow::ipc::IpcPayload& ipc = payload.ipc_message;
  if (ipc.body_buffers.size() == 1 && ipc.body_buffers[0] != nullptr) {
    ARROW_ASSIGN_OR_RAISE(const auto parsed, segment::IpcMessage::Parse(*ipc.metadata));
    const arrow::Buffer& body = *ipc.body_buffers[0];
    if (parsed.CheckAligned().ok() && body.size() == parsed.body_length) {
      uint32_t crc = 0;
      if (mark != nullptr) {
        crc = mark->crc32c;
      } else {
        ARROW_ASSIGN_OR_RAISE(crc, parsed.Checksum(body.data(), body.size()));
      }
      return channel::Message::Stored(ipc.metadata, ipc.body_buffers[0], crc);
    }
  }
  return channel::Message::Of(ipc);
}

}  // namespace

arrow::Status ServeChannelGet(ChannelContext* context, const ChannelPeer& peer,
                              const Header& header, channel::Frames* frames, Loans* loans) {
  ARROW_ASSIGN_OR_RAISE(const std::string metadata, frames->ReceiveMetadata(header));
  const auto get = proto::Parse<proto::ChannelGet>(metadata);
  if (!get) {
    return Error(Code::kInvalidArgument, "the request (", metadata.size(),
                 " bytes) is not an encoded flightbridge.v1.ChannelGet");
  }
  if (get->mapped) {
    if (!peer.local) return Error(Code::kInvalidArgument, "memory cannot be mapped over TCP");
    return ServeMappedGet(context, peer, get->ticket, frames, loans);
  }
  ARROW_ASSIGN_OR_RAISE(const auto stream, OpenGetStream(context->state, peer.caller, get->ticket));
  ARROW_ASSIGN_OR_RAISE(const auto schema, arrow::ipc::SerializeSchema(*stream->schema()));
  ARROW_RETURN_NOT_OK(frames->Send(Kind::kSchema, std::string_view(*schema)));
  const auto progress = frames->socket().timeout();
  frames->socket().set_timeout(kSlowReader);
  while (true) {
    const auto next = stream->Next();
    // It was made for Flight's wire; what is said on ours is made from its code.
    if (!next.ok()) return FromFlight(next.status());
    const auto& payload = *next;
    if (payload.ipc_message.metadata == nullptr) break;
    Header message_header;
    std::optional<proto::GetMetadata> mark;
    if (payload.app_metadata != nullptr) {
      mark = proto::Parse<proto::GetMetadata>(std::string_view(*payload.app_metadata));
      message_header.partition = mark->partition;
      message_header.row_begin = mark->row_begin;
    }
    ARROW_ASSIGN_OR_RAISE(const auto message, ToMessage(payload, mark ? &*mark : nullptr));
    ARROW_RETURN_NOT_OK(frames->SendMessage(message_header, message).status());
  }
  frames->socket().set_timeout(progress);
  return frames->Send(Kind::kEnd, {});
}

}  // namespace flightbridge::server
