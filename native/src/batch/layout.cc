#include "batch/layout.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include <arrow/extension_type.h>
#include <arrow/util/key_value_metadata.h>

#include "batch/leaf_options.h"
#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

using arrow::Type;

bool IsBytes(Type::type id) {
  return arrow::is_base_binary_like(id) || arrow::is_binary_view_like(id) ||
         id == Type::FIXED_SIZE_BINARY;
}

bool IsText(Type::type id) {
  return id == Type::STRING || id == Type::LARGE_STRING || id == Type::STRING_VIEW;
}

const char* Remedy(const arrow::DataType& type) {
  switch (type.id()) {
    case Type::LIST_VIEW:
    case Type::LARGE_LIST_VIEW: return "cast it to list before writing";
    case Type::NA: return "it holds only nulls; cast it to a type with values before writing";
    case Type::RUN_END_ENCODED: return "cast it to its value type before writing";
    default: return "cast it to a number, boolean, string or binary type before writing";
  }
}

arrow::Status Unsupported(const ColumnLayout& leaf, const arrow::DataType& type,
                          const std::string& remedy) {
  return Error(Code::kUnsupportedType, "column '", leaf.name, "' has type ", type.ToString(),
               ", which has no tensor form: ", remedy,
               ", or leave the column out of columns=[...]");
}

// What Spark makes of pyspark.ml.linalg.VectorUDT.
bool IsVector(const arrow::DataType& type) {
  const auto is_list_of = [&](int i, Type::type id) {
    return type.field(i)->type()->id() == Type::LIST &&
           type.field(i)->type()->field(0)->type()->id() == id;
  };
  return type.num_fields() == 4 && type.field(0)->name() == "type" &&
         type.field(0)->type()->id() == Type::INT8 && type.field(1)->name() == "size" &&
         type.field(1)->type()->id() == Type::INT32 && type.field(2)->name() == "indices" &&
         is_list_of(2, Type::INT32) && type.field(3)->name() == "values" &&
         is_list_of(3, Type::DOUBLE);
}

// The size of the vectors in a field, as our Spark writer notes it; 0: unknown.
int64_t NotedVectorSize(const arrow::Field& field) {
  if (field.metadata() == nullptr) return 0;
  const auto text = field.metadata()->Get(kVectorSizeKey);
  int64_t size = 0;
  if (!text.ok()) return 0;
  std::from_chars(text->data(), text->data() + text->size(), size);
  return std::max<int64_t>(size, 0);
}

// Walks down a type, and adds a leaf wherever it ends.
class Leaves {
 public:
  Leaves(const std::vector<proto::ColumnOptions>& options, std::vector<ColumnLayout>* out)
      : options_(options), out_(out) {}

  arrow::Status Add(const arrow::Field& field) {
    ColumnLayout leaf;
    leaf.name = leaf.column = field.name();
    leaf.keys = {field.name()};
    leaf.type = field.type();
    return Descend(field, std::move(leaf));
  }

 private:
  arrow::Status Descend(const arrow::Field& field, ColumnLayout leaf) {
    const arrow::DataType& type = *field.type();
    switch (type.id()) {
      case Type::EXTENSION:
        return Descend(
            *field.WithType(static_cast<const arrow::ExtensionType&>(type).storage_type()),
            std::move(leaf));
      case Type::LIST:
      case Type::LARGE_LIST:
      case Type::MAP: {
        // Fixed lists outside of a ragged one are ragged, too.
        leaf.levels += static_cast<int>(leaf.shape.size()) + 1;
        leaf.shape.clear();
        if (leaf.levels > FB_MAX_LEVELS) {
          return Unsupported(leaf, *leaf.type, "its lists nest too deeply (at most 8); flatten it");
        }
        return Descend(*type.field(0), std::move(leaf));
      }
      case Type::FIXED_SIZE_LIST: {
        const int64_t size = static_cast<const arrow::FixedSizeListType&>(type).list_size();
        if (size == 0) return Unsupported(leaf, type, "its lists hold no values; drop it");
        leaf.shape.push_back(size);
        return Descend(*type.field(0), std::move(leaf));
      }
      case Type::STRUCT: return AddStruct(field, std::move(leaf));
      default: return AddLeaf(type, std::move(leaf));
    }
  }

  arrow::Status AddStruct(const arrow::Field& field, ColumnLayout leaf) {
    const arrow::DataType& type = *field.type();
    if (IsVector(type)) return AddVector(field, std::move(leaf));
    if (type.num_fields() == 0) return Unsupported(leaf, type, "it has no fields; drop it");
    const bool is_map = InMap(leaf);
    std::vector<std::pair<std::string, int>> order;
    for (int i = 0; i < type.num_fields(); ++i) {
      order.emplace_back(is_map ? (i == 0 ? "keys" : "values") : type.field(i)->name(), i);
    }
    // As tf.nest orders the keys of a dict.
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && order[i].first == order[i - 1].first) {
        return Unsupported(leaf, type, "two of its fields have one name; rename them");
      }
      ColumnLayout child = leaf;
      child.keys.push_back(order[i].first);
      child.name += "." + order[i].first;
      child.fields.push_back(order[i].second);
      ARROW_RETURN_NOT_OK(Descend(*type.field(order[i].second), std::move(child)));
    }
    return arrow::Status::OK();
  }

  // Whether the way to a struct ends with a map: then it is the map's entries.
  static bool InMap(const ColumnLayout& leaf) {
    const arrow::DataType* type = leaf.type.get();
    const arrow::DataType* above = nullptr;
    size_t next = 0;
    for (;;) {
      if (type->id() == Type::STRUCT) {
        if (next == leaf.fields.size()) return above != nullptr && above->id() == Type::MAP;
        above = std::exchange(type, type->field(leaf.fields[next++])->type().get());
      } else if (type->id() == Type::EXTENSION) {
        type = static_cast<const arrow::ExtensionType&>(*type).storage_type().get();
      } else {
        above = std::exchange(type, type->field(0)->type().get());
      }
    }
  }

  arrow::Status AddVector(const arrow::Field& field, ColumnLayout leaf) {
    if (leaf.levels > 0 || !leaf.shape.empty()) {
      return Unsupported(leaf, *leaf.type,
                         "vectors cannot be inside of lists; convert them with vector_to_array()");
    }
    leaf.form = ColumnLayout::Form::kVector;
    const LeafOptions options = OptionsFor(options_, leaf.name);
    const int64_t size = options.vector_size > 0 ? options.vector_size : NotedVectorSize(field);
    if (size == 0) {
      return Error(Code::kUnsupportedType, "column '", leaf.name, "' has MLlib vectors of a size ",
                   "that the feed does not say: pass vectors={'", leaf.name, "': n}, or leave the ",
                   "column out of columns=[...]");
    }
    leaf.shape = {size};
    if (options.sparse) leaf.form = ColumnLayout::Form::kSparse;
    return Finish(*arrow::float64(), options, std::move(leaf));
  }

  arrow::Status AddLeaf(const arrow::DataType& type, ColumnLayout leaf) {
    const LeafOptions options = OptionsFor(options_, leaf.name);
    if (type.id() == Type::DICTIONARY) {
      const auto& dictionary = static_cast<const arrow::DictionaryType&>(type);
      if (options.codes) {
        leaf.codes = std::make_shared<CodeBook>();
        return Finish(*dictionary.index_type(), options, std::move(leaf));
      }
      if (arrow::is_nested(dictionary.value_type()->id())) {
        return Unsupported(leaf, type, "write it without dictionary");
      }
      return Finish(*dictionary.value_type(), options, std::move(leaf));
    }
    return Finish(type, options, std::move(leaf));
  }

  // `type` is that of the values, as they are read.
  arrow::Status Finish(const arrow::DataType& type, const LeafOptions& options, ColumnLayout leaf) {
    ARROW_RETURN_NOT_OK(SetDtype(type, options, &leaf));
    ARROW_RETURN_NOT_OK(ApplyOptions(options, &leaf));
    if (!leaf.shape.empty()) {
      leaf.width = 1;
      for (const int64_t dim : leaf.shape) leaf.width *= dim;
    }
    out_->push_back(std::move(leaf));
    return arrow::Status::OK();
  }

  static arrow::Status SetDtype(const arrow::DataType& type, const LeafOptions& options,
                                ColumnLayout* leaf) {
    const Type::type id = type.id();
    const bool decimal = IsDecimal(id);
    if (decimal && !options.dtype) {
      return Unsupported(
          *leaf, type,
          "pass dtypes={'" + leaf->name + "': 'float64'}, or 'string' to keep " + "every digit");
    }
    const auto natural = IsBytes(id) ? std::optional(FB_BYTES) : FixedDtype(id);
    if (!natural && !decimal) return Unsupported(*leaf, type, Remedy(type));
    leaf->dtype = options.dtype.value_or(natural.value_or(FB_BYTES));
    if (leaf->dtype == FB_BYTES && (decimal || natural == FB_BYTES)) {
      leaf->decimal_text = decimal;
      leaf->utf8 = decimal || IsText(id);
      return arrow::Status::OK();
    }
    const auto conversion = FindConversion(type, leaf->dtype);
    if (!conversion) {
      const bool temporal = natural && (arrow::is_temporal(id) || id == Type::DURATION);
      return Error(Code::kInvalidArgument, "dtypes={'", leaf->name, "': '", options.dtype_name,
                   "'}: the column has type ", type.ToString(), ", of which ",
                   temporal ? "only 'float64' (seconds) and integers can be made"
                            : "that cannot be made without loss",
                   ": choose another dtype, or cast the column before writing");
    }
    leaf->conversion = *conversion;
    return arrow::Status::OK();
  }

  const std::vector<proto::ColumnOptions>& options_;
  std::vector<ColumnLayout>* const out_;
};

arrow::Result<std::shared_ptr<arrow::Field>> FindField(const arrow::Schema& schema,
                                                       const std::string& name) {
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
  return schema.field(found[0]);
}

}  // namespace

int64_t ItemBytes(fb_dtype dtype) {
  switch (dtype) {
    case FB_BOOL:
    case FB_INT8:
    case FB_UINT8: return 1;
    case FB_INT16:
    case FB_UINT16:
    case FB_FLOAT16:
    case FB_BFLOAT16: return 2;
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

arrow::Result<std::vector<ColumnLayout>> LayoutsOf(
    const arrow::Schema& schema, const std::vector<std::string>& columns,
    const std::vector<proto::ColumnOptions>& options) {
  ARROW_RETURN_NOT_OK(CheckDtypes(options));
  std::vector<ColumnLayout> layouts;
  Leaves leaves(options, &layouts);
  for (const std::string& name : columns.empty() ? schema.field_names() : columns) {
    ARROW_ASSIGN_OR_RAISE(const auto field, FindField(schema, name));
    ARROW_RETURN_NOT_OK(leaves.Add(*field));
  }
  std::vector<std::string> names;
  for (const ColumnLayout& layout : layouts) names.push_back(layout.name);
  ARROW_RETURN_NOT_OK(CheckPaths(options, names));
  return layouts;
}

arrow::Result<std::vector<ColumnLayout>> LayoutsFor(const arrow::Schema& schema,
                                                    const proto::ReaderSpec& spec) {
  ARROW_ASSIGN_OR_RAISE(auto layouts, LayoutsOf(schema, spec.columns, spec.options));
  for (ColumnLayout& layout : layouts) layout.tstrings = spec.tstrings && layout.bytes();
  return layouts;
}

}  // namespace flightbridge::batch
