// The server's segments, as a client on the same machine sees them: read-only mappings, and loans
// of single messages in them.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include <arrow/buffer.h>
#include <arrow/result.h>

#include "channel/socket.h"

namespace flightbridge::client {

struct DataChannel;

// Of one data channel; used by the stream that has it in hands.
class MappedChunks {
 public:
  // Maps a chunk that the server passed.
  arrow::Status Add(uint64_t chunk, channel::Fd fd);
  // The bytes as a buffer, which tells the server when its last owner lets go. It keeps the channel
  // open until then: to the server its end means that nothing is mapped any more.
  arrow::Result<std::shared_ptr<arrow::Buffer>> Borrow(uint64_t chunk, int64_t place, int64_t bytes,
                                                       std::shared_ptr<DataChannel> lender,
                                                       uint64_t loan);

 private:
  class Mapping;
  std::unordered_map<uint64_t, std::shared_ptr<Mapping>> chunks_;
};

}  // namespace flightbridge::client
