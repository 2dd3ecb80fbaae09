// Certificates and keys from PEM files.
#pragma once

#include <string>
#include <string_view>

#include <arrow/result.h>

namespace flightbridge {

// The text of a PEM file. INVALID_ARGUMENT names `setting`, the path and what is wrong: not there,
// not readable, or without a block of the `kind` ("CERTIFICATE", "PRIVATE KEY").
arrow::Result<std::string> ReadPemFile(std::string_view setting, const std::string& path,
                                       std::string_view kind);

}  // namespace flightbridge
