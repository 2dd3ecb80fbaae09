// CRC32C (Castagnoli, RFC 3720 appendix B.4), by the processor's instruction where it has one, and
// the batch checksum built on it.
#pragma once

#include <cstddef>
#include <cstdint>

#include <arrow/record_batch.h>
#include <arrow/result.h>

#include "flightbridge/export.h"

namespace flightbridge::segment {

// Extends `crc` (0 to start) by `bytes`. Values are final (already inverted), so they chain.
FB_EXPORT uint32_t Crc32c(uint32_t crc, const void* data, size_t bytes);
// Copies and checksums in one pass over memory.
FB_EXPORT uint32_t CopyCrc32c(uint32_t crc, void* to, const void* from, size_t bytes);

// The checksum of a record batch, independent of padding and alignment, so that a sender and a
// receiver agree. CRC32C over, in order, all little-endian:
//   i64 row count;
//   for each field node, depth first:  i64 length, i64 null count;
//   for each body buffer, in IPC order: i64 size, then its bytes.
// Nodes and buffers are those of the Arrow IPC RecordBatch message; an absent validity bitmap has
// size 0. Dictionaries are not part of it.
FB_EXPORT arrow::Result<uint32_t> BatchChecksum(const arrow::RecordBatch& batch);

// The checksum of an attempt, PutEnd.crc32c: `chain` (0 to start) extended by the checksum of its
// next batch, as 4 little-endian bytes on any machine.
FB_EXPORT uint32_t ChainChecksum(uint32_t chain, uint32_t batch_crc32c);

}  // namespace flightbridge::segment
