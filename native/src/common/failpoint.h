// Named places where the fault tests make the process stop, stall or fail. They do not exist unless
// FB_FAILPOINTS is defined, as it is in the library that the target fb_failpoints makes (with
// LD_PRELOAD it takes the place of the one that is installed) and in no other.
//
// The environment switches them when the process starts:
//   FB_FAILPOINTS="commit.before_fsync=crash;attempt.after_journal=sleep:250;commit.before_journal=error"
// crash: SIGKILL to this process. sleep: that many milliseconds. error: the call returns INTERNAL.
#pragma once

#include <arrow/status.h>

#ifdef FB_FAILPOINTS

namespace flightbridge {
arrow::Status HitFailpoint(const char* name);
}

#define FB_FAILPOINT(name) ARROW_RETURN_NOT_OK(::flightbridge::HitFailpoint(name))
#else
#define FB_FAILPOINT(name) static_cast<void>(0)
#endif
