#include "feed/schema_rules.h"

#include <algorithm>

#include <arrow/extension_type.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/api.h>
#include <arrow/util/utf8.h>

#include "flightbridge/error.h"

namespace flightbridge::feed {
namespace {

std::string DescribeField(const arrow::Field& field, bool with_name) {
  return (with_name ? "'" + field.name() + "': " : "") + DescribeType(*field.type()) +
         (field.nullable() ? "" : " not null");
}

uint64_t NeverZero(uint64_t hash) { return hash == 0 ? 1 : hash; }

template <typename P>
void AddPartition(const P& partition, Hash64* hash) {
  hash->Add(static_cast<uint64_t>(partition.partition))
      .Add(static_cast<uint64_t>(partition.rows))
      .Add(partition.crc32c);
}

}  // namespace

Hash64& Hash64::Add(std::string_view bytes) {
  Add(static_cast<uint64_t>(bytes.size()));
  for (const char byte : bytes) {
    state_ = (state_ ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  }
  return *this;
}

Hash64& Hash64::Add(uint64_t value) {
  for (int i = 0; i < 8; ++i) {
    state_ = (state_ ^ (value >> (8 * i) & 0xff)) * 0x100000001b3;
  }
  return *this;
}

uint64_t Hash64::Value() const {
  // The finaliser of MurmurHash3 (public domain): FNV alone mixes its high bits poorly.
  uint64_t x = state_;
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
  return x ^ (x >> 33);
}

std::string DescribeType(const arrow::DataType& type) {
  if (type.id() == arrow::Type::EXTENSION) {
    const auto& extension = static_cast<const arrow::ExtensionType&>(type);
    return "extension<" + extension.extension_name() + ", " + extension.Serialize() + ", " +
           DescribeType(*extension.storage_type()) + ">";
  }
  if (type.id() == arrow::Type::DICTIONARY) {
    const auto& dictionary = static_cast<const arrow::DictionaryType&>(type);
    return "dictionary<" + DescribeType(*dictionary.index_type()) + ", " +
           DescribeType(*dictionary.value_type()) + (dictionary.ordered() ? ", ordered>" : ">");
  }
  if (type.num_fields() == 0) return type.ToString();
  const bool named = type.id() == arrow::Type::STRUCT || arrow::is_union(type.id());
  std::string text = type.name();
  if (type.id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
    text += "[" + std::to_string(list.list_size()) + "]";
  } else if (type.id() == arrow::Type::MAP) {
    if (static_cast<const arrow::MapType&>(type).keys_sorted()) text += "[sorted]";
  } else if (arrow::is_union(type.id())) {
    for (const int8_t code : static_cast<const arrow::UnionType&>(type).type_codes()) {
      text += "[" + std::to_string(code) + "]";
    }
  }
  text += "<";
  if (type.id() == arrow::Type::MAP) {
    const auto& map = static_cast<const arrow::MapType&>(type);
    return text + DescribeField(*map.key_field(), false) + ", " +
           DescribeField(*map.item_field(), false) + ">";
  }
  for (int i = 0; i < type.num_fields(); ++i) {
    if (i > 0) text += ", ";
    text += DescribeField(*type.field(i), named);
  }
  return text + ">";
}

uint64_t SchemaHash(const arrow::Schema& schema) {
  Hash64 hash;
  for (const auto& field : schema.fields()) {
    hash.Add(field->name()).Add(DescribeType(*field->type())).Add(field->nullable() ? 1 : 0);
  }
  return NeverZero(hash.Value());
}

uint64_t Fingerprint(uint64_t schema_hash,
                     const std::vector<std::shared_ptr<const Partition>>& partitions) {
  Hash64 hash;
  hash.Add(schema_hash);
  for (const auto& partition : partitions) AddPartition(*partition, &hash);
  return NeverZero(hash.Value());
}

uint64_t Fingerprint(uint64_t schema_hash, const std::vector<proto::PartitionInfo>& partitions) {
  Hash64 hash;
  hash.Add(schema_hash);
  for (const auto& partition : partitions) AddPartition(partition, &hash);
  return NeverZero(hash.Value());
}

std::string SchemaDifference(const arrow::Schema& left, std::string_view left_place,
                             const arrow::Schema& right, std::string_view right_place) {
  const int common = std::min(left.num_fields(), right.num_fields());
  for (int i = 0; i < common; ++i) {
    const arrow::Field& a = *left.field(i);
    const arrow::Field& b = *right.field(i);
    if (a.name() != b.name()) {
      return arrow::internal::JoinToString("field ", i, " is '", a.name(), "' ", left_place,
                                           " and '", b.name(), "' ", right_place);
    }
    const std::string a_text = DescribeField(a, false);
    const std::string b_text = DescribeField(b, false);
    if (a_text != b_text) {
      return arrow::internal::JoinToString("field '", a.name(), "' is ", a_text, " ", left_place,
                                           " and ", b_text, " ", right_place);
    }
  }
  if (left.num_fields() > common) {
    return arrow::internal::JoinToString("field '", left.field(common)->name(), "' is ", left_place,
                                         " but not ", right_place);
  }
  if (right.num_fields() > common) {
    return arrow::internal::JoinToString("field '", right.field(common)->name(), "' is ",
                                         right_place, " but not ", left_place);
  }
  return "";
}

arrow::Result<std::string> EncodeSchema(const arrow::Schema& schema) {
  ARROW_ASSIGN_OR_RAISE(const auto buffer, arrow::ipc::SerializeSchema(schema));
  return buffer->ToString();
}

arrow::Result<std::shared_ptr<arrow::Schema>> DecodeSchema(std::string_view bytes) {
  arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(bytes));
  arrow::ipc::DictionaryMemo memo;
  auto schema = arrow::ipc::ReadSchema(&reader, &memo);
  if (!schema.ok()) {
    return Error(Code::kInvalidArgument,
                 "the schema is not an Arrow IPC schema message: ", schema.status().message());
  }
  // Names go into messages and tables that must be UTF-8, and a stranger's schema need not be.
  arrow::util::InitializeUTF8();
  if (!arrow::util::ValidateUTF8((*schema)->ToString(/*show_metadata=*/false))) {
    return Error(Code::kInvalidArgument,
                 "a column's name or type in the schema is not valid UTF-8");
  }
  return schema;
}

}  // namespace flightbridge::feed
