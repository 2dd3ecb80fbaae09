// Reads an fb_column's tstrings by what TensorFlow's ctstring_internal.h says of TF_TString, and
// not by what the core writes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "flightbridge/c_api.h"

namespace flightbridge::batch {

inline std::string TStringAt(const fb_column& column, int64_t i) {
  const auto* const at = static_cast<const uint8_t*>(column.tstrings) + 24 * i;
  if ((at[0] & 3) == 0) {  // small: the size in six bits, then the characters and a NUL
    const size_t size = at[0] >> 2;
    EXPECT_LE(size, 22u);
    EXPECT_EQ(at[1 + size], 0);
    return {reinterpret_cast<const char*>(at) + 1, size};
  }
  EXPECT_EQ(at[0] & 3, 1);  // large: size, capacity and pointer, a NUL behind the characters
  uint64_t words[3];
  std::memcpy(words, at, sizeof(words));
  const uint64_t size = words[0] >> 2;
  EXPECT_GE(words[1], size);
  const char* text;
  std::memcpy(&text, &words[2], sizeof(text));
  EXPECT_EQ(text[size], 0);
  return {text, size};
}

}  // namespace flightbridge::batch
