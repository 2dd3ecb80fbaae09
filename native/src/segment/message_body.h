// The body of an IPC message: its buffers copied to where they belong, and the batch checksum made
// in the same pass over memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <arrow/buffer.h>
#include <arrow/status.h>

#include "segment/checksum_internal.h"
#include "segment/ipc_message.h"

namespace flightbridge::segment {

// As Arrow's writer gives them: in the order of IpcMessage::buffers, nullptr for one without bytes.
using BodyBuffers = std::span<const std::shared_ptr<arrow::Buffer>>;

// INTERNAL unless they are as many, and as long, as the metadata says. The functions below rely on
// it.
arrow::Status CheckBuffers(const IpcMessage& message, BodyBuffers buffers);
// The batch checksum.
uint32_t BodyCrc32c(const IpcMessage& message, BodyBuffers buffers);
// Copies them to where the metadata says, which must be aligned (IpcMessage::CheckAligned()), zeros
// between them; returns the batch checksum.
uint32_t CopyBodyCrc32c(const IpcMessage& message, uint8_t* to, BodyBuffers buffers);
// Likewise a body that is laid out already.
uint32_t CopyBodyCrc32c(const IpcMessage& message, uint8_t* to, const uint8_t* from);
// What lies between the buffers is sent to readers, and is in no checksum.
void ZeroPadding(const IpcMessage& message, uint8_t* body);

// The batch checksum of a body that arrives bit by bit, its buffers one behind the other.
class BodyChecksum {
 public:
  // `message` must be aligned, and outlive this with `body`.
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
