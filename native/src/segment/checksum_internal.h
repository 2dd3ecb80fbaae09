// Parts of the batch checksum, for those that copy and checksum in one pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "segment/ipc_message.h"

namespace flightbridge::segment {

// The batch checksum up to its first buffer.
uint32_t CrcOfNodes(int64_t rows, std::span<const FieldNode> nodes);
// Extends it by the size of a buffer; its bytes follow.
uint32_t CrcOfSize(uint32_t crc, int64_t bytes);

// Copies a body that is Aligned(), zeros between its buffers; returns the batch checksum.
uint32_t CopyBodyCrc32c(const IpcMessage& message, uint8_t* to, const uint8_t* from);

// The batch checksum of a body that arrives bit by bit, its buffers one behind the other.
class BodyChecksum {
 public:
  // `message` must be Aligned(), and outlive this with `body`.
  BodyChecksum(const IpcMessage& message, const uint8_t* body)
      : message_(message), body_(body), crc_(CrcOfNodes(message.rows, message.nodes)) {}

  // Bytes [0, end) of the body are there.
  void Advance(int64_t end);
  // The whole body is there.
  uint32_t Finish() {
    Advance(message_.body_length);
    return crc_;
  }

 private:
  const IpcMessage& message_;
  const uint8_t* body_;
  uint32_t crc_;
  size_t buffer_ = 0;
  int64_t done_ = 0;  // bytes of that buffer
  bool begun_ = false;
};

}  // namespace flightbridge::segment
