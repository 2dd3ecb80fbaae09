#include "channel/message.h"

#include <cstring>
#include <utility>

#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/checksum_internal.h"
#include "segment/segment.h"

namespace flightbridge::channel {

arrow::Result<Message> Message::Of(const arrow::ipc::IpcPayload& payload) {
  Message message;
  // The offsets change, and the payload's metadata may be shared.
  ARROW_ASSIGN_OR_RAISE(auto metadata, arrow::AllocateBuffer(payload.metadata->size()));
  std::memcpy(metadata->mutable_data(), payload.metadata->data(),
              static_cast<size_t>(payload.metadata->size()));
  ARROW_RETURN_NOT_OK(segment::AlignBuffers(metadata->mutable_data(), metadata->size()).status());
  ARROW_ASSIGN_OR_RAISE(message.parsed_, segment::IpcMessage::Parse(*metadata));
  message.metadata_ = std::move(metadata);
  message.buffers_ = payload.body_buffers;
  const auto& ranges = message.parsed_.buffers;
  bool agrees = message.buffers_.size() == ranges.size();
  for (size_t i = 0; agrees && i < ranges.size(); ++i) {
    const auto& buffer = message.buffers_[i];
    agrees = ranges[i].length == (buffer == nullptr ? 0 : buffer->size());
  }
  if (!agrees) return Error(Code::kInternal, "an IPC message and its buffers do not agree");
  return message;
}

arrow::Result<Message> Message::Stored(std::shared_ptr<arrow::Buffer> metadata,
                                       std::shared_ptr<arrow::Buffer> body, uint32_t crc32c) {
  Message message;
  ARROW_ASSIGN_OR_RAISE(message.parsed_, segment::IpcMessage::Parse(*metadata));
  message.metadata_ = std::move(metadata);
  message.body_ = std::move(body);
  message.crc32c_ = crc32c;
  return message;
}

uint32_t Message::Checksum() const {
  if (crc32c_) return *crc32c_;
  uint32_t crc = segment::CrcOfNodes(parsed_.rows, parsed_.nodes);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const int64_t bytes = parsed_.buffers[i].length;
    crc = segment::CrcOfSize(crc, bytes);
    if (bytes > 0) crc = segment::Crc32c(crc, buffers_[i]->data(), static_cast<size_t>(bytes));
  }
  return crc;
}

uint32_t Message::CopyBody(uint8_t* to) const {
  if (body_ != nullptr) {
    std::memcpy(to, body_->data(), static_cast<size_t>(body_->size()));
    return *crc32c_;
  }
  uint32_t crc = segment::CrcOfNodes(parsed_.rows, parsed_.nodes);
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const segment::BufferRange& range = parsed_.buffers[i];
    crc = segment::CrcOfSize(crc, range.length);
    if (range.length == 0) continue;
    uint8_t* const at = to + range.offset;
    crc = segment::CopyCrc32c(crc, at, buffers_[i]->data(), static_cast<size_t>(range.length));
    std::memset(at + range.length, 0,
                static_cast<size_t>(segment::RoundUp(range.length) - range.length));
  }
  return crc;
}

}  // namespace flightbridge::channel
