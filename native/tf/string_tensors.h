// String tensors over a batch's slab.
//
// A tstring of more than 22 bytes lies in memory of its own, as a rule. Batches of strings are made
// by one thread and let go by another, so each malloc and free of theirs would wait for the other:
// at 100 bytes that is ten times the cost of the copy. So the reader's threads write a column's
// strings into the slab, characters and tstrings both, and the tensor is lent them as they are.
//
// A string that points into a slab must never be taken over by another tensor, which would free it.
// TensorFlow copies strings, except out of a tensor that is the only owner of its memory
// (Tensor::RefCountIsOne); so none of these ever is.
#pragma once

#include <algorithm>
#include <cstdint>
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

// As the core writes them (src/batch/tstring.h): a tstring is what the C API calls TF_TString, and
// that is where its kind and its size are.
static_assert(sizeof(TF_TString) == 24 && sizeof(tensorflow::tstring) == sizeof(TF_TString));
static_assert(TF_TSTR_SMALL == 0 && TF_TSTR_LARGE == 1 && TF_TString_SmallCapacity == 22);

// A column's strings. Keeps the batch, and so the slab, until the tensor and all of its slices are
// gone: slices hold this, and not the tensor's StringBuffer.
class Strings final : public tensorflow::TensorBuffer {
 public:
  Strings(fb_batch* batch, const fb_column& column)
      : TensorBuffer(const_cast<void*>(column.tstrings)),
        batch_(batch),
        bytes_(static_cast<size_t>(column.length) * sizeof(TF_TString)) {
    fb_batch_retain(batch_);
  }
  ~Strings() override { fb_batch_release(batch_); }

  size_t size() const override { return bytes_; }
  TensorBuffer* root_buffer() override { return this; }
  void FillAllocationDescription(tensorflow::AllocationDescription* proto) const override {
    proto->set_requested_bytes(static_cast<int64_t>(bytes_));
    proto->set_allocator_name("flightbridge_slab");
    proto->set_ptr(reinterpret_cast<uintptr_t>(data()));
  }

 private:
  fb_batch* const batch_;
  const size_t bytes_;
};

using StringsPtr = tensorflow::core::RefCountPtr<Strings>;

// Strings whose tensor is gone and has slices that are not. One reference to them is held here, or
// the last slice would look like their only owner. They are looked through whenever strings are
// let go.
class SlicedStrings {
 public:
  // A tensor has no more use for them.
  static void LetGo(StringsPtr strings) {
    Lists& lists = All();
    const std::lock_guard<std::mutex> lock(lists.mu);
    if (!strings->RefCountIsOne()) lists.held.push_back(std::move(strings));
    lists.held.erase(std::remove_if(lists.held.begin(), lists.held.end(),
                                    [](const StringsPtr& held) { return held->RefCountIsOne(); }),
                     lists.held.end());
  }

 private:
  struct Lists {
    std::mutex mu;
    std::vector<StringsPtr> held;
  };
  static Lists& All() {
    static Lists* const lists = new Lists;  // tensors may outlive every static
    return *lists;
  }
};

// Strings, lent to a tensor.
class StringBuffer final : public tensorflow::TensorBuffer {
 public:
  explicit StringBuffer(StringsPtr strings)
      : TensorBuffer(strings->data()), strings_(std::move(strings)) {}
  ~StringBuffer() override { SlicedStrings::LetGo(std::move(strings_)); }

  size_t size() const override { return strings_->size(); }
  TensorBuffer* root_buffer() override { return strings_.get(); }
  void FillAllocationDescription(tensorflow::AllocationDescription* proto) const override {
    strings_->FillAllocationDescription(proto);
  }
  // No kernel may take it for its output, or strings out of it.
  bool OwnsMemory() const override { return false; }

 private:
  StringsPtr strings_;
};

// A tensor of a column of FB_BYTES.
inline tensorflow::Tensor StringTensor(fb_batch* batch, const fb_column& column,
                                       const tensorflow::TensorShape& shape) {
  if (column.length == 0) return tensorflow::Tensor(tensorflow::DT_STRING, shape);
  tensorflow::core::RefCountPtr<tensorflow::TensorBuffer> buffer(
      new StringBuffer(StringsPtr(new Strings(batch, column))));
  return tensorflow::Tensor(tensorflow::DT_STRING, shape, std::move(buffer));
}

}  // namespace flightbridge_tf
