#pragma once

// Everything is hidden unless it says FB_EXPORT: the library shares its process with pyarrow and
// TensorFlow, and no symbol of ours may meet one of theirs.
#define FB_EXPORT __attribute__((visibility("default")))
