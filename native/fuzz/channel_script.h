// What one side of a data channel sends, as bytes to mutate: a list of frames, each with how it is
// to be sent. Sizes and checksums are made right on the way out, unless the frame says otherwise:
// else next to nothing would get past the first check.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/ipc/writer.h>

#include "channel/frames.h"
#include "channel/message.h"
#include "segment/checksum.h"
#include "segment/ipc_message.h"

namespace flightbridge::fuzz {

// No wait lasts as long unless something hangs.
constexpr std::chrono::milliseconds kStuck{120'000};

enum How : uint8_t {
  kHonestSizes = 1,   // the header says how long metadata and body are
  kBadHeaderCrc = 2,  // the checksum of the header is left as it stands there
  kBadMetadata = 4,   // likewise of the metadata
  kBadTrailer = 8,    // likewise of the body
  kWithDescriptor = 16,
  kInTurn = 32,  // client: over another connection; server: after a frame of the client's
};

struct ScriptedFrame {
  uint8_t how = kHonestSizes;
  channel::Header header;
  std::string metadata;
  std::string body;  // of a message in a ring or a segment: what is to lie there
};

inline std::string Encode(const std::vector<ScriptedFrame>& frames) {
  std::string out;
  for (const ScriptedFrame& frame : frames) {
    out.push_back(static_cast<char>(frame.how));
    out.append(reinterpret_cast<const char*>(&frame.header), sizeof(frame.header));
    for (const std::string* const part : {&frame.metadata, &frame.body}) {
      const auto size = static_cast<uint16_t>(part->size());
      out.append(reinterpret_cast<const char*>(&size), sizeof(size));
      out.append(*part);
    }
  }
  return out;
}

// Of any bytes.
inline std::vector<ScriptedFrame> DecodeScript(std::string_view bytes) {
  constexpr size_t kMostFrames = 64;
  const auto take = [&](void* to, size_t size) {
    const size_t part = std::min(size, bytes.size());
    std::memcpy(to, bytes.data(), part);
    bytes.remove_prefix(part);
  };
  std::vector<ScriptedFrame> frames;
  while (!bytes.empty() && frames.size() < kMostFrames) {
    ScriptedFrame& frame = frames.emplace_back();
    take(&frame.how, 1);
    take(&frame.header, sizeof(frame.header));
    for (std::string* const part : {&frame.metadata, &frame.body}) {
      uint16_t size = 0;
      take(&size, sizeof(size));
      *part = bytes.substr(0, size);
      bytes.remove_prefix(part->size());
    }
  }
  return frames;
}

inline ScriptedFrame Frame(channel::Kind kind, std::string metadata, uint64_t sequence = 0,
                           uint8_t how = kHonestSizes) {
  ScriptedFrame frame;
  frame.how = how;
  frame.header.kind = static_cast<uint16_t>(kind);
  frame.header.sequence = sequence;
  frame.metadata = std::move(metadata);
  return frame;
}

// The messages that Arrow makes of a batch, laid out for the channel.
inline std::vector<ScriptedFrame> MessageFrames(const arrow::RecordBatch& batch,
                                                uint64_t sequence) {
  class Sink : public arrow::ipc::internal::IpcPayloadWriter {
   public:
    explicit Sink(std::vector<channel::Message>* out) : out_(out) {}
    arrow::Status WritePayload(const arrow::ipc::IpcPayload& payload) override {
      if (payload.type == arrow::ipc::MessageType::SCHEMA) return {};
      return channel::Message::Of(payload).Value(&out_->emplace_back());
    }
    arrow::Status Close() override { return {}; }

   private:
    std::vector<channel::Message>* out_;
  };
  std::vector<channel::Message> messages;
  auto writer = arrow::ipc::internal::OpenRecordBatchWriter(std::make_unique<Sink>(&messages),
                                                            batch.schema());
  if (!writer.ok() || !(*writer)->WriteRecordBatch(batch).ok()) std::abort();
  std::vector<ScriptedFrame> frames;
  for (const channel::Message& message : messages) {
    ScriptedFrame frame = Frame(channel::Kind::kMessage, message.metadata().ToString(), sequence++);
    frame.body.resize(static_cast<size_t>(message.body_bytes()));
    message.CopyBody(reinterpret_cast<uint8_t*>(frame.body.data()));
    frames.push_back(std::move(frame));
  }
  return frames;
}

// The batch checksum, where the metadata allows for one.
inline uint32_t ChecksumOf(const ScriptedFrame& frame) {
  std::vector<uint64_t> aligned(frame.metadata.size() / 8 + 1);
  std::memcpy(aligned.data(), frame.metadata.data(), frame.metadata.size());
  const auto parsed = segment::IpcMessage::Parse(reinterpret_cast<const uint8_t*>(aligned.data()),
                                                 static_cast<int64_t>(frame.metadata.size()));
  if (!parsed.ok()) return 0;
  return parsed
      ->Checksum(reinterpret_cast<const uint8_t*>(frame.body.data()),
                 static_cast<int64_t>(frame.body.size()))
      .ValueOr(0);
}

// Sends it. `fd` goes beside those frames that ask for a descriptor; `place` is where a body that
// does not travel is put.
inline arrow::Status SendScripted(const ScriptedFrame& frame, int fd, std::span<uint8_t> place,
                                  channel::Socket* socket,
                                  const std::function<arrow::Status()>& on_readable) {
  using segment::Crc32c;
  channel::Header header = frame.header;
  const bool message = header.what() == channel::Kind::kMessage;
  const bool away = message && (header.flags & (channel::kInRing | channel::kInSegment)) != 0;
  if ((frame.how & kHonestSizes) != 0) {
    header.magic = channel::Header::kMagic;
    header.metadata_bytes = static_cast<uint32_t>(frame.metadata.size());
    header.body_bytes = message ? static_cast<int64_t>(frame.body.size()) : 0;
  }
  if ((frame.how & kBadMetadata) == 0) {
    header.metadata_crc32c = Crc32c(0, frame.metadata.data(), frame.metadata.size());
  }
  if ((frame.how & kBadHeaderCrc) == 0) header.Seal();
  channel::Trailer trailer;
  if ((frame.how & kBadTrailer) == 0) trailer.crc32c = ChecksumOf(frame);
  if (away && header.place >= 0 && header.place < static_cast<int64_t>(place.size())) {
    const std::span<uint8_t> room = place.subspan(static_cast<size_t>(header.place));
    std::memcpy(room.data(), frame.body.data(), std::min(room.size(), frame.body.size()));
  }
  const auto part = [](const void* data, size_t size) -> iovec {
    return {const_cast<void*>(data), size};
  };
  std::vector<iovec> parts = {part(&header, sizeof(header))};
  parts.push_back(part(frame.metadata.data(), frame.metadata.size()));
  if (!away) parts.push_back(part(frame.body.data(), frame.body.size()));
  if (message) parts.push_back(part(&trailer, sizeof(trailer)));
  return (frame.how & kWithDescriptor) != 0 && fd >= 0 ? socket->SendWithFd(parts, fd)
                                                       : socket->Send(parts, on_readable);
}

}  // namespace flightbridge::fuzz
