// When two schemas are the same to a feed, and the hashes that identify schema and content.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/result.h>
#include <arrow/type.h>

#include "feed/partition.h"
#include "flightbridge/proto/commands.h"

namespace flightbridge::feed {

// A 64-bit hash that is the same on every machine and in every release (FNV-1a, then mixed).
class Hash64 {
 public:
  Hash64& Add(std::string_view bytes);  // with its length, so that neighbours cannot merge
  Hash64& Add(uint64_t value);
  uint64_t Value() const;

 private:
  uint64_t state_ = 0xcbf29ce484222325;
};

// A type in words: everything that makes two types differ, and nothing else (names inside lists
// and maps do not, as in arrow::Schema::Equals).
std::string DescribeType(const arrow::DataType& type);

// Of names, types and nullability; metadata is ignored. Never 0.
uint64_t SchemaHash(const arrow::Schema& schema);

// Of the schema and of (number, rows, checksum) of every partition in order. Never 0.
uint64_t Fingerprint(uint64_t schema_hash,
                     const std::vector<std::shared_ptr<const Partition>>& partitions);

uint64_t Fingerprint(uint64_t schema_hash, const std::vector<proto::PartitionInfo>& partitions);

// Empty where the schemas are the same, else the first difference: "field 'x' is int64 here and
// string there", with these two words for them.
std::string SchemaDifference(const arrow::Schema& left, std::string_view left_place,
                             const arrow::Schema& right, std::string_view right_place);

// To and from an encapsulated Arrow IPC schema message.
arrow::Result<std::string> EncodeSchema(const arrow::Schema& schema);
arrow::Result<std::shared_ptr<arrow::Schema>> DecodeSchema(std::string_view bytes);

}  // namespace flightbridge::feed
