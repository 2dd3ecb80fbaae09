#include "channel/frame.h"

#include <cstddef>

#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::channel {

void Header::Seal() { header_crc32c = segment::Crc32c(0, this, offsetof(Header, header_crc32c)); }

arrow::Status Header::Check(int64_t max_metadata_bytes, int64_t max_body_bytes) const {
  if (magic != kMagic) {
    return Error(Code::kInvalidArgument,
                 "what came over the data channel does not begin like a frame: is something other "
                 "than a FlightBridge client connected to the data port?");
  }
  if (header_crc32c != segment::Crc32c(0, this, offsetof(Header, header_crc32c))) {
    return Error(Code::kDataLoss, "a frame header of the data channel is damaged");
  }
  if (metadata_bytes > max_metadata_bytes) {
    return Error(Code::kInvalidArgument, "a frame of the data channel has ", metadata_bytes,
                 " bytes of metadata; at most ", max_metadata_bytes, " are allowed");
  }
  if (body_bytes < 0) {
    return Error(Code::kInvalidArgument, "a frame of the data channel has ", body_bytes,
                 " bytes of body");
  }
  if (body_bytes > max_body_bytes) {
    return Error(Code::kResourceExhausted, "a record batch of ", body_bytes,
                 " bytes is larger than max_batch_bytes, ", max_body_bytes,
                 ": send smaller batches, or start the server with a larger max_batch_bytes");
  }
  return {};
}

}  // namespace flightbridge::channel
