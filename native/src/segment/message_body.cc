#include "segment/message_body.h"

#include <algorithm>
#include <cstring>

#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/segment.h"

namespace flightbridge::segment {
namespace {

// Recycled pages hold another feed's bytes.
void ZeroBehind(const BufferRange& range, uint8_t* body) {
  std::memset(body + range.offset + range.length, 0,
              static_cast<size_t>(RoundUp(range.length) - range.length));
}

// `data_of(i)` is where the bytes of buffer i are.
template <typename DataOf>
uint32_t Copy(const IpcMessage& message, uint8_t* to, const DataOf& data_of) {
  uint32_t crc = CrcOfNodes(message.rows, message.nodes);
  for (size_t i = 0; i < message.buffers.size(); ++i) {
    const BufferRange& range = message.buffers[i];
    crc = CrcOfSize(crc, range.length);
    if (range.length == 0) continue;
    crc = CopyCrc32c(crc, to + range.offset, data_of(i), static_cast<size_t>(range.length));
    ZeroBehind(range, to);
  }
  return crc;
}

}  // namespace

arrow::Status CheckBuffers(const IpcMessage& message, BodyBuffers buffers) {
  if (buffers.size() != message.buffers.size()) {
    return Error(Code::kInternal, "an IPC message announces ", message.buffers.size(),
                 " buffers and has ", buffers.size());
  }
  for (size_t i = 0; i < buffers.size(); ++i) {
    const int64_t size = buffers[i] == nullptr ? 0 : buffers[i]->size();
    if (size != message.buffers[i].length) {
      return Error(Code::kInternal, "buffer ", i, " of an IPC message announces ",
                   message.buffers[i].length, " bytes and has ", size);
    }
  }
  return {};
}

uint32_t BodyCrc32c(const IpcMessage& message, BodyBuffers buffers) {
  uint32_t crc = CrcOfNodes(message.rows, message.nodes);
  for (size_t i = 0; i < message.buffers.size(); ++i) {
    const int64_t bytes = message.buffers[i].length;
    crc = CrcOfSize(crc, bytes);
    if (bytes > 0) crc = Crc32c(crc, buffers[i]->data(), static_cast<size_t>(bytes));
  }
  return crc;
}

uint32_t CopyBodyCrc32c(const IpcMessage& message, uint8_t* to, BodyBuffers buffers) {
  return Copy(message, to, [&](size_t i) { return buffers[i]->data(); });
}

uint32_t CopyBodyCrc32c(const IpcMessage& message, uint8_t* to, const uint8_t* from) {
  return Copy(message, to, [&](size_t i) { return from + message.buffers[i].offset; });
}

void ZeroPadding(const IpcMessage& message, uint8_t* body) {
  for (const BufferRange& range : message.buffers) ZeroBehind(range, body);
}

void BodyChecksum::Advance(int64_t end) {
  while (buffer_ < message_.buffers.size()) {
    const BufferRange& range = message_.buffers[buffer_];
    if (!begun_) {
      crc_ = CrcOfSize(crc_, range.length);
      begun_ = true;
    }
    const int64_t here = std::min(range.length, std::max<int64_t>(end - range.offset, 0));
    if (here > done_) {
      crc_ = Crc32c(crc_, body_ + range.offset + done_, static_cast<size_t>(here - done_));
      done_ = here;
    }
    if (done_ < range.length) return;
    ++buffer_;
    done_ = 0;
    begun_ = false;
  }
}

}  // namespace flightbridge::segment
