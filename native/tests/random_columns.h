// Random Arrow arrays of every type that becomes a tensor, and what they must turn into.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <arrow/api.h>

namespace flightbridge::batch {

using Rng = std::mt19937_64;

// Every accepted type, nested ones included.
inline std::vector<std::shared_ptr<arrow::DataType>> AcceptedTypes() {
  std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::boolean(),
      arrow::int8(),
      arrow::int16(),
      arrow::int32(),
      arrow::int64(),
      arrow::uint8(),
      arrow::uint16(),
      arrow::uint32(),
      arrow::uint64(),
      arrow::float16(),
      arrow::float32(),
      arrow::float64(),
      arrow::date32(),
      arrow::date64(),
      arrow::timestamp(arrow::TimeUnit::MICRO),
      arrow::time32(arrow::TimeUnit::SECOND),
      arrow::time64(arrow::TimeUnit::NANO),
      arrow::duration(arrow::TimeUnit::MILLI),
      arrow::utf8(),
      arrow::large_utf8(),
      arrow::binary(),
      arrow::large_binary(),
      arrow::utf8_view(),
      arrow::binary_view(),
      arrow::fixed_size_binary(5),
      arrow::dictionary(arrow::int8(), arrow::utf8()),
      arrow::dictionary(arrow::uint16(), arrow::int64())};
  const size_t plain = types.size();
  for (size_t i = 0; i < plain; ++i) {
    types.push_back(arrow::list(types[i]));
    types.push_back(arrow::large_list(types[i]));
    const auto id = types[i]->id();
    const bool fixed = id != arrow::Type::DICTIONARY && !arrow::is_base_binary_like(id) &&
                       !arrow::is_binary_view_like(id) && id != arrow::Type::FIXED_SIZE_BINARY;
    if (fixed) types.push_back(arrow::fixed_size_list(types[i], 3));
  }
  const auto item =
      arrow::struct_({arrow::field("b", arrow::int32()), arrow::field("a", arrow::utf8()),
                      arrow::field("c", arrow::list(arrow::float64()))});
  for (const auto& nested : std::vector<std::shared_ptr<arrow::DataType>>{
           arrow::month_interval(), arrow::list(arrow::list(arrow::int32())),
           arrow::large_list(arrow::list(arrow::large_list(arrow::utf8()))),
           arrow::list(arrow::fixed_size_list(arrow::float32(), 3)),
           arrow::list(arrow::fixed_size_list(arrow::utf8(), 2)),
           arrow::fixed_size_list(arrow::list(arrow::int8()), 2),
           arrow::fixed_size_list(arrow::fixed_size_list(arrow::int16(), 2), 3),
           arrow::fixed_size_list(arrow::utf8(), 2), arrow::fixed_size_list(arrow::boolean(), 5),
           item, arrow::list(item), arrow::fixed_size_list(item, 2),
           arrow::struct_({arrow::field("s", item), arrow::field("x", arrow::boolean())}),
           arrow::map(arrow::utf8(), arrow::int64()),
           arrow::map(arrow::int32(), arrow::list(item))}) {
    types.push_back(nested);
  }
  return types;
}

std::shared_ptr<arrow::Array> RandomArray(const std::shared_ptr<arrow::DataType>& type,
                                          int64_t length, double null_share, Rng& rng);

// A scalar's bytes as the slab should hold them.
std::string ValueBytes(const arrow::Array& array, int64_t i);

}  // namespace flightbridge::batch
