// Nulls, NaNs, least and greatest value of a column, gathered array by array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include <arrow/array/array_base.h>
#include <arrow/type.h>
#include <arrow/util/decimal.h>

#include "flightbridge/proto/commands.h"

namespace flightbridge::feed {

// Strings and binary are compared and kept up to here; a cut upper bound may have 2 bytes more,
// where its last character became one that takes more of them.
inline constexpr size_t kBoundBytes = 64;

using Int128 = __int128;  // NOLINT: no standard type has so many bits

// Not thread-safe; a few hundred bytes. Arrays of one type, in any order.
class ColumnBounds {
 public:
  // Reads the array's buffers, once.
  void Add(const arrow::Array& array);
  // `type` is that of the arrays.
  proto::ColumnStatistics Finish(const arrow::DataType& type) const;

 private:
  // The beginning of a value, and whether that goes on.
  struct Text {
    std::string text;
    bool cut = false;
  };
  template <typename T>
  struct Range {
    T min;
    T max;
  };

  template <typename T>
  void Widen(const T& min, const T& max);
  void AddText(std::string_view value);
  template <typename C, typename Wide>
  void AddIntegers(const arrow::ArrayData& array);
  template <typename C>
  void AddFloats(const arrow::ArrayData& array);
  void AddHalfFloats(const arrow::ArrayData& array);
  void AddBooleans(const arrow::ArrayData& array);
  void AddDecimals256(const arrow::ArrayData& array);
  template <typename A>
  void AddTexts(const arrow::Array& array);

  int64_t nulls_ = 0;
  int64_t nans_ = 0;
  // Types that are held alike have the same kind of bound.
  std::variant<std::monostate, Range<int64_t>, Range<uint64_t>, Range<double>, Range<Int128>,
               Range<arrow::Decimal256>, Range<Text>>
      bounds_;
};

}  // namespace flightbridge::feed
