#include "segment/checksum.h"

#include <array>
#include <cstring>

#include <arrow/ipc/writer.h>

#include "segment/checksum_internal.h"
#include "segment/ipc_message.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace flightbridge::segment {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli, bit-reflected

// Three lanes hide the latency of three cycles of the instruction; a stripe is three of these,
// nearly a block of CopyCrc32c().
constexpr size_t kLongLane = 1360;

// table[0] advances a CRC by one byte; table[k] by one byte followed by k zero bytes.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t i = 0; i < 256; ++i) {
      const uint32_t previous = tables[k - 1][i];
      tables[k][i] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint64_t Load64(const uint8_t* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// These work on the inverted ("raw") register.
uint32_t RawTable(uint32_t crc, const uint8_t* data, size_t bytes) {
  for (; bytes >= 8; data += 8, bytes -= 8) {
    const uint64_t word = Load64(data) ^ crc;
    crc = 0;
    for (int i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; bytes > 0; ++data, --bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__) || defined(__aarch64__)

// Advances a raw CRC over `Bytes` zero bytes: a linear map over GF(2), so four byte-indexed tables.
template <size_t Bytes>
struct ZeroShift {
  std::array<std::array<uint32_t, 256>, 4> table{};

  constexpr ZeroShift() {
    std::array<uint32_t, 32> column{};  // image of each single bit
    for (int bit = 0; bit < 32; ++bit) {
      uint32_t crc = 1u << bit;
      for (size_t i = 0; i < Bytes; ++i) crc = (crc >> 8) ^ kTables[0][crc & 0xff];
      column[bit] = crc;
    }
    for (size_t byte = 0; byte < 4; ++byte) {
      for (uint32_t value = 0; value < 256; ++value) {
        uint32_t image = 0;
        for (int bit = 0; bit < 8; ++bit) {
          if (value >> bit & 1) image ^= column[8 * byte + bit];
        }
        table[byte][value] = image;
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
           table[3][crc >> 24];
  }
};

constexpr size_t kShortLane = 168;
const ZeroShift<kLongLane> kShiftLong;
const ZeroShift<kShortLane> kShiftShort;

#if defined(__x86_64__)
#define FB_CRC_TARGET __attribute__((target("sse4.2")))
FB_CRC_TARGET inline uint64_t Step64(uint64_t crc, uint64_t word) {
  return _mm_crc32_u64(crc, word);
}
FB_CRC_TARGET inline uint64_t Step8(uint64_t crc, uint8_t byte) {
  return _mm_crc32_u8(static_cast<uint32_t>(crc), byte);
}
bool HasInstruction() { return __builtin_cpu_supports("sse4.2"); }
#else
#define FB_CRC_TARGET __attribute__((target("+crc")))
FB_CRC_TARGET inline uint64_t Step64(uint64_t crc, uint64_t word) {
  return __crc32cd(static_cast<uint32_t>(crc), word);
}
FB_CRC_TARGET inline uint64_t Step8(uint64_t crc, uint8_t byte) {
  return __crc32cb(static_cast<uint32_t>(crc), byte);
}
bool HasInstruction() { return (getauxval(AT_HWCAP) & (1 << 7)) != 0; }  // HWCAP_CRC32
#endif

template <size_t Lane, typename Shift>
FB_CRC_TARGET uint64_t Stripes(uint64_t crc, const uint8_t*& data, size_t& bytes,
                               const Shift& shift) {
  while (bytes >= 3 * Lane) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < Lane; i += 8) {
      crc = Step64(crc, Load64(data + i));
      second = Step64(second, Load64(data + Lane + i));
      third = Step64(third, Load64(data + 2 * Lane + i));
    }
    crc = shift(static_cast<uint32_t>(crc)) ^ second;
    crc = shift(static_cast<uint32_t>(crc)) ^ third;
    data += 3 * Lane;
    bytes -= 3 * Lane;
  }
  return crc;
}

FB_CRC_TARGET uint32_t RawInstruction(uint32_t start, const uint8_t* data, size_t bytes) {
  uint64_t crc = Stripes<kLongLane>(start, data, bytes, kShiftLong);
  crc = Stripes<kShortLane>(crc, data, bytes, kShiftShort);
  for (; bytes >= 8; data += 8, bytes -= 8) crc = Step64(crc, Load64(data));
  for (; bytes > 0; ++data, --bytes) crc = Step8(crc, *data);
  return static_cast<uint32_t>(crc);
}

#else
bool HasInstruction() { return false; }
uint32_t RawInstruction(uint32_t crc, const uint8_t* data, size_t bytes) {
  return RawTable(crc, data, bytes);
}
#endif

using RawFunction = uint32_t (*)(uint32_t, const uint8_t*, size_t);

RawFunction Raw() {
  static const RawFunction function = HasInstruction() ? RawInstruction : RawTable;
  return function;
}

#if defined(__x86_64__)
// Stores past the cache: the target is read much later, and fetching its lines first would cost
// half as much memory traffic again (7 against 4 GB/s, beside memcpy's 4.5, on the build machine).
constexpr size_t kStreamFromBytes = 32 << 10;

bool CanStream(const uint8_t* to, size_t bytes) {
  return bytes >= kStreamFromBytes && reinterpret_cast<uintptr_t>(to) % 16 == 0;
}

void Stream(uint8_t* to, const uint8_t* from, size_t bytes) {
  for (; bytes >= 64; to += 64, from += 64, bytes -= 64) {
    const auto* source = reinterpret_cast<const __m128i*>(from);
    auto* target = reinterpret_cast<__m128i*>(to);
    const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(target, a);
    _mm_stream_si128(target + 1, b);
    _mm_stream_si128(target + 2, c);
    _mm_stream_si128(target + 3, d);
  }
  std::memcpy(to, from, bytes);
}

// Streaming stores are not ordered with later ones, such as the release of a lock.
void StreamDone() { _mm_sfence(); }
#else
bool CanStream(const uint8_t*, size_t) { return false; }
void Stream(uint8_t* to, const uint8_t* from, size_t bytes) { std::memcpy(to, from, bytes); }
void StreamDone() {}
#endif

template <typename T>
uint32_t CrcOfValue(uint32_t crc, T value) {
  static_assert(std::endian::native == std::endian::little);
  return Crc32c(crc, &value, sizeof(value));
}

}  // namespace

uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes) {
  return ~Raw()(~crc, static_cast<const uint8_t*>(data), bytes);
}

uint32_t Crc32cTable(uint32_t crc, const void* data, size_t bytes) {
  return ~RawTable(~crc, static_cast<const uint8_t*>(data), bytes);
}

uint32_t CopyCrc32c(uint32_t crc, void* to, const void* from, size_t bytes) {
  // A block stays in the first-level cache between the checksum that loads it and the copy.
  // Whole cache lines, so that streaming stores never write half of one.
  constexpr size_t kBlock = 4096;
  const RawFunction raw = Raw();
  const auto* source = static_cast<const uint8_t*>(from);
  auto* target = static_cast<uint8_t*>(to);
  const bool stream = CanStream(target, bytes);
  crc = ~crc;
  while (bytes > 0) {
    const size_t block = bytes < kBlock ? bytes : kBlock;
    crc = raw(crc, source, block);
    if (stream) {
      Stream(target, source, block);
    } else {
      std::memcpy(target, source, block);
    }
    source += block;
    target += block;
    bytes -= block;
  }
  if (stream) StreamDone();
  return ~crc;
}

uint32_t CrcOfNodes(int64_t rows, std::span<const FieldNode> nodes) {
  uint32_t crc = CrcOfValue(0, rows);
  for (const FieldNode& node : nodes) {
    crc = CrcOfValue(crc, node.length);
    crc = CrcOfValue(crc, node.null_count);
  }
  return crc;
}

uint32_t CrcOfSize(uint32_t crc, int64_t bytes) { return CrcOfValue(crc, bytes); }

arrow::Result<uint32_t> BatchChecksum(const arrow::RecordBatch& batch) {
  arrow::ipc::IpcPayload payload;
  ARROW_RETURN_NOT_OK(
      arrow::ipc::GetRecordBatchPayload(batch, arrow::ipc::IpcWriteOptions::Defaults(), &payload));
  ARROW_ASSIGN_OR_RAISE(IpcMessage message, IpcMessage::Parse(*payload.metadata));
  uint32_t crc = CrcOfNodes(message.rows, message.nodes);
  for (const auto& buffer : payload.body_buffers) {
    const int64_t size = buffer == nullptr ? 0 : buffer->size();
    crc = CrcOfSize(crc, size);
    if (size > 0) crc = Crc32c(crc, buffer->data(), static_cast<size_t>(size));
  }
  return crc;
}

uint32_t ChainChecksum(uint32_t chain, uint32_t batch_crc32c) {
  const uint8_t bytes[4] = {
      static_cast<uint8_t>(batch_crc32c), static_cast<uint8_t>(batch_crc32c >> 8),
      static_cast<uint8_t>(batch_crc32c >> 16), static_cast<uint8_t>(batch_crc32c >> 24)};
  return Crc32c(chain, bytes, sizeof(bytes));
}

}  // namespace flightbridge::segment
