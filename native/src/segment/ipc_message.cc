#include "segment/ipc_message.h"

#include <algorithm>
#include <cstring>

#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/checksum_internal.h"
#include "segment/segment.h"

namespace flightbridge::segment {
namespace {

// Field numbers of Message.fbs.
constexpr int kMessageHeaderType = 1, kMessageHeader = 2, kMessageBodyLength = 3;
constexpr int kDictionaryId = 0, kDictionaryData = 1, kDictionaryIsDelta = 2;
constexpr int kBatchLength = 0, kBatchNodes = 1, kBatchBuffers = 2, kBatchCompression = 3;
constexpr uint8_t kHeaderDictionary = 2, kHeaderRecordBatch = 3;

// Far above any real one, and rounding it up cannot overflow.
constexpr int64_t kMostBodyBytes = int64_t{1} << 62;

arrow::Status Damaged(const char* what) {
  return Error(Code::kDataLoss, "damaged Arrow IPC message: ", what);
}

// A cursor over a flatbuffer. Offsets are relative to the start of the buffer.
class Flatbuffer {
 public:
  Flatbuffer(const uint8_t* data, int64_t size) : data_(data), size_(size) {}

  template <typename T>
  arrow::Result<T> Read(int64_t at) const {
    if (at < 0 || at > size_ - static_cast<int64_t>(sizeof(T)))
      return Damaged("offset out of range");
    T value;
    std::memcpy(&value, data_ + at, sizeof(T));
    return value;
  }
  // Where the field's value lies; 0 where it has its default.
  arrow::Result<int64_t> Field(int64_t table, int number) const {
    ARROW_ASSIGN_OR_RAISE(const auto back, Read<int32_t>(table));
    const int64_t vtable = table - back;
    ARROW_ASSIGN_OR_RAISE(const auto vtable_size, Read<uint16_t>(vtable));
    const int entry = 4 + 2 * number;
    if (entry + 2 > vtable_size) return 0;
    ARROW_ASSIGN_OR_RAISE(const auto offset, Read<uint16_t>(vtable + entry));
    return offset == 0 ? 0 : table + offset;
  }
  template <typename T>
  arrow::Result<T> Scalar(int64_t table, int number) const {
    ARROW_ASSIGN_OR_RAISE(const int64_t at, Field(table, number));
    if (at == 0) return T{};
    return Read<T>(at);
  }
  arrow::Result<int64_t> Follow(int64_t at) const {
    ARROW_ASSIGN_OR_RAISE(const auto offset, Read<uint32_t>(at));
    return at + offset;
  }
  arrow::Result<int64_t> Table(int64_t table, int number) const {
    ARROW_ASSIGN_OR_RAISE(const int64_t at, Field(table, number));
    if (at == 0) return Damaged("a table is missing");
    return Follow(at);
  }
  template <typename T>
  arrow::Result<std::span<const T>> Vector(int64_t table, int number) const {
    ARROW_ASSIGN_OR_RAISE(const int64_t field, Field(table, number));
    if (field == 0) return std::span<const T>{};
    ARROW_ASSIGN_OR_RAISE(const int64_t at, Follow(field));
    ARROW_ASSIGN_OR_RAISE(const auto count, Read<uint32_t>(at));
    if (count == 0) return std::span<const T>{};  // an empty vector lies anywhere
    const int64_t begin = at + 4;
    if (count == 0) return std::span<const T>{};
    if (begin % static_cast<int64_t>(alignof(T)) != 0) return Damaged("a vector is not aligned");
    if (count > (size_ - begin) / static_cast<int64_t>(sizeof(T))) {
      return Damaged("a vector is longer than the message");
    }
    return std::span<const T>(reinterpret_cast<const T*>(data_ + begin), count);
  }

 private:
  const uint8_t* data_;
  int64_t size_;
};

}  // namespace

arrow::Result<IpcMessage> IpcMessage::Parse(const uint8_t* data, int64_t size) {
  if (reinterpret_cast<uintptr_t>(data) % 8 != 0) return Damaged("it is not aligned");
  const Flatbuffer flatbuffer(data, size);
  IpcMessage message;
  ARROW_ASSIGN_OR_RAISE(const int64_t root, flatbuffer.Follow(0));
  ARROW_ASSIGN_OR_RAISE(const auto type, flatbuffer.Scalar<uint8_t>(root, kMessageHeaderType));
  ARROW_ASSIGN_OR_RAISE(message.body_length, flatbuffer.Scalar<int64_t>(root, kMessageBodyLength));
  ARROW_ASSIGN_OR_RAISE(int64_t batch, flatbuffer.Table(root, kMessageHeader));
  if (type == kHeaderDictionary) {
    message.is_dictionary = true;
    ARROW_ASSIGN_OR_RAISE(message.dictionary_id, flatbuffer.Scalar<int64_t>(batch, kDictionaryId));
    ARROW_ASSIGN_OR_RAISE(const auto delta, flatbuffer.Scalar<uint8_t>(batch, kDictionaryIsDelta));
    message.is_delta = delta != 0;
    ARROW_ASSIGN_OR_RAISE(batch, flatbuffer.Table(batch, kDictionaryData));
  } else if (type != kHeaderRecordBatch) {
    return Damaged("neither a record batch nor a dictionary");
  }
  ARROW_ASSIGN_OR_RAISE(message.rows, flatbuffer.Scalar<int64_t>(batch, kBatchLength));
  ARROW_ASSIGN_OR_RAISE(message.nodes, flatbuffer.Vector<FieldNode>(batch, kBatchNodes));
  ARROW_ASSIGN_OR_RAISE(message.buffers, flatbuffer.Vector<BufferRange>(batch, kBatchBuffers));
  ARROW_ASSIGN_OR_RAISE(const int64_t compression, flatbuffer.Field(batch, kBatchCompression));
  message.compressed = compression != 0;
  return message;
}

arrow::Result<uint32_t> IpcMessage::Checksum(const uint8_t* body, int64_t body_size) const {
  uint32_t crc = CrcOfNodes(rows, nodes);
  for (const BufferRange& buffer : buffers) {
    if (buffer.offset < 0 || buffer.length < 0 || buffer.offset > body_size ||
        buffer.length > body_size - buffer.offset) {
      return Damaged("a buffer lies outside of the body");
    }
    crc = CrcOfSize(crc, buffer.length);
    crc = Crc32c(crc, body + buffer.offset, static_cast<size_t>(buffer.length));
  }
  return crc;
}

arrow::Status IpcMessage::CheckAligned() const {
  if (body_length < 0 || body_length > kMostBodyBytes) {
    return Damaged("the body has an impossible length");
  }
  int64_t offset = 0;
  for (const BufferRange& buffer : buffers) {
    if (buffer.offset != offset) return Damaged("a buffer is not where it should be");
    if (buffer.length < 0 || buffer.length > body_length - offset) {
      return Damaged("a buffer lies outside of the body");
    }
    offset += RoundUp(buffer.length);
  }
  return offset == body_length ? arrow::Status::OK() : Damaged("the body has the wrong length");
}

arrow::Result<int64_t> AlignBuffers(uint8_t* metadata, int64_t size) {
  ARROW_ASSIGN_OR_RAISE(const IpcMessage message, IpcMessage::Parse(metadata, size));
  int64_t offset = 0;
  for (const BufferRange& range : message.buffers) {
    if (range.length < 0 || range.length > kMostBodyBytes - offset) {
      return Damaged("a buffer has an impossible length");
    }
    auto* buffer = metadata + (reinterpret_cast<const uint8_t*>(&range) - metadata);
    std::memcpy(buffer + offsetof(BufferRange, offset), &offset, sizeof(offset));
    offset += RoundUp(range.length);
  }
  const Flatbuffer flatbuffer(metadata, size);
  ARROW_ASSIGN_OR_RAISE(const int64_t root, flatbuffer.Follow(0));
  ARROW_ASSIGN_OR_RAISE(const int64_t at, flatbuffer.Field(root, kMessageBodyLength));
  if (at != 0) {
    std::memcpy(metadata + at, &offset, sizeof(offset));
  } else if (offset != 0) {
    return Damaged("a body without a length");
  }
  return offset;
}

}  // namespace flightbridge::segment
