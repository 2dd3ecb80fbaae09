#include "batch/layout.h"

#include <optional>

#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using arrow::Type;

std::optional<fb_dtype> FixedDtype(Type::type id) {
  switch (id) {
    case Type::BOOL: return FB_BOOL;
    case Type::INT8: return FB_INT8;
    case Type::INT16: return FB_INT16;
    case Type::INT32:
    case Type::DATE32:
    case Type::TIME32: return FB_INT32;
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

bool IsBytes(Type::type id) {
  switch (id) {
    case Type::STRING:
    case Type::LARGE_STRING:
    case Type::STRING_VIEW:
    case Type::BINARY:
    case Type::LARGE_BINARY:
    case Type::BINARY_VIEW:
    case Type::FIXED_SIZE_BINARY: return true;
    default: return false;
  }
}

bool IsText(Type::type id) {
  return id == Type::STRING || id == Type::LARGE_STRING || id == Type::STRING_VIEW;
}

const arrow::DataType& Decoded(const arrow::DataType& type) {
  if (type.id() != Type::DICTIONARY) return type;
  return *static_cast<const arrow::DictionaryType&>(type).value_type();
}

// Sets dtype and utf8 from a type without nesting; false where it is not taken.
bool SetValueType(const arrow::DataType& type, ColumnLayout* out) {
  const Type::type id = Decoded(type).id();
  if (const auto dtype = FixedDtype(id)) {
    out->dtype = *dtype;
    return true;
  }
  if (!IsBytes(id)) return false;
  out->dtype = FB_BYTES;
  out->utf8 = IsText(id);
  return true;
}

const char* Remedy(const arrow::DataType& type) {
  switch (type.id()) {
    case Type::STRUCT: return "write its fields as columns of their own, such as select('s.*')";
    case Type::MAP: return "write its keys and its values as two list columns";
    case Type::DECIMAL32:
    case Type::DECIMAL64:
    case Type::DECIMAL128:
    case Type::DECIMAL256: return "cast it to double, or to string to keep every digit";
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::FIXED_SIZE_LIST:
      return "a list may hold numbers, booleans, strings or binary; flatten the inner values";
    case Type::LIST_VIEW:
    case Type::LARGE_LIST_VIEW: return "cast it to list";
    case Type::NA: return "it holds only nulls; cast it to a type with values";
    case Type::RUN_END_ENCODED: return "cast it to its value type";
    case Type::EXTENSION: return "cast it to its storage type";
    default: return "cast it to a number, boolean, string or binary type, or to a list of those";
  }
}

}  // namespace

int64_t ItemBytes(fb_dtype dtype) {
  switch (dtype) {
    case FB_BOOL:
    case FB_INT8:
    case FB_UINT8: return 1;
    case FB_INT16:
    case FB_UINT16:
    case FB_FLOAT16: return 2;
    case FB_INT32:
    case FB_UINT32:
    case FB_FLOAT32: return 4;
    case FB_INT64:
    case FB_UINT64:
    case FB_FLOAT64: return 8;
    case FB_BYTES: return 0;
  }
  return 0;
}

arrow::Result<ColumnLayout> LayoutOf(const arrow::Field& field) {
  const arrow::DataType& type = *field.type();
  ColumnLayout layout;
  layout.name = field.name();
  bool taken = false;
  switch (type.id()) {
    case Type::LIST:
    case Type::LARGE_LIST: {
      layout.ragged = true;
      taken = SetValueType(*static_cast<const arrow::BaseListType&>(type).value_type(), &layout);
      break;
    }
    case Type::FIXED_SIZE_LIST: {
      const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
      layout.width = list.list_size();
      taken = SetValueType(*list.value_type(), &layout) && !layout.bytes();
      if (taken && layout.width == 0) {
        return Error(Code::kUnsupportedType, "column '", layout.name, "' is ", type.ToString(),
                     ", a list of no values: leave it out of columns=[...]");
      }
      break;
    }
    default: taken = SetValueType(type, &layout);
  }
  if (taken) return layout;
  return Error(Code::kUnsupportedType, "column '", layout.name, "' has type ", type.ToString(),
               ", which has no tensor form: ", Remedy(type),
               " before writing, or leave the column out of columns=[...]");
}

arrow::Result<std::vector<ColumnLayout>> LayoutsOf(const arrow::Schema& schema,
                                                   const std::vector<std::string>& columns) {
  std::vector<ColumnLayout> layouts;
  if (columns.empty()) {
    for (const auto& field : schema.fields()) {
      ARROW_ASSIGN_OR_RAISE(layouts.emplace_back(), LayoutOf(*field));
    }
    return layouts;
  }
  for (const std::string& name : columns) {
    const std::vector<int> found = schema.GetAllFieldIndices(name);
    if (found.empty()) {
      std::string known;
      for (const std::string& other : schema.field_names()) {
        known += (known.empty() ? "" : ", ") + other;
      }
      return Error(Code::kNotFound, "no column '", name, "' in the feed; it has: ", known);
    }
    if (found.size() > 1) {
      return Error(Code::kInvalidArgument, "the feed has ", found.size(), " columns named '", name,
                   "': rename them before writing");
    }
    ARROW_ASSIGN_OR_RAISE(layouts.emplace_back(), LayoutOf(*schema.field(found[0])));
  }
  return layouts;
}

}  // namespace flightbridge::batch
