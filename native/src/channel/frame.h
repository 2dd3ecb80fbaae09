// How the data channel frames what it carries: a fixed header and metadata and, for an Arrow
// message, a body and a trailer with its checksum, which the sender knows only once it has sent the
// body. docs/protocol.md has the dialogue.
#pragma once

#include <cstdint>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

namespace flightbridge::channel {

inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kKeyBytes = 32;

enum class Kind : uint16_t {
  kHello = 1,  // client: ChannelHello
  kWelcome,    // server
  kPut,        // client: ChannelPut
  kReady,      // server: ChannelReady
  kMessage,    // either: one Arrow IPC message (record batch or dictionary), metadata and body
  kAck,        // server: ChannelAck
  kEnd,        // client: PutEnd; server, after the last message of a get: nothing
  kResult,     // server: PutResult
  kGet,        // client: ChannelGet
  kSchema,     // server: Arrow IPC schema message
  kError,      // server: ChannelError
  kRing,     // client: the memory, passed beside it, in which bodies of kMessage lie; or the first
             // bytes of the one that the server has lent
  kRelease,  // client: nothing refers to the mapped message `sequence` any more
};

// Where the body of a kMessage is.
enum Flags : uint16_t {
  kInline = 0,     // behind the metadata
  kInRing = 1,     // in the sender's ring, at `place`
  kInSegment = 2,  // in the server's chunk `chunk`, at `place`; the metadata is inline
  kWithChunk = 4,  // the descriptor of that chunk is passed with this frame
};

// Little-endian, as on every machine this builds for.
struct Header {
  static constexpr uint32_t kMagic = 0x31434246;  // "FBC1"

  uint32_t magic = kMagic;
  uint16_t kind = 0;
  uint16_t flags = 0;
  uint32_t metadata_bytes = 0;
  uint32_t metadata_crc32c = 0;
  int64_t body_bytes = 0;
  uint64_t sequence = 0;   // of a put: number of the message in the attempt; of a mapped message:
                           // what names it in its kRelease
  int64_t partition = -1;  // of a get, and of record batches only
  int64_t row_begin = 0;   // likewise; of a mapped message: the first row asked for
  int64_t rows = 0;        // of a mapped message: rows asked for
  int64_t first_row = 0;   // of a mapped message: its own first row, asked for or not
  uint64_t chunk = 0;
  int64_t place = 0;
  uint32_t reserved2 = 0;
  uint32_t header_crc32c = 0;  // of all of the above

  Kind what() const { return static_cast<Kind>(kind); }
  void Seal();
  // DATA_LOSS for a damaged header, INVALID_ARGUMENT for one that no FlightBridge peer sends.
  arrow::Status Check(int64_t max_metadata_bytes, int64_t max_body_bytes) const;
};
static_assert(sizeof(Header) == 88);

// Behind every kMessage.
struct Trailer {
  uint32_t crc32c = 0;  // the batch checksum
  uint32_t reserved = 0;
};
static_assert(sizeof(Trailer) == 8);

// No honest control message comes near it; the metadata of a batch has 16 bytes per buffer.
inline constexpr int64_t kMaxMetadataBytes = 16 << 20;

}  // namespace flightbridge::channel
