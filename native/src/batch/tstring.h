// Strings as TensorFlow has them in its tensors, written by who assembles a batch: the op then
// hands them out where they lie, and copies nothing.
//
// TensorFlow's C API calls the type TF_TString (tensorflow/core/platform/ctstring_internal.h): 24
// bytes that hold up to 22 characters themselves, or say where more of them are. The lowest two
// bits of the first byte tell which.
#pragma once

#include <cstdint>
#include <cstring>

namespace flightbridge::batch {

class TString {
 public:
  static constexpr int64_t kMostInside = 22;

  // `size` characters at `at`, a NUL behind them.
  void PointTo(const uint8_t* at, int64_t size) {
    // Word by word: what is stored in parts cannot be loaded as a whole without a wait.
    words_[0] = static_cast<uint64_t>(size) << 2 | kLarge;
    words_[1] = static_cast<uint64_t>(size);
    words_[2] = reinterpret_cast<uintptr_t>(at);
  }
  // A copy of up to kMostInside characters; as many may be read at `from` where `whole`.
  void Hold(const uint8_t* from, int64_t size, bool whole) {
    auto* const bytes = reinterpret_cast<uint8_t*>(words_);
    if (whole) {
      std::memcpy(bytes + 1, from, kMostInside);
    } else if (size > 0) {
      std::memcpy(bytes + 1, from, static_cast<size_t>(size));
    }
    bytes[1 + size] = 0;  // what lies behind it means nothing
    bytes[0] = static_cast<uint8_t>(size << 2 | kSmall);
  }

 private:
  static constexpr uint64_t kSmall = 0;
  static constexpr uint64_t kLarge = 1;

  uint64_t words_[3];
};
static_assert(sizeof(TString) == 24);

}  // namespace flightbridge::batch
