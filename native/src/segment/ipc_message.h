// Reads, in place, the few fields of an Arrow IPC message (a flatbuffer; Message.fbs of the Arrow
// format) that storage needs. pyarrow ships no header for the generated flatbuffer classes.
#pragma once

#include <cstdint>
#include <span>

#include <arrow/buffer.h>
#include <arrow/result.h>

namespace flightbridge::segment {

// As in the flatbuffer: org.apache.arrow.flatbuf.FieldNode and .Buffer.
struct FieldNode {
  int64_t length;
  int64_t null_count;
};
struct BufferRange {
  int64_t offset;  // from the start of the body
  int64_t length;
};

// The spans point into the parsed bytes, which must outlive this and be 8-byte aligned.
struct IpcMessage {
  bool is_dictionary = false;
  bool is_delta = false;      // dictionaries only
  int64_t dictionary_id = 0;  // dictionaries only
  int64_t rows = 0;           // of a dictionary: its values
  int64_t body_length = 0;
  bool compressed = false;
  std::span<const FieldNode> nodes;
  std::span<const BufferRange> buffers;

  // Every offset is checked, so damaged bytes give DATA_LOSS and never a stray read.
  static arrow::Result<IpcMessage> Parse(const uint8_t* data, int64_t size);
  static arrow::Result<IpcMessage> Parse(const arrow::Buffer& metadata) {
    return Parse(metadata.data(), metadata.size());
  }

  // The checksum of segment/checksum.h, over a body whose buffers lie where `buffers` says.
  // DATA_LOSS where a buffer is outside of the body.
  arrow::Result<uint32_t> Checksum(const uint8_t* body, int64_t body_size) const;
  // DATA_LOSS unless the body is laid out as AlignBuffers() does it.
  arrow::Status CheckAligned() const;
};

// Rewrites a record batch or dictionary message so that every buffer of its body starts at a
// multiple of 64 bytes (Arrow's writer aligns them to 8). Returns the new body length.
arrow::Result<int64_t> AlignBuffers(uint8_t* metadata, int64_t size);

}  // namespace flightbridge::segment
