#include "batch/leaf_options.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

constexpr std::pair<const char*, fb_dtype> kDtypes[] = {
    {"bool", FB_BOOL},       {"int8", FB_INT8},         {"int16", FB_INT16},
    {"int32", FB_INT32},     {"int64", FB_INT64},       {"uint8", FB_UINT8},
    {"uint16", FB_UINT16},   {"uint32", FB_UINT32},     {"uint64", FB_UINT64},
    {"float16", FB_FLOAT16}, {"bfloat16", FB_BFLOAT16}, {"float32", FB_FLOAT32},
    {"float64", FB_FLOAT64}, {"string", FB_BYTES}};

std::optional<fb_dtype> FindDtype(const std::string& name) {
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known) return dtype;
  }
  return std::nullopt;
}

// The empty path is that of everything.
bool Covers(const std::string& path, const std::string& leaf) {
  if (path.empty() || path == leaf) return true;
  return leaf.size() > path.size() && leaf.compare(0, path.size(), path) == 0 &&
         leaf[path.size()] == '.';
}

template <typename T>
void Put(T value, ColumnLayout* leaf) {
  static_assert(sizeof(T) <= sizeof(leaf->fill));
  std::memcpy(leaf->fill.data(), &value, sizeof(T));
}

arrow::Status WrongFill(const ColumnLayout& leaf, const char* wanted) {
  return Error(Code::kInvalidArgument, "fill={'", leaf.name, "': ...} has no ", wanted,
               ", which is what the column's tensor holds: give one");
}

// A number goes through the conversion that values of the column's tensor take.
arrow::Status PutNumber(const proto::ColumnOptions& fill, ColumnLayout* leaf) {
  const bool is_float = leaf->dtype == FB_FLOAT16 || leaf->dtype == FB_BFLOAT16 ||
                        leaf->dtype == FB_FLOAT32 || leaf->dtype == FB_FLOAT64;
  if (!fill.fill_bytes.empty()) return WrongFill(*leaf, "number");
  if (leaf->dtype == FB_BOOL) {
    if (fill.fill_int < 0 || fill.fill_int > 1 || fill.fill_float != fill.fill_int) {
      return WrongFill(*leaf, "bool");
    }
    Put(static_cast<uint8_t>(fill.fill_int), leaf);
    return arrow::Status::OK();
  }
  if (!is_float && fill.fill_float != static_cast<double>(fill.fill_int)) {
    return WrongFill(*leaf, "whole number");
  }
  const auto from = is_float ? arrow::float64() : arrow::int64();
  const auto conversion = FindConversion(*from, leaf->dtype);
  const auto* value = is_float ? reinterpret_cast<const uint8_t*>(&fill.fill_float)
                               : reinterpret_cast<const uint8_t*>(&fill.fill_int);
  if (conversion->function == nullptr) {
    std::memcpy(leaf->fill.data(), value, 8);
  } else if (!(*conversion)(value, 1, leaf->fill.data())) {
    return Error(Code::kInvalidArgument, "fill={'", leaf->name, "': ", fill.fill_int,
                 "} is out of the range of the column's tensor: give a smaller value");
  }
  return arrow::Status::OK();
}

}  // namespace

LeafOptions OptionsFor(const std::vector<proto::ColumnOptions>& options, const std::string& path) {
  std::vector<const proto::ColumnOptions*> matching;
  for (const auto& option : options) {
    if (Covers(option.path, path)) matching.push_back(&option);
  }
  std::stable_sort(matching.begin(), matching.end(),
                   [](auto* a, auto* b) { return a->path.size() < b->path.size(); });
  LeafOptions out;
  for (const proto::ColumnOptions* option : matching) {
    if (!option->dtype.empty()) {
      out.dtype_name = option->dtype;
      out.dtype = FindDtype(option->dtype);
    }
    out.mask |= option->mask;
    if (option->has_fill) out.fill = *option;
    if (option->pad_to > 0) out.pad_to = option->pad_to;
    out.truncate |= option->truncate;
    if (option->vector_size > 0) out.vector_size = option->vector_size;
    out.sparse |= option->sparse;
    out.codes |= option->codes;
  }
  return out;
}

arrow::Status ApplyOptions(const LeafOptions& options, ColumnLayout* leaf) {
  const auto wrong = [&](const char* setting, const char* wanted) {
    return Error(Code::kInvalidArgument, setting, " names column '", leaf->name, "' of type ",
                 leaf->type->ToString(), ": it is for ", wanted, "; leave the column out of it");
  };
  const bool vector = leaf->form != ColumnLayout::Form::kValues;
  if ((options.sparse || options.vector_size > 0) && !vector) {
    return wrong(options.sparse ? "sparse" : "vectors", "MLlib vectors");
  }
  if (options.codes && leaf->codes == nullptr) return wrong("codes", "dictionary columns");
  if (options.truncate && options.pad_to == 0) return wrong("truncate", "columns in pad_to");
  if (options.pad_to > 0) {
    if (leaf->levels != 1) return wrong("pad_to", "lists of one level");
    leaf->levels = 0;
    leaf->pad_to = options.pad_to;
    leaf->truncate = options.truncate;
    leaf->shape.insert(leaf->shape.begin(), options.pad_to);
  }
  leaf->mask = options.mask;
  if (options.mask && leaf->form == ColumnLayout::Form::kSparse) {
    return wrong("mask", "columns that do not become sparse");
  }
  if (options.mask || options.fill) leaf->nulls = ColumnLayout::Nulls::kFill;
  if (!options.fill) return arrow::Status::OK();
  if (!leaf->bytes()) return PutNumber(*options.fill, leaf);
  if (options.fill->fill_int != 0 || options.fill->fill_float != 0) {
    return WrongFill(*leaf, "str or bytes");
  }
  leaf->fill_bytes = options.fill->fill_bytes;
  return arrow::Status::OK();
}

arrow::Status CheckDtypes(const std::vector<proto::ColumnOptions>& options) {
  for (const auto& option : options) {
    if (!option.dtype.empty() && !FindDtype(option.dtype)) {
      std::string known;
      for (const auto& [name, dtype] : kDtypes) {
        known += (known.empty() ? "" : ", ") + std::string(name);
      }
      return Error(Code::kInvalidArgument, "dtypes={'", option.path, "': '", option.dtype,
                   "'} is not known: give one of ", known);
    }
  }
  return arrow::Status::OK();
}

arrow::Status CheckPaths(const std::vector<proto::ColumnOptions>& options,
                         const std::vector<std::string>& leaves) {
  for (const auto& option : options) {
    const bool found = std::any_of(leaves.begin(), leaves.end(), [&](const std::string& leaf) {
      return Covers(option.path, leaf);
    });
    if (found) continue;
    std::string known;
    for (const std::string& leaf : leaves) known += (known.empty() ? "" : ", ") + leaf;
    return Error(Code::kNotFound, "options are given for '", option.path,
                 "', but no such column is read; read are: ", known);
  }
  return arrow::Status::OK();
}

}  // namespace flightbridge::batch
