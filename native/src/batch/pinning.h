// Page-locking: what makes a copy to a GPU fast. CUDA is found at run time, never linked.
#pragma once

#include <cstddef>

#include "batch/slab.h"

namespace flightbridge::batch {

// Locks pages with CUDA where this process already uses a GPU, else with mlock. kNone when
// neither works: a small RLIMIT_MEMLOCK is no error, only slower.
Pinning Pin(void* data, size_t bytes);
void Unpin(void* data, size_t bytes, Pinning pinning);

}  // namespace flightbridge::batch
