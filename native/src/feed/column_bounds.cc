#include "feed/column_bounds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include <arrow/array.h>
#include <arrow/extension_type.h>
#include <arrow/util/bit_run_reader.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/bitmap_ops.h>
#include <arrow/util/float16.h>

namespace flightbridge::feed {
namespace {

using arrow::Type;

// Independent ones, so that comparing the next value need not wait for the last.
constexpr int64_t kLanes = 8;

// Calls visit(begin, length) for every run of values that are not null.
template <typename Visit>
void ForEachRun(const arrow::ArrayData& array, Visit&& visit) {
  const uint8_t* validity =
      array.buffers[0] != nullptr && array.null_count != 0 ? array.buffers[0]->data() : nullptr;
  if (array.length == 0) return;
  arrow::internal::VisitSetBitRunsVoid(validity, array.offset, array.length,
                                       std::forward<Visit>(visit));
}

// Leaves a NaN out: every comparison with it is false.
template <typename C>
struct Lanes {
  std::array<C, kLanes> min;
  std::array<C, kLanes> max;

  Lanes(C greatest, C least) {
    min.fill(greatest);
    max.fill(least);
  }
  void Add(const C* values, int64_t count) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const C value = values[i + lane];
        min[lane] = value < min[lane] ? value : min[lane];
        max[lane] = value > max[lane] ? value : max[lane];
      }
    }
    for (; i < count; ++i) {
      min[0] = values[i] < min[0] ? values[i] : min[0];
      max[0] = values[i] > max[0] ? values[i] : max[0];
    }
  }
  C Least() const { return *std::ranges::min_element(min); }
  C Greatest() const { return *std::ranges::max_element(max); }
};

std::string BigEndian(const uint8_t* little, size_t bytes) {
  std::string big(reinterpret_cast<const char*>(little), bytes);
  std::ranges::reverse(big);
  return big;
}

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

void AppendUtf8(uint32_t point, std::string* text) {
  const auto tail = [&](int shift) {
    text->push_back(static_cast<char>(0x80 | ((point >> shift) & 0x3F)));
  };
  if (point < 0x80) {
    text->push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    text->push_back(static_cast<char>(0xC0 | (point >> 6)));
    tail(0);
  } else if (point < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | (point >> 12)));
    tail(6);
    tail(0);
  } else {
    text->push_back(static_cast<char>(0xF0 | (point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

// The character that ends the text is taken off; nothing where there is none.
std::optional<uint32_t> TakeLastCharacter(std::string* text) {
  if (text->empty()) return std::nullopt;
  size_t begin = text->size() - 1;
  while (begin > 0 && IsContinuation((*text)[begin])) --begin;
  const auto lead = static_cast<uint8_t>((*text)[begin]);
  const uint32_t marks = lead < 0x80 ? 0 : lead < 0xE0 ? 0xC0 : lead < 0xF0 ? 0xE0 : 0xF0;
  uint32_t point = lead - marks;
  for (size_t i = begin + 1; i < text->size(); ++i) {
    point = point << 6 | (static_cast<uint8_t>((*text)[i]) & 0x3F);
  }
  text->resize(begin);
  return point;
}

// Takes off the part of a character that cutting at a byte has left at the end.
void EndAtCharacter(std::string* text) {
  size_t begin = text->size();
  while (begin > 0 && IsContinuation((*text)[begin - 1])) --begin;
  if (begin == 0) return;
  const auto lead = static_cast<uint8_t>((*text)[begin - 1]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (begin - 1 + size > text->size()) text->resize(begin - 1);
}

// A text above everything that begins with this one; false where there is none. The order of
// UTF-8's bytes is that of its characters.
bool AboveUtf8(std::string* text) {
  constexpr uint32_t kLast = 0x10FFFF;
  while (const auto point = TakeLastCharacter(text)) {
    if (*point >= kLast) continue;
    AppendUtf8(*point == 0xD7FF ? 0xE000 : *point + 1, text);
    return true;
  }
  return false;
}

bool AboveBytes(std::string* text) {
  while (!text->empty()) {
    const auto last = static_cast<uint8_t>(text->back());
    text->pop_back();
    if (last == 0xFF) continue;
    text->push_back(static_cast<char>(last + 1));
    return true;
  }
  return false;
}

const arrow::DataType& StorageOf(const arrow::DataType& type) {
  return type.id() == Type::EXTENSION
             ? StorageOf(*static_cast<const arrow::ExtensionType&>(type).storage_type())
             : type;
}

bool IsUtf8(const arrow::DataType& type) {
  const Type::type id = StorageOf(type).id();
  return id == Type::STRING || id == Type::LARGE_STRING || id == Type::STRING_VIEW;
}

}  // namespace

template <typename T>
void ColumnBounds::Widen(const T& min, const T& max) {
  auto* range = std::get_if<Range<T>>(&bounds_);
  if (range == nullptr) {
    bounds_ = Range<T>{min, max};
    return;
  }
  if (min < range->min) range->min = min;
  if (range->max < max) range->max = max;
}

template <typename C, typename Wide>
void ColumnBounds::AddIntegers(const arrow::ArrayData& array) {
  const C* values = array.GetValues<C>(1);
  Lanes<C> lanes(std::numeric_limits<C>::max(), std::numeric_limits<C>::min());
  int64_t valid = 0;
  ForEachRun(array, [&](int64_t begin, int64_t length) {
    lanes.Add(values + begin, length);
    valid += length;
  });
  if (valid > 0) Widen<Wide>(lanes.Least(), lanes.Greatest());
}

template <>
void ColumnBounds::AddIntegers<Int128, Int128>(const arrow::ArrayData& array) {
  const uint8_t* values = array.GetValues<uint8_t>(1, array.offset * 16);
  ForEachRun(array, [&](int64_t begin, int64_t length) {
    for (int64_t i = begin; i < begin + length; ++i) {
      Int128 value;  // a buffer may start anywhere
      std::memcpy(&value, values + i * 16, sizeof(value));
      Widen<Int128>(value, value);
    }
  });
}

template <typename C>
void ColumnBounds::AddFloats(const arrow::ArrayData& array) {
  constexpr C kInfinity = std::numeric_limits<C>::infinity();
  const C* values = array.GetValues<C>(1);
  Lanes<C> lanes(kInfinity, -kInfinity);
  int64_t valid = 0;
  int64_t nans = 0;
  ForEachRun(array, [&](int64_t begin, int64_t length) {
    lanes.Add(values + begin, length);
    for (int64_t i = begin; i < begin + length; ++i) nans += values[i] != values[i] ? 1 : 0;
    valid += length;
  });
  nans_ += nans;
  // Which of the two zeros it is says nothing: they are equal.
  if (valid > nans) Widen<double>(lanes.Least() + 0.0, lanes.Greatest() + 0.0);
}

void ColumnBounds::AddHalfFloats(const arrow::ArrayData& array) {
  const auto* values = array.GetValues<uint16_t>(1);
  ForEachRun(array, [&](int64_t begin, int64_t length) {
    for (int64_t i = begin; i < begin + length; ++i) {
      const double value = arrow::util::Float16::FromBits(values[i]).ToDouble();
      if (std::isnan(value)) {
        ++nans_;
      } else {
        Widen<double>(value + 0.0, value + 0.0);
      }
    }
  });
}

void ColumnBounds::AddBooleans(const arrow::ArrayData& array) {
  const uint8_t* bits = array.buffers[1] == nullptr ? nullptr : array.buffers[1]->data();
  ForEachRun(array, [&](int64_t begin, int64_t length) {
    const int64_t set = arrow::internal::CountSetBits(bits, array.offset + begin, length);
    Widen<int64_t>(set == length ? 1 : 0, set > 0 ? 1 : 0);
  });
}

void ColumnBounds::AddDecimals256(const arrow::ArrayData& array) {
  const uint8_t* values = array.GetValues<uint8_t>(1, array.offset * 32);
  ForEachRun(array, [&](int64_t begin, int64_t length) {
    for (int64_t i = begin; i < begin + length; ++i) {
      const arrow::Decimal256 value(values + i * 32);
      Widen<arrow::Decimal256>(value, value);
    }
  });
}

void ColumnBounds::AddText(std::string_view value) {
  const std::string_view text = value.substr(0, kBoundBytes);
  const bool cut = value.size() > kBoundBytes;
  auto* range = std::get_if<Range<Text>>(&bounds_);
  if (range == nullptr) {
    const Text first{std::string(text), cut};
    bounds_ = Range<Text>{first, first};
    return;
  }
  // Of two with the same beginning the one that ends there is the lesser.
  if (const int order = text.compare(range->min.text);
      order < 0 || (order == 0 && range->min.cut && !cut)) {
    range->min = {std::string(text), cut};
  }
  if (const int order = text.compare(range->max.text);
      order > 0 || (order == 0 && cut && !range->max.cut)) {
    range->max = {std::string(text), cut};
  }
}

template <typename A>
void ColumnBounds::AddTexts(const arrow::Array& array) {
  const auto& texts = static_cast<const A&>(array);
  ForEachRun(*array.data(), [&](int64_t begin, int64_t length) {
    for (int64_t i = begin; i < begin + length; ++i) AddText(texts.GetView(i));
  });
}

void ColumnBounds::Add(const arrow::Array& array) {
  if (array.type_id() == Type::EXTENSION) {
    return Add(*static_cast<const arrow::ExtensionArray&>(array).storage());
  }
  nulls_ += array.ComputeLogicalNullCount();
  const arrow::ArrayData& data = *array.data();
  switch (array.type_id()) {
    case Type::BOOL: return AddBooleans(data);
    case Type::INT8: return AddIntegers<int8_t, int64_t>(data);
    case Type::INT16: return AddIntegers<int16_t, int64_t>(data);
    case Type::INT32:
    case Type::DATE32:
    case Type::TIME32:
    case Type::INTERVAL_MONTHS: return AddIntegers<int32_t, int64_t>(data);
    case Type::INT64:
    case Type::DATE64:
    case Type::TIME64:
    case Type::TIMESTAMP:
    case Type::DURATION: return AddIntegers<int64_t, int64_t>(data);
    case Type::UINT8: return AddIntegers<uint8_t, uint64_t>(data);
    case Type::UINT16: return AddIntegers<uint16_t, uint64_t>(data);
    case Type::UINT32: return AddIntegers<uint32_t, uint64_t>(data);
    case Type::UINT64: return AddIntegers<uint64_t, uint64_t>(data);
    case Type::HALF_FLOAT: return AddHalfFloats(data);
    case Type::FLOAT: return AddFloats<float>(data);
    case Type::DOUBLE: return AddFloats<double>(data);
    case Type::DECIMAL32: return AddIntegers<int32_t, Int128>(data);
    case Type::DECIMAL64: return AddIntegers<int64_t, Int128>(data);
    case Type::DECIMAL128: return AddIntegers<Int128, Int128>(data);
    case Type::DECIMAL256: return AddDecimals256(data);
    case Type::STRING:
    case Type::BINARY: return AddTexts<arrow::BinaryArray>(array);
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY: return AddTexts<arrow::LargeBinaryArray>(array);
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW: return AddTexts<arrow::BinaryViewArray>(array);
    case Type::FIXED_SIZE_BINARY: return AddTexts<arrow::FixedSizeBinaryArray>(array);
    default: return;  // nulls only
  }
}

proto::ColumnStatistics ColumnBounds::Finish(const arrow::DataType& type) const {
  proto::ColumnStatistics result;
  result.nulls = nulls_;
  result.nans = nans_;
  if (std::holds_alternative<std::monostate>(bounds_)) return result;
  result.min.emplace();
  result.max.emplace();
  if (const auto* ints = std::get_if<Range<int64_t>>(&bounds_)) {
    result.min->int_value = ints->min;
    result.max->int_value = ints->max;
  } else if (const auto* uints = std::get_if<Range<uint64_t>>(&bounds_)) {
    result.min->uint_value = uints->min;
    result.max->uint_value = uints->max;
  } else if (const auto* floats = std::get_if<Range<double>>(&bounds_)) {
    result.min->float_value = floats->min;
    result.max->float_value = floats->max;
  } else if (const auto* decimals = std::get_if<Range<Int128>>(&bounds_)) {
    const auto encode = [](const Int128& value) {
      return BigEndian(reinterpret_cast<const uint8_t*>(&value), sizeof(value));
    };
    result.min->bytes_value = encode(decimals->min);
    result.max->bytes_value = encode(decimals->max);
  } else if (const auto* wide = std::get_if<Range<arrow::Decimal256>>(&bounds_)) {
    const auto encode = [](const arrow::Decimal256& value) {
      return BigEndian(value.ToBytes().data(), 32);
    };
    result.min->bytes_value = encode(wide->min);
    result.max->bytes_value = encode(wide->max);
  } else if (const auto* texts = std::get_if<Range<Text>>(&bounds_)) {
    const bool utf8 = IsUtf8(type);
    result.min->bytes_value = texts->min.text;
    result.min->cut = texts->min.cut;
    if (utf8 && texts->min.cut) EndAtCharacter(&result.min->bytes_value);
    std::string max = texts->max.text;
    if (texts->max.cut) {
      if (utf8) EndAtCharacter(&max);
      if (!(utf8 ? AboveUtf8(&max) : AboveBytes(&max))) result.max.reset();
    }
    if (result.max) {
      result.max->bytes_value = std::move(max);
      result.max->cut = texts->max.cut;
    }
  }
  return result;
}

}  // namespace flightbridge::feed
