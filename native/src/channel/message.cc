#include "channel/message.h"

#include <cstring>
#include <utility>

#include "segment/message_body.h"

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
  ARROW_RETURN_NOT_OK(segment::CheckBuffers(message.parsed_, message.buffers_));
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
  return crc32c_ ? *crc32c_ : segment::BodyCrc32c(parsed_, buffers_);
}

uint32_t Message::CopyBody(uint8_t* to) const {
  if (body_ == nullptr) return segment::CopyBodyCrc32c(parsed_, to, buffers_);
  std::memcpy(to, body_->data(), static_cast<size_t>(body_->size()));
  return *crc32c_;
}

}  // namespace flightbridge::channel
