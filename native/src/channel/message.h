// One Arrow IPC message as the data channel carries it: every buffer of its body at a multiple of
// 64 bytes, so that the receiver can leave it where it arrives.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/ipc/writer.h>
#include <arrow/result.h>

#include "segment/ipc_message.h"

namespace flightbridge::channel {

class Message {
 public:
  // Refers to the payload's buffers, and keeps them.
  static arrow::Result<Message> Of(const arrow::ipc::IpcPayload& payload);
  // One that lies in a segment, with its batch checksum.
  static arrow::Result<Message> Stored(std::shared_ptr<arrow::Buffer> metadata,
                                       std::shared_ptr<arrow::Buffer> body, uint32_t crc32c);

  const arrow::Buffer& metadata() const { return *metadata_; }
  const segment::IpcMessage& parsed() const { return parsed_; }
  int64_t body_bytes() const { return parsed_.body_length; }
  // In the order of parsed().buffers; nullptr for those without bytes. Of a stored message: empty.
  const std::vector<std::shared_ptr<arrow::Buffer>>& buffers() const { return buffers_; }
  // Of a stored message: its body, in one piece, with its checksum.
  const std::shared_ptr<arrow::Buffer>& body() const { return body_; }
  std::optional<uint32_t> crc32c() const { return crc32c_; }

  // The batch checksum.
  uint32_t Checksum() const;
  // Copies the body to where there is room for body_bytes(); returns the batch checksum.
  uint32_t CopyBody(uint8_t* to) const;

 private:
  std::shared_ptr<arrow::Buffer> metadata_;
  segment::IpcMessage parsed_;  // points into metadata_
  std::vector<std::shared_ptr<arrow::Buffer>> buffers_;
  std::shared_ptr<arrow::Buffer> body_;
  std::optional<uint32_t> crc32c_;
};

}  // namespace flightbridge::channel
