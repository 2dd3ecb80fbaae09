#include "feed/stored_record.h"

#include <cstddef>
#include <cstring>

#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/ipc_message.h"

namespace flightbridge::feed {

uint32_t StoredHeader::ComputeCrc() const {
  return segment::Crc32c(0, this, offsetof(StoredHeader, header_crc32c));
}

arrow::Result<StoredMessage> ReadStored(segment::Segment& segment, int64_t offset, int64_t sequence,
                                        int64_t* next) {
  const auto damaged = [&](const char* what) {
    return Error(Code::kDataLoss, "segment ", segment.ref().chunk, ", offset ",
                 segment.ref().offset + offset, ": ", what);
  };
  const int64_t room = segment.used() - offset;
  if (room < static_cast<int64_t>(sizeof(StoredHeader))) return damaged("a record is cut short");
  StoredHeader header;
  std::memcpy(&header, segment.data() + offset, sizeof(header));
  if (header.magic != StoredHeader::kMagic || header.header_crc32c != header.ComputeCrc()) {
    return damaged("a record header is damaged");
  }
  if (header.sequence != sequence) return damaged("a record is out of order");
  if (header.body_bytes < 0 || header.body_bytes > room || header.record_bytes() > room) {
    return damaged("a record is longer than its segment");
  }
  const int64_t metadata_at = offset + static_cast<int64_t>(sizeof(header));
  const int64_t body_at = metadata_at + segment::RoundUp(header.metadata_bytes);
  if (segment::Crc32c(0, segment.data() + metadata_at, header.metadata_bytes) !=
      header.metadata_crc32c) {
    return damaged("the metadata of a record is damaged");
  }
  StoredMessage message;
  message.is_dictionary = header.kind == StoredHeader::kDictionary;
  message.rows = header.rows;
  message.row_begin = header.row_begin;
  message.crc32c = header.crc32c;
  message.metadata = segment.Slice(metadata_at, header.metadata_bytes);
  message.body = segment.Slice(body_at, header.body_bytes);
  *next = offset + header.record_bytes();
  return message;
}

arrow::Status VerifyBody(const StoredMessage& message) {
  ARROW_ASSIGN_OR_RAISE(const auto parsed, segment::IpcMessage::Parse(*message.metadata));
  ARROW_ASSIGN_OR_RAISE(const uint32_t crc,
                        parsed.Checksum(message.body->data(), message.body->size()));
  if (crc != message.crc32c) {
    return Error(Code::kDataLoss, "stored checksum ", message.crc32c, ", computed ", crc);
  }
  return {};
}

}  // namespace flightbridge::feed
