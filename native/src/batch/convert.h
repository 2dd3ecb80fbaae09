// Conversions of fixed-width values on their way into a tensor, a block of values at a time.
#pragma once

#include <cstdint>
#include <optional>

#include <arrow/type.h>

#include "flightbridge/c_api.h"

namespace flightbridge::batch {

struct Conversion {
  // Converts `count` values; false where one does not fit (what is written for it is undefined).
  using Function = bool (*)(const Conversion& self, const uint8_t* from, int64_t count,
                            uint8_t* to);

  Function function = nullptr;  // nullptr: the values are copied
  double factor = 1;            // of ticks to seconds
  int32_t scale = 0;            // of decimals

  bool operator()(const uint8_t* from, int64_t count, uint8_t* to) const {
    return function(*this, from, count, to);
  }
};

// The tensor type of values of a type, unless something else is asked for.
std::optional<fb_dtype> FixedDtype(arrow::Type::type id);
bool IsDecimal(arrow::Type::type id);

// From values of `from`, as Arrow holds them (booleans: as bytes), to `to`; nullopt where values
// could be lost for good. Integers that get narrower are checked. A float of a temporal type is
// seconds, and then FLOAT64.
std::optional<Conversion> FindConversion(const arrow::DataType& from, fb_dtype to);

}  // namespace flightbridge::batch
