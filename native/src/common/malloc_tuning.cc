#include "common/malloc_tuning.h"

#include <cstdlib>  // defines __GLIBC__
#include <mutex>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace flightbridge {

void KeepFreedMemory() {
#ifdef __GLIBC__
  static std::once_flag once;
  std::call_once(once, [] {
    ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  });
#endif
}

}  // namespace flightbridge
