// CRC32C (Castagnoli) in the fastest way this processor has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace flightbridge::segment {

// Works on the inverted ("raw") register: CRC32C is ~function(~crc, data, bytes).
using CrcFunction = uint32_t (*)(uint32_t, const uint8_t*, size_t);

// The fastest.
CrcFunction RawCrc32c();

// Also copies, in the same pass and past the cache, to a multiple of 64.
using CrcCopyFunction = uint32_t (*)(uint32_t, const uint8_t*, size_t, uint8_t* to);
// Null where this processor has no faster way than block by block.
CrcCopyFunction RawCopyCrc32c();

#ifdef FB_CHECKSUM_SWITCH  // fb_server_bench only: what checksums cost
// Off: every checksum is 0 and agrees with every other; copies go the same way.
void SwitchChecksums(bool on);
#endif

struct CrcImplementation {
  const char* name;
  CrcFunction function;
};
// All that run here, the fastest last.
std::vector<CrcImplementation> CrcImplementations();

}  // namespace flightbridge::segment
