// String tensors whose memory is used again.
//
// A tstring of more than 22 bytes lies in memory of its own. Batches of strings are made by one
// thread and let go by another, so each malloc and free of theirs would wait for the other: at 100
// bytes that is ten times the cost of the copy. So the strings of a tensor that is gone are kept,
// with their memory, and the next batch is written over them.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "flightbridge/c_api.h"
#include "tensorflow/core/framework/allocation_description.pb.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/platform/ctstring.h"
#include "tensorflow/core/platform/tstring.h"

namespace flightbridge_tf {

// An array of strings. TF_TString is what a tstring is, by TensorFlow's C API.
class Strings {
 public:
  explicit Strings(int64_t capacity)
      : capacity_(capacity), strings_(new TF_TString[capacity]()) {}  // zeros: small and empty
  ~Strings() {
    for (int64_t i = 0; i < capacity_; ++i) TF_TString_Dealloc(&strings_[i]);
  }
  Strings(const Strings&) = delete;
  Strings& operator=(const Strings&) = delete;

  int64_t capacity() const { return capacity_; }
  TF_TString* data() { return strings_.get(); }

  // Writes the values of a column of FB_BYTES over the first strings.
  void Assign(const fb_column& column) {
    const char* const data = static_cast<const char*>(column.data);
    for (int64_t i = 0; i < column.length; ++i) {
      const int64_t begin = column.offsets[i];
      const size_t size = column.offsets[i + 1] - begin;
      Put(&strings_[i], data + begin, size, column.data_bytes - begin);
    }
  }

 private:
  static constexpr size_t kSmall = TF_TString_SmallCapacity;
  // Memory that a string may keep though it needs less.
  static constexpr size_t kSpare = 256;

  // `readable` bytes may be read at `from`, of which `size` are the value.
  static void Put(TF_TString* to, const char* from, size_t size, int64_t readable) {
    const bool large = TF_TString_GetType(to) == TF_TSTR_LARGE;
    if (large && size <= to->u.large.cap && to->u.large.cap <= kSpare + 2 * size) {
      if (size > 0) std::memcpy(to->u.large.ptr, from, size);
      to->u.large.ptr[size] = '\0';
      to->u.large.size = TF_TString_ToInternalSizeT(size, TF_TSTR_LARGE);
    } else if (!large && size <= kSmall && readable >= static_cast<int64_t>(kSmall)) {
      // Of a known length, so that no call is made; what lies behind the NUL means nothing.
      std::memcpy(to->u.smll.str, from, kSmall);
      to->u.smll.str[size] = '\0';
      to->u.smll.size = static_cast<uint8_t>(size << 2 | TF_TSTR_SMALL);
    } else {
      // Not by resizing: that would copy the old value along.
      TF_TString_Dealloc(to);
      TF_TString_Init(to);
      TF_TString_Copy(to, from, size);
    }
  }

  const int64_t capacity_;
  const std::unique_ptr<TF_TString[]> strings_;
};
static_assert(sizeof(TF_TString) == sizeof(tensorflow::tstring));

// Keeps strings of one column. Thread-safe. Tensors hold it, so it outlives its iterator.
class StringPool {
 public:
  std::unique_ptr<Strings> Get(int64_t length) {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      while (!idle_.empty()) {
        std::unique_ptr<Strings> strings = std::move(idle_.back());
        idle_.pop_back();
        if (strings->capacity() >= length) return strings;
      }
    }
    return std::make_unique<Strings>(length);
  }

  void Put(std::unique_ptr<Strings> strings) {
    const std::lock_guard<std::mutex> lock(mu_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(strings));
  }

 private:
  static constexpr size_t kMaxIdle = 4;
  std::mutex mu_;
  std::vector<std::unique_ptr<Strings>> idle_;
};

// Strings, lent to a tensor.
class StringBuffer final : public tensorflow::TensorBuffer {
 public:
  StringBuffer(std::shared_ptr<StringPool> pool, std::unique_ptr<Strings> strings, int64_t length)
      : TensorBuffer(strings->data()),
        pool_(std::move(pool)),
        strings_(std::move(strings)),
        bytes_(length * sizeof(TF_TString)) {}
  ~StringBuffer() override { pool_->Put(std::move(strings_)); }

  size_t size() const override { return bytes_; }
  TensorBuffer* root_buffer() override { return this; }
  void FillAllocationDescription(tensorflow::AllocationDescription* proto) const override {
    proto->set_requested_bytes(static_cast<int64_t>(bytes_));
    proto->set_allocator_name("flightbridge_strings");
    proto->set_ptr(reinterpret_cast<uintptr_t>(data()));
  }
  // No kernel may take it for its output.
  bool OwnsMemory() const override { return false; }

 private:
  const std::shared_ptr<StringPool> pool_;
  std::unique_ptr<Strings> strings_;
  const size_t bytes_;
};

// A tensor of a column of FB_BYTES.
inline tensorflow::Tensor StringTensor(const std::shared_ptr<StringPool>& pool,
                                       const fb_column& column,
                                       const tensorflow::TensorShape& shape) {
  if (column.length == 0) return tensorflow::Tensor(tensorflow::DT_STRING, shape);
  std::unique_ptr<Strings> strings = pool->Get(column.length);
  strings->Assign(column);
  tensorflow::core::RefCountPtr<tensorflow::TensorBuffer> buffer(
      new StringBuffer(pool, std::move(strings), column.length));
  return tensorflow::Tensor(tensorflow::DT_STRING, shape, std::move(buffer));
}

}  // namespace flightbridge_tf
