// How numbers look in messages.
#pragma once

#include <cstdint>
#include <string>

namespace flightbridge {

// "512 B", "1.5 KiB", "512.0 MiB": as flightbridge.config.format_bytes.
std::string FormatBytes(int64_t bytes);

}  // namespace flightbridge
