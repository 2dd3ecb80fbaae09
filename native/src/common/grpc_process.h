// gRPC's threads and locks do not survive a fork, and its first call in a child then waits for
// ever.
#pragma once

#include <arrow/status.h>

namespace flightbridge {

// To be called before gRPC is used. FAILED_PRECONDITION where a parent of this process had used it
// before the fork.
arrow::Status ClaimGrpc();

}  // namespace flightbridge
