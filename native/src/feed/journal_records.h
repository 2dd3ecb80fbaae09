// Between partitions and their records in the journal. Private to feed/.
#pragma once

#include <memory>

#include "feed/partition.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::feed {

inline proto::JournalAttempt AttemptRecord(uint64_t job, const Partition& partition) {
  proto::JournalAttempt record;
  record.job = job;
  record.partition = partition.partition;
  record.attempt = partition.attempt;
  record.rows = partition.rows;
  record.bytes = partition.bytes;
  record.batches = partition.batches;
  record.crc32c = partition.crc32c;
  record.generation = partition.generation;
  for (const segment::SegmentRef& ref : partition.segments) {
    record.segments.push_back({ref.chunk, ref.offset, ref.used});
  }
  return record;
}

// Everything but the messages, which stay in their segments until these are mapped.
inline std::shared_ptr<Partition> PartitionOf(const proto::JournalAttempt& record,
                                              const std::string& feed,
                                              std::shared_ptr<arrow::Schema> schema) {
  auto partition = std::make_shared<Partition>();
  partition->feed = feed;
  partition->partition = record.partition;
  partition->attempt = record.attempt;
  partition->rows = record.rows;
  partition->bytes = record.bytes;
  partition->batches = record.batches;
  partition->crc32c = record.crc32c;
  partition->generation = record.generation;
  partition->schema = std::move(schema);
  for (const proto::JournalSegment& segment : record.segments) {
    partition->segments.push_back({segment.chunk, segment.offset, segment.used});
  }
  return partition;
}

}  // namespace flightbridge::feed
