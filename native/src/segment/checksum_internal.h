// Parts of the batch checksum, for those that copy and checksum in one pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "segment/ipc_message.h"

namespace flightbridge::segment {

// The batch checksum up to its first buffer.
uint32_t CrcOfNodes(int64_t rows, std::span<const FieldNode> nodes);
// Extends it by the size of a buffer; its bytes follow.
uint32_t CrcOfSize(uint32_t crc, int64_t bytes);

}  // namespace flightbridge::segment
