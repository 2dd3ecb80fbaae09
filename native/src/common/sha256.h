// SHA-256 (FIPS 180-4), for comparing secrets that are not kept in clear.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace flightbridge {

using Sha256Digest = std::array<uint8_t, 32>;

// Not for bulk data: a plain loop, about 200 MB/s.
Sha256Digest Sha256(std::string_view bytes);

// Takes the same time wherever the two differ.
bool EqualInConstantTime(const Sha256Digest& a, const Sha256Digest& b);

}  // namespace flightbridge
