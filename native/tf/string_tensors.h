// String tensors whose memory is used again.
//
// A tstring of more than 22 bytes lies in memory of its own, as a rule. Batches of strings are made
// by one thread and let go by another, so each malloc and free of theirs would wait for the other:
// at 100 bytes that is ten times the cost of the copy. So the values of a tensor lie behind one
// another in one block, the tensor's strings point there, and when it is gone the next batch is
// written over both.
//
// A string that points into a block must never be taken over by another tensor, which would free
// it. TensorFlow copies strings, except out of a tensor that is the only owner of its memory
// (Tensor::RefCountIsOne); so none of these ever is.
#pragma once

#include <algorithm>
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
#include "tensorflow/core/lib/core/refcount.h"
#include "tensorflow/core/platform/ctstring.h"
#include "tensorflow/core/platform/tstring.h"

namespace flightbridge_tf {

// An array of strings and the block with their bytes. TF_TString is what a tstring is, by
// TensorFlow's C API. Slices of a tensor hold it by themselves, and not the tensor's StringBuffer.
class Strings final : public tensorflow::TensorBuffer {
 public:
  // Room for the values of a column of FB_BYTES.
  explicit Strings(const fb_column& column)
      : Strings(column.length + column.length / kSpare,
                BytesOf(column) + BytesOf(column) / kSpare) {}
  ~Strings() override = default;

  bool Fits(const fb_column& column) const {
    return column.length <= capacity_ && BytesOf(column) <= bytes_;
  }

  // Writes the column's values over those of before. Lengths that vary would make a choice for each
  // value a costly one, so it is made for all of them.
  void Assign(const fb_column& column) {
    int64_t longest = 0;
    for (int64_t i = 0; i < column.length; ++i) {
      longest = std::max(longest, column.offsets[i + 1] - column.offsets[i]);
    }
    if (longest <= kSmall) {
      AssignSmall(column);
    } else {
      AssignLarge(column);
    }
  }

  size_t size() const override { return static_cast<size_t>(capacity_) * sizeof(TF_TString); }
  TensorBuffer* root_buffer() override { return this; }
  void FillAllocationDescription(tensorflow::AllocationDescription* proto) const override {
    proto->set_requested_bytes(static_cast<int64_t>(size()) + bytes_);
    proto->set_allocator_name("flightbridge_strings");
    proto->set_ptr(reinterpret_cast<uintptr_t>(data()));
  }

 private:
  static constexpr int64_t kSmall = TF_TString_SmallCapacity;
  static constexpr int64_t kStep = 64;
  static constexpr int64_t kSpare = 8;  // an eighth more than what is needed now

  Strings(int64_t capacity, int64_t bytes)
      : Strings(capacity, bytes, std::unique_ptr<TF_TString[]>(new TF_TString[capacity])) {}
  Strings(int64_t capacity, int64_t bytes, std::unique_ptr<TF_TString[]> strings)
      : TensorBuffer(strings.get()),
        capacity_(capacity),
        bytes_(bytes),
        strings_(std::move(strings)),
        block_(new char[bytes]) {}

  // Into the strings themselves.
  void AssignSmall(const fb_column& column) {
    for (int64_t i = 0; i < column.length; ++i) {
      const int64_t begin = column.offsets[i];
      const int64_t size = column.offsets[i + 1] - begin;
      TF_TString_Small& string = strings_[i].u.smll;
      Copy<kSmall>(string.str, column, begin, size);
      string.str[size] = '\0';  // what lies behind it means nothing
      string.size = static_cast<uint8_t>(size << 2 | TF_TSTR_SMALL);
    }
  }

  // Into the block.
  void AssignLarge(const fb_column& column) {
    char* to = block_.get();
    for (int64_t i = 0; i < column.length; ++i) {
      const int64_t begin = column.offsets[i];
      const int64_t size = column.offsets[i + 1] - begin;
      TF_TString_Large& string = strings_[i].u.large;
      string.size = TF_TString_ToInternalSizeT(static_cast<size_t>(size), TF_TSTR_LARGE);
      string.cap = static_cast<size_t>(size);
      string.ptr = to;
      Copy<kStep>(to, column, begin, size);  // the next value is written over what is too much
      to[size] = '\0';
      to += size + 1;
    }
  }

  // Copies `Step` bytes where so many may be read and written, which takes no call.
  template <int64_t Step>
  static void Copy(char* to, const fb_column& column, int64_t begin, int64_t size) {
    const char* const from = static_cast<const char*>(column.data) + begin;
    if (size <= Step && begin + Step <= column.data_bytes) {
      std::memcpy(to, from, Step);
    } else if (size > 0) {
      std::memcpy(to, from, static_cast<size_t>(size));
    }
  }

  // With a NUL behind each value, as those who ask for c_str() expect, and what Assign may write
  // too much.
  static int64_t BytesOf(const fb_column& column) {
    return column.offsets[column.length] - column.offsets[0] + column.length + kStep;
  }

  const int64_t capacity_;
  const int64_t bytes_;
  const std::unique_ptr<TF_TString[]> strings_;
  const std::unique_ptr<char[]> block_;
};
static_assert(sizeof(TF_TString) == sizeof(tensorflow::tstring));

using StringsPtr = tensorflow::core::RefCountPtr<Strings>;

// Strings whose tensor is gone and has slices that are not. One reference to them is held here, or
// the last slice would look like their only owner. They are looked through whenever strings are
// let go.
class SlicedStrings {
 public:
  static void Hold(StringsPtr strings) {
    Lists& lists = All();
    const std::lock_guard<std::mutex> lock(lists.mu);
    lists.held.push_back(std::move(strings));
    lists.Drop();
  }

  static void DropUnused() {
    Lists& lists = All();
    const std::lock_guard<std::mutex> lock(lists.mu);
    lists.Drop();
  }

 private:
  struct Lists {
    void Drop() {
      held.erase(std::remove_if(held.begin(), held.end(),
                                [](const StringsPtr& strings) { return strings->RefCountIsOne(); }),
                 held.end());
    }
    std::mutex mu;
    std::vector<StringsPtr> held;
  };
  static Lists& All() {
    static Lists* const lists = new Lists;  // tensors may outlive every static
    return *lists;
  }
};

// Keeps strings of one column. Thread-safe. Tensors hold it, so it outlives its iterator.
class StringPool {
 public:
  // With room for the column.
  StringsPtr Get(const fb_column& column) {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      while (!idle_.empty()) {
        StringsPtr strings = std::move(idle_.back());
        idle_.pop_back();
        if (strings->Fits(column)) return strings;
      }
    }
    return StringsPtr(new Strings(column));
  }

  void Put(StringsPtr strings) {
    if (!strings->RefCountIsOne()) return SlicedStrings::Hold(std::move(strings));
    SlicedStrings::DropUnused();
    const std::lock_guard<std::mutex> lock(mu_);
    if (idle_.size() < kMaxIdle) idle_.push_back(std::move(strings));
  }

 private:
  static constexpr size_t kMaxIdle = 4;
  std::mutex mu_;
  std::vector<StringsPtr> idle_;
};

// Strings, lent to a tensor.
class StringBuffer final : public tensorflow::TensorBuffer {
 public:
  StringBuffer(std::shared_ptr<StringPool> pool, StringsPtr strings, int64_t length)
      : TensorBuffer(strings->data()),
        pool_(std::move(pool)),
        strings_(std::move(strings)),
        bytes_(length * sizeof(TF_TString)) {}
  ~StringBuffer() override { pool_->Put(std::move(strings_)); }

  size_t size() const override { return bytes_; }
  TensorBuffer* root_buffer() override { return strings_.get(); }
  void FillAllocationDescription(tensorflow::AllocationDescription* proto) const override {
    strings_->FillAllocationDescription(proto);
  }
  // No kernel may take it for its output, or strings out of it.
  bool OwnsMemory() const override { return false; }

 private:
  const std::shared_ptr<StringPool> pool_;
  StringsPtr strings_;
  const size_t bytes_;
};

// A tensor of a column of FB_BYTES.
inline tensorflow::Tensor StringTensor(const std::shared_ptr<StringPool>& pool,
                                       const fb_column& column,
                                       const tensorflow::TensorShape& shape) {
  if (column.length == 0) return tensorflow::Tensor(tensorflow::DT_STRING, shape);
  StringsPtr strings = pool->Get(column);
  strings->Assign(column);
  tensorflow::core::RefCountPtr<tensorflow::TensorBuffer> buffer(
      new StringBuffer(pool, std::move(strings), column.length));
  return tensorflow::Tensor(tensorflow::DT_STRING, shape, std::move(buffer));
}

}  // namespace flightbridge_tf
