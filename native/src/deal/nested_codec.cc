#include "deal/nested_codec.h"

#include <cstring>
#include <limits>
#include <utility>

#include <arrow/util/bit_util.h>

#include "flightbridge/error.h"

namespace flightbridge::deal {
namespace {

using arrow::ArrayData;
using arrow::Type;
using arrow::bit_util::BytesForBits;
using arrow::bit_util::GetBit;

constexpr int64_t kMostItems = std::numeric_limits<uint32_t>::max();

const uint8_t* BufferOf(const ArrayData& array, size_t i) {
  return array.buffers[i] == nullptr ? nullptr : array.buffers[i]->data();
}

// Whether any of the values is null.
bool AnyNull(const ArrayData& array, int64_t begin, int64_t end) {
  if (array.GetNullCount() == 0) return false;
  const uint8_t* const validity = BufferOf(array, 0);
  for (int64_t i = begin; i < end; ++i) {
    if (!GetBit(validity, array.offset + i)) return true;
  }
  return false;
}

uint8_t* PackBits(const uint8_t* bits, int64_t begin, int64_t end, uint8_t* to) {
  const int64_t bytes = BytesForBits(end - begin);
  std::memset(to, 0, bytes);
  for (int64_t i = begin; i < end; ++i) {
    to[(i - begin) / 8] |= static_cast<uint8_t>((GetBit(bits, i) ? 1 : 0) << ((i - begin) % 8));
  }
  return to + bytes;
}

uint8_t* PackBytes(const uint8_t* from, int64_t bytes, uint8_t* to) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return to + bytes;
}

}  // namespace

NestedCodec::NestedCodec(std::shared_ptr<arrow::DataType> type) : type_(std::move(type)) {
  const arrow::DataType& storage = feed::StorageOf(*type_);
  switch (storage.id()) {
    case Type::BOOL: kind_ = Kind::kBits; return;
    case Type::STRING:
    case Type::BINARY:
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      kind_ = Kind::kBytes;
      width_ = feed::PickKindOf(storage) == feed::PickKind::kBytes64 ? 8 : 4;
      return;
    case Type::LIST:
    case Type::MAP:
    case Type::LARGE_LIST:
      kind_ = Kind::kList;
      width_ = storage.id() == Type::LARGE_LIST ? 8 : 4;
      break;
    case Type::FIXED_SIZE_LIST:
      kind_ = Kind::kFixedList;
      width_ = static_cast<const arrow::FixedSizeListType&>(storage).list_size();
      break;
    case Type::STRUCT: kind_ = Kind::kStruct; break;
    default: width_ = feed::PickWidthOf(storage); return;
  }
  for (const auto& field : storage.fields()) children_.emplace_back(field->type());
}

int64_t NestedCodec::OffsetAt(const ArrayData& array, int64_t i) const {
  const uint8_t* const offsets = BufferOf(array, 1);
  if (offsets == nullptr) return 0;  // of no values there need be none
  return large() ? reinterpret_cast<const int64_t*>(offsets)[array.offset + i]
                 : reinterpret_cast<const int32_t*>(offsets)[array.offset + i];
}

int64_t NestedCodec::SizeOf(const ArrayData& array, int64_t begin, int64_t end) const {
  const int64_t count = end - begin;
  const int64_t bytes = 1 + (AnyNull(array, begin, end) ? BytesForBits(count) : 0);
  switch (kind_) {
    case Kind::kBits: return bytes + BytesForBits(count);
    case Kind::kFixed: return bytes + count * width_;
    case Kind::kBytes: return bytes + count * 4 + OffsetAt(array, end) - OffsetAt(array, begin);
    case Kind::kList: {
      const int64_t first = OffsetAt(array, begin);
      const int64_t last = OffsetAt(array, end);
      // The lengths have 4 bytes. Such a row is refused for its size.
      if (last - first > kMostItems) return last - first;
      return bytes + count * 4 + children_[0].SizeOf(*array.child_data[0], first, last);
    }
    case Kind::kFixedList:
      return bytes + children_[0].SizeOf(*array.child_data[0], (array.offset + begin) * width_,
                                         (array.offset + end) * width_);
    case Kind::kStruct: break;
  }
  int64_t all = bytes;
  for (size_t c = 0; c < children_.size(); ++c) {
    all += children_[c].SizeOf(*array.child_data[c], array.offset + begin, array.offset + end);
  }
  return all;
}

int64_t NestedCodec::EachBytes() const {
  int64_t bytes = 3;  // whether there are nulls, and two times bits that fill no byte
  for (const NestedCodec& child : children_) bytes += child.EachBytes();
  return bytes;
}

uint8_t* NestedCodec::Pack(const ArrayData& array, int64_t begin, int64_t end, uint8_t* to) const {
  const bool nulls = AnyNull(array, begin, end);
  *to++ = nulls ? 1 : 0;
  if (nulls) to = PackBits(BufferOf(array, 0), array.offset + begin, array.offset + end, to);
  switch (kind_) {
    case Kind::kBits:
      return PackBits(BufferOf(array, 1), array.offset + begin, array.offset + end, to);
    case Kind::kFixed:
      return PackBytes(BufferOf(array, 1) + (array.offset + begin) * width_, (end - begin) * width_,
                       to);
    case Kind::kFixedList:
      return children_[0].Pack(*array.child_data[0], (array.offset + begin) * width_,
                               (array.offset + end) * width_, to);
    case Kind::kStruct:
      for (size_t c = 0; c < children_.size(); ++c) {
        to = children_[c].Pack(*array.child_data[c], array.offset + begin, array.offset + end, to);
      }
      return to;
    case Kind::kBytes:
    case Kind::kList: break;
  }
  const int64_t first = OffsetAt(array, begin);
  int64_t last = first;
  for (int64_t i = begin; i < end; ++i, to += 4) {
    const int64_t next = OffsetAt(array, i + 1);
    const auto length = static_cast<uint32_t>(next - last);
    std::memcpy(to, &length, 4);
    last = next;
  }
  if (kind_ == Kind::kBytes) return PackBytes(BufferOf(array, 2) + first, last - first, to);
  return children_[0].Pack(*array.child_data[0], first, last, to);
}

NestedCodec::Reader::Reader(const NestedCodec& codec) : codec_(codec) {
  for (const NestedCodec& child : codec_.children_) children_.emplace_back(child);
}

arrow::Status NestedCodec::Reader::ReadValidity(int64_t count, const uint8_t** from) {
  const bool nulls = *(*from)++ != 0;
  const int64_t before = std::exchange(length_, length_ + count);
  if (!nulls && nulls_ == 0) return {};  // no bits before the first null
  if (nulls_ == 0) ARROW_RETURN_NOT_OK(validity_.Append(before, true));
  if (!nulls) return validity_.Append(count, true);
  ARROW_RETURN_NOT_OK(validity_.Reserve(count));
  for (int64_t i = 0; i < count; ++i) {
    const bool valid = GetBit(*from, i);
    validity_.UnsafeAppend(valid);
    nulls_ += valid ? 0 : 1;
  }
  *from += BytesForBits(count);
  return {};
}

arrow::Status NestedCodec::Reader::ReadBits(int64_t count, const uint8_t** from) {
  ARROW_RETURN_NOT_OK(bits_.Reserve(count));
  for (int64_t i = 0; i < count; ++i) bits_.UnsafeAppend(GetBit(*from, i));
  *from += BytesForBits(count);
  return {};
}

template <typename Offset>
arrow::Result<int64_t> NestedCodec::Reader::ReadLengths(int64_t count, const uint8_t** from) {
  ARROW_RETURN_NOT_OK(values_.Reserve(count * static_cast<int64_t>(sizeof(Offset))));
  const int64_t begin = end_;
  for (int64_t i = 0; i < count; ++i, *from += 4) {
    uint32_t length;
    std::memcpy(&length, *from, 4);
    end_ += length;
    if (end_ > std::numeric_limits<Offset>::max()) {
      return Error(Code::kResourceExhausted, "values of type ", codec_.type_->ToString(), " have ",
                   end_, " bytes or items, more than fit a batch: write them as a large type");
    }
    const auto offset = static_cast<Offset>(end_);
    values_.UnsafeAppend(&offset, sizeof(offset));
  }
  return end_ - begin;
}

arrow::Result<int64_t> NestedCodec::Reader::ReadLengths(int64_t count, const uint8_t** from) {
  if (values_.length() == 0) ARROW_RETURN_NOT_OK(values_.Append(codec_.width_, uint8_t{0}));
  return codec_.large() ? ReadLengths<int64_t>(count, from) : ReadLengths<int32_t>(count, from);
}

arrow::Status NestedCodec::Reader::Read(int64_t count, const uint8_t** from) {
  ARROW_RETURN_NOT_OK(ReadValidity(count, from));
  switch (codec_.kind_) {
    case Kind::kBits: return ReadBits(count, from);
    case Kind::kFixed: {
      ARROW_RETURN_NOT_OK(values_.Append(*from, count * codec_.width_));
      *from += count * codec_.width_;
      return {};
    }
    case Kind::kBytes: {
      ARROW_ASSIGN_OR_RAISE(const int64_t bytes, ReadLengths(count, from));
      ARROW_RETURN_NOT_OK(bytes_.Append(*from, bytes));
      *from += bytes;
      return {};
    }
    case Kind::kList: {
      ARROW_ASSIGN_OR_RAISE(const int64_t items, ReadLengths(count, from));
      return children_[0].Read(items, from);
    }
    case Kind::kFixedList: return children_[0].Read(count * codec_.width_, from);
    case Kind::kStruct: break;
  }
  for (Reader& child : children_) ARROW_RETURN_NOT_OK(child.Read(count, from));
  return {};
}

arrow::Result<std::shared_ptr<ArrayData>> NestedCodec::Reader::Finish() {
  std::vector<std::shared_ptr<arrow::Buffer>> buffers(1);
  if (nulls_ > 0) {
    ARROW_ASSIGN_OR_RAISE(buffers[0], validity_.Finish());
  }
  switch (codec_.kind_) {
    case Kind::kBits: {
      ARROW_ASSIGN_OR_RAISE(buffers.emplace_back(), bits_.Finish());
      break;
    }
    case Kind::kBytes:
    case Kind::kList:
      // Of no values there is one offset.
      if (values_.length() == 0) ARROW_RETURN_NOT_OK(values_.Append(codec_.width_, uint8_t{0}));
      [[fallthrough]];
    case Kind::kFixed: {
      ARROW_ASSIGN_OR_RAISE(buffers.emplace_back(), values_.Finish());
      break;
    }
    case Kind::kFixedList:
    case Kind::kStruct: break;
  }
  if (codec_.kind_ == Kind::kBytes) {
    ARROW_ASSIGN_OR_RAISE(buffers.emplace_back(), bytes_.Finish());
  }
  std::vector<std::shared_ptr<ArrayData>> children(children_.size());
  for (size_t c = 0; c < children.size(); ++c) {
    ARROW_ASSIGN_OR_RAISE(children[c], children_[c].Finish());
  }
  return ArrayData::Make(codec_.type_, length_, std::move(buffers), std::move(children), nulls_);
}

}  // namespace flightbridge::deal
