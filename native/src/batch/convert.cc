#include "batch/convert.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include <arrow/util/decimal.h>
#include <arrow/util/float16.h>

namespace flightbridge::batch {
namespace {

using arrow::Type;
using Half = arrow::util::Float16;

// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

BFloat16 ToBFloat16(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {static_cast<uint16_t>(bits >> 16 | 0x40)};  // stays a NaN
  bits += 0x7FFF + (bits >> 16 & 1);  // to nearest, ties to even
  return {static_cast<uint16_t>(bits >> 16)};
}

template <typename T>
T Load(const uint8_t* from, int64_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof(T), sizeof(T));
  return value;
}

template <typename To, typename From>
To CastTo(From value) {
  if constexpr (std::is_same_v<From, Half>) {
    return CastTo<To>(value.ToFloat());
  } else if constexpr (std::is_same_v<To, Half>) {
    // A float in between would round twice.
    if constexpr (std::is_same_v<From, double>) return Half::FromDouble(value);
    return Half::FromFloat(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return ToBFloat16(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

template <typename From, typename To>
bool Cast(const Conversion&, const uint8_t* from, int64_t count, uint8_t* to) {
  constexpr bool kChecked = std::is_integral_v<From> && std::is_integral_v<To>;
  bool fits = true;
  for (int64_t i = 0; i < count; ++i) {
    const From value = Load<From>(from, i);
    if constexpr (kChecked) fits &= std::in_range<To>(value);
    const To result = CastTo<To>(value);
    std::memcpy(to + i * sizeof(To), &result, sizeof(To));
  }
  return fits;
}

template <typename From>
bool Seconds(const Conversion& self, const uint8_t* from, int64_t count, uint8_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    // Dividing by a whole number of ticks is exact where multiplying by a fraction is not.
    const auto ticks = static_cast<double>(Load<From>(from, i));
    const double value = self.factor < 0 ? ticks / -self.factor : ticks * self.factor;
    std::memcpy(to + i * sizeof(double), &value, sizeof(double));
  }
  return true;
}

// The nearest double, as far as 64 bits of digits go; Arrow's own conversion multiplies by a
// rounded power of ten.
template <typename Decimal>
double ToDouble(const Decimal& value, const uint8_t* bytes, int32_t scale) {
  constexpr int32_t kExactPowers = 27;  // of ten, in the 64 bits that a long double has at least
  constexpr size_t kWords = Decimal::kByteWidth / sizeof(int64_t);
  int64_t low = 0;
  if constexpr (kWords == 0) {
    low = Load<int32_t>(bytes, 0);
  } else {
    low = Load<int64_t>(bytes, 0);
  }
  bool small = scale >= 0 && scale <= kExactPowers;
  for (size_t i = 1; i < kWords; ++i) small &= Load<int64_t>(bytes, i) == low >> 63;
  if (!small) return value.ToDouble(scale);
  static const auto powers = [] {
    std::array<long double, kExactPowers + 1> out{1};
    for (size_t i = 1; i < out.size(); ++i) out[i] = out[i - 1] * 10;
    return out;
  }();
  constexpr int64_t kExact = int64_t{1} << 53;
  if (low <= kExact && low >= -kExact && scale <= 22) {
    return static_cast<double>(low) / static_cast<double>(powers[scale]);
  }
  return static_cast<double>(static_cast<long double>(low) / powers[scale]);
}

template <typename Decimal, typename To>
bool DecimalTo(const Conversion& self, const uint8_t* from, int64_t count, uint8_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* bytes = from + i * Decimal::kByteWidth;
    const To result = CastTo<To>(ToDouble(Decimal(bytes), bytes, self.scale));
    std::memcpy(to + i * sizeof(To), &result, sizeof(To));
  }
  return true;
}

template <typename From>
Conversion::Function CastFrom(fb_dtype to) {
  switch (to) {
    case FB_FLOAT16: return &Cast<From, Half>;
    case FB_BFLOAT16: return &Cast<From, BFloat16>;
    case FB_FLOAT32: return &Cast<From, float>;
    case FB_FLOAT64: return &Cast<From, double>;
    default: break;
  }
  if constexpr (std::is_integral_v<From>) {
    switch (to) {
      case FB_INT8: return &Cast<From, int8_t>;
      case FB_INT16: return &Cast<From, int16_t>;
      case FB_INT32: return &Cast<From, int32_t>;
      case FB_INT64: return &Cast<From, int64_t>;
      case FB_UINT8: return &Cast<From, uint8_t>;
      case FB_UINT16: return &Cast<From, uint16_t>;
      case FB_UINT32: return &Cast<From, uint32_t>;
      case FB_UINT64: return &Cast<From, uint64_t>;
      default: break;
    }
  }
  return nullptr;
}

Conversion::Function CastOf(fb_dtype from, fb_dtype to) {
  switch (from) {
    case FB_BOOL:
    case FB_UINT8: return CastFrom<uint8_t>(to);
    case FB_INT8: return CastFrom<int8_t>(to);
    case FB_INT16: return CastFrom<int16_t>(to);
    case FB_INT32: return CastFrom<int32_t>(to);
    case FB_INT64: return CastFrom<int64_t>(to);
    case FB_UINT16: return CastFrom<uint16_t>(to);
    case FB_UINT32: return CastFrom<uint32_t>(to);
    case FB_UINT64: return CastFrom<uint64_t>(to);
    case FB_FLOAT16: return CastFrom<Half>(to);
    case FB_FLOAT32: return CastFrom<float>(to);
    case FB_FLOAT64: return CastFrom<double>(to);
    default: return nullptr;
  }
}

template <typename Decimal>
Conversion::Function DecimalCast(fb_dtype to) {
  if (to == FB_FLOAT32) return &DecimalTo<Decimal, float>;
  if (to == FB_FLOAT64) return &DecimalTo<Decimal, double>;
  return nullptr;
}

Conversion::Function DecimalCastOf(Type::type id, fb_dtype to) {
  switch (id) {
    case Type::DECIMAL32: return DecimalCast<arrow::Decimal32>(to);
    case Type::DECIMAL64: return DecimalCast<arrow::Decimal64>(to);
    case Type::DECIMAL128: return DecimalCast<arrow::Decimal128>(to);
    default: return DecimalCast<arrow::Decimal256>(to);
  }
}

// Ticks to seconds: what to multiply with, or the negative of what to divide by; 0: not temporal.
double SecondsFactor(const arrow::DataType& type) {
  const auto of = [](arrow::TimeUnit::type unit) -> double {
    switch (unit) {
      case arrow::TimeUnit::SECOND: return 1;
      case arrow::TimeUnit::MILLI: return -1e3;
      case arrow::TimeUnit::MICRO: return -1e6;
      case arrow::TimeUnit::NANO: return -1e9;
    }
    return 0;
  };
  switch (type.id()) {
    case Type::DATE32: return 86400;
    case Type::DATE64: return -1e3;
    case Type::TIME32:
    case Type::TIME64: return of(static_cast<const arrow::TimeType&>(type).unit());
    case Type::TIMESTAMP: return of(static_cast<const arrow::TimestampType&>(type).unit());
    case Type::DURATION: return of(static_cast<const arrow::DurationType&>(type).unit());
    default: return 0;
  }
}

bool IsFloat(fb_dtype dtype) {
  return dtype == FB_FLOAT16 || dtype == FB_BFLOAT16 || dtype == FB_FLOAT32 || dtype == FB_FLOAT64;
}

}  // namespace

std::optional<fb_dtype> FixedDtype(Type::type id) {
  switch (id) {
    case Type::BOOL: return FB_BOOL;
    case Type::INT8: return FB_INT8;
    case Type::INT16: return FB_INT16;
    case Type::INT32:
    case Type::DATE32:
    case Type::TIME32:
    case Type::INTERVAL_MONTHS: return FB_INT32;
    case Type::INT64:
    case Type::DATE64:
    case Type::TIME64:
    case Type::TIMESTAMP:
    case Type::DURATION: return FB_INT64;
    case Type::UINT8: return FB_UINT8;
    case Type::UINT16: return FB_UINT16;
    case Type::UINT32: return FB_UINT32;
    case Type::UINT64: return FB_UINT64;
    case Type::HALF_FLOAT: return FB_FLOAT16;
    case Type::FLOAT: return FB_FLOAT32;
    case Type::DOUBLE: return FB_FLOAT64;
    default: return std::nullopt;
  }
}

bool IsDecimal(Type::type id) {
  return id == Type::DECIMAL32 || id == Type::DECIMAL64 || id == Type::DECIMAL128 ||
         id == Type::DECIMAL256;
}

std::optional<Conversion> FindConversion(const arrow::DataType& from, fb_dtype to) {
  Conversion conversion;
  if (IsDecimal(from.id())) {
    conversion.scale = static_cast<const arrow::DecimalType&>(from).scale();
    conversion.function = DecimalCastOf(from.id(), to);
  } else if (const auto natural = FixedDtype(from.id())) {
    if (*natural == to) return conversion;
    conversion.factor = SecondsFactor(from);
    if (conversion.factor != 0 && IsFloat(to)) {
      if (to != FB_FLOAT64) return std::nullopt;
      conversion.function = *natural == FB_INT32 ? &Seconds<int32_t> : &Seconds<int64_t>;
    } else {
      conversion.function = CastOf(*natural, to);
    }
  }
  if (conversion.function == nullptr) return std::nullopt;
  return conversion;
}

}  // namespace flightbridge::batch
