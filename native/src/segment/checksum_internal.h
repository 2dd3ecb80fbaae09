// Parts of the batch checksum, for those that copy and checksum in one pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "segment/ipc_message.h"

namespace flightbridge::segment {

// The table version of Crc32c(), whatever the processor has.
uint32_t Crc32cTable(uint32_t crc, const void* data, size_t bytes);

// The batch checksum up to its first buffer.
uint32_t CrcOfNodes(int64_t rows, std::span<const FieldNode> nodes);
// Extends it by the size of a buffer; its bytes follow.
uint32_t CrcOfSize(uint32_t crc, int64_t bytes);

}  // namespace flightbridge::segment
