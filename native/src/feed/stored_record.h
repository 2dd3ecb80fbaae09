// How one IPC message lies in a segment: this header, the flatbuffer metadata and the body, each
// at a multiple of 64 bytes, zeros between them. A segment can be checked with nothing but itself.
#pragma once

#include <cstdint>

#include <arrow/result.h>
#include <arrow/status.h>

#include "feed/partition.h"
#include "segment/segment.h"

namespace flightbridge::feed {

// Little-endian, as on every machine this builds for.
struct StoredHeader {
  static constexpr uint32_t kMagic = 0x314d4246;  // "FBM1"
  enum Kind : uint32_t { kRecordBatch = 1, kDictionary = 2 };

  uint32_t magic = kMagic;
  uint32_t kind = kRecordBatch;
  uint32_t metadata_bytes = 0;
  uint32_t metadata_crc32c = 0;
  int64_t body_bytes = 0;
  int64_t rows = 0;
  int64_t row_begin = 0;
  int64_t sequence = 0;  // of the message within its attempt
  uint32_t crc32c = 0;   // batch checksum: nodes and buffers
  uint32_t reserved = 0;
  uint32_t reserved2 = 0;
  uint32_t header_crc32c = 0;  // of all of the above

  uint32_t ComputeCrc() const;
  int64_t record_bytes() const {
    return sizeof(StoredHeader) + segment::RoundUp(metadata_bytes) + segment::RoundUp(body_bytes);
  }
};
static_assert(sizeof(StoredHeader) == 64);

// Reads the record at `offset` of a segment: header and metadata are verified, the body is not.
// Sets `next` to the offset of the next record. DATA_LOSS names what is wrong.
arrow::Result<StoredMessage> ReadStored(segment::Segment& segment, int64_t offset, int64_t sequence,
                                        int64_t* next);

// Verifies the body against the message's checksum.
arrow::Status VerifyBody(const StoredMessage& message);

}  // namespace flightbridge::feed
