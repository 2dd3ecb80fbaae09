// Files that hold secrets: who else may read them matters.
#pragma once

#include <string>
#include <string_view>

#include <sys/stat.h>

#include <arrow/result.h>

namespace flightbridge {

// The text of a file. INVALID_ARGUMENT that begins with `what` ("token file") and the path where it
// cannot be read, is no regular file, or may be read by others than its owner and group. `found`,
// which may be null, is set as soon as it is known.
arrow::Result<std::string> ReadSecretFile(std::string_view what, const std::string& path,
                                          struct stat* found);

}  // namespace flightbridge
