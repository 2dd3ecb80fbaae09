// The data of one staged attempt, and of a partition once that attempt is committed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/pick_index.h"
#include "segment/segment.h"

namespace flightbridge::feed {

class PartitionStatistics;

// One IPC message (record batch or dictionary) in a segment, exactly as it is sent to readers.
struct StoredMessage {
  bool is_dictionary = false;
  int64_t rows = 0;                         // 0 for dictionaries
  int64_t row_begin = 0;                    // first row, within the partition
  uint32_t crc32c = 0;                      // batch checksum; see segment/checksum.h
  std::shared_ptr<arrow::Buffer> metadata;  // the flatbuffer Message, inside the segment
  std::shared_ptr<arrow::Buffer> body;      // each buffer of it 64-byte aligned, in the segment
};

// Which bodies were verified since they last came back from disk: for each message the count of
// its segment's loads then. What was written in this run is good at count 0.
class VerifiedFlags {
 public:
  explicit VerifiedFlags(size_t messages) : loads_(messages) {}
  bool Get(size_t i, uint32_t loads) const {
    return loads_[i].load(std::memory_order_acquire) == loads;
  }
  void Set(size_t i, uint32_t loads) { loads_[i].store(loads, std::memory_order_release); }

 private:
  std::vector<std::atomic<uint32_t>> loads_;
};

// Immutable and thread-safe.
struct Partition {
  std::string feed;
  int64_t partition = 0;
  int64_t attempt = 0;
  int64_t rows = 0;
  int64_t bytes = 0;  // metadata and body bytes stored
  int64_t batches = 0;
  uint32_t crc32c = 0;     // over the batch checksums, see PutEnd
  bool released = false;   // its rows are gone: no messages, no segments
  int64_t generation = 0;  // of a feed that grows, or grew: what it came with, from 1
  std::shared_ptr<arrow::Schema> schema;
  std::vector<StoredMessage> messages;        // in stream order, dictionaries before their users
  std::vector<segment::SegmentRef> segments;  // where they lie
  std::shared_ptr<VerifiedFlags> verified;    // null until the attempt is whole
  std::shared_ptr<PickIndex> index;           // likewise
  std::shared_ptr<PartitionStatistics> statistics;  // null until it is staged

  // Decodes messages[i] (a record batch) without copying: its buffers lie in the segment.
  // DATA_LOSS names the partition where the bytes are not those that were written.
  arrow::Result<std::shared_ptr<arrow::RecordBatch>> Decode(size_t i) const;
  // Brings messages[i] into memory, and verifies it unless that was done since it came back from
  // disk. For those that send it as it is. DATA_LOSS as Decode().
  arrow::Status Verify(size_t i) const;
  // The dictionary messages that messages[i] needs, verified, in stream order: the latest of every
  // id.
  arrow::Result<std::vector<size_t>> DictionariesFor(size_t i) const;
  // Index of the record batch that holds `row` (0 <= row < rows).
  size_t FindBatch(int64_t row) const;

 private:
  // Starts reading the segment behind `current`, which messages[i] lies in.
  void ReadAhead(size_t i, const segment::Segment* current) const;
};

}  // namespace flightbridge::feed
