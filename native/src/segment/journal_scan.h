// Reads the bytes of a journal. Pure, so that it can be fuzzed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

namespace flightbridge::segment {

inline constexpr std::string_view kJournalMagic = "FlightBridgeJ01\n";
inline constexpr uint32_t kMaxRecordBytes = 1u << 30;

// What precedes every payload; little-endian.
struct RecordFrame {
  uint32_t length = 0;
  uint32_t crc32c = 0;  // of length, durable and payload
  uint64_t durable = 0;

  uint32_t ComputeCrc(std::string_view payload) const;
};
static_assert(sizeof(RecordFrame) == 16);

// Calls `replay` for every record and returns the offset behind the last good one; 0 where not
// even the magic is whole. What follows it is a torn tail: a record that the file ends
// inside, or that misses blocks (zeros). DATA_LOSS names the offset of damage: a record that
// acknowledged records follow, or the last one where all its bytes are there and wrong. An error of
// `replay` is passed on with the record's offset.
arrow::Result<int64_t> ScanJournal(
    std::string_view bytes, const std::string& path,
    const std::function<arrow::Status(std::string_view payload)>& replay);

}  // namespace flightbridge::segment
