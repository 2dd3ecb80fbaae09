// Columns of an fb_batch as tensors. Nothing is copied: all of them stay where they are, in the
// slab.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "flightbridge/c_api.h"
#include "string_tensors.h"
#include "tensorflow/core/framework/allocation_description.pb.h"
#include "tensorflow/core/framework/partial_tensor_shape.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/types.h"

namespace flightbridge_tf {

// Memory of a slab, lent to a tensor. Keeps the batch (and so the slab) until the tensor is gone.
class SlabBuffer final : public tensorflow::TensorBuffer {
 public:
  SlabBuffer(fb_batch* batch, const void* data, size_t bytes)
      : TensorBuffer(const_cast<void*>(data)), batch_(batch), bytes_(bytes) {
    fb_batch_retain(batch_);
  }
  ~SlabBuffer() override { fb_batch_release(batch_); }

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

// How a column's parts become tensors: the op's `layout` attribute has one per column, of the form
//
//   dense           values [rows, ...]
//   ragged<n>       values [length, ...], then n row splits int64, the outermost first
//   sparse          values [length], indices int64 [length, 2], dense shape int64 [2]
//
// with "+mask" where a bool tensor of the values' shape comes last.
struct Layout {
  int levels = 0;
  bool sparse = false;
  bool mask = false;

  int components() const { return 1 + levels + (sparse ? 2 : 0) + (mask ? 1 : 0); }
};

inline bool ParseLayout(const std::string& name, Layout* out) {
  constexpr std::string_view kMask = "+mask", kRagged = "ragged";
  std::string_view rest = name;
  *out = {};
  if (rest.size() > kMask.size() && rest.substr(rest.size() - kMask.size()) == kMask) {
    out->mask = true;
    rest.remove_suffix(kMask.size());
  }
  if (rest == "dense") return true;
  if (rest == "sparse") return out->sparse = true;
  if (rest.substr(0, kRagged.size()) != kRagged) return false;
  rest.remove_prefix(kRagged.size());
  if (rest.size() != 1 || rest[0] < '1' || rest[0] > '0' + FB_MAX_LEVELS) return false;
  out->levels = rest[0] - '0';
  return true;
}

inline tensorflow::DataType TensorType(int32_t dtype) {
  switch (dtype) {
    case FB_BOOL: return tensorflow::DT_BOOL;
    case FB_INT8: return tensorflow::DT_INT8;
    case FB_INT16: return tensorflow::DT_INT16;
    case FB_INT32: return tensorflow::DT_INT32;
    case FB_INT64: return tensorflow::DT_INT64;
    case FB_UINT8: return tensorflow::DT_UINT8;
    case FB_UINT16: return tensorflow::DT_UINT16;
    case FB_UINT32: return tensorflow::DT_UINT32;
    case FB_UINT64: return tensorflow::DT_UINT64;
    case FB_FLOAT16: return tensorflow::DT_HALF;
    case FB_BFLOAT16: return tensorflow::DT_BFLOAT16;
    case FB_FLOAT32: return tensorflow::DT_FLOAT;
    case FB_FLOAT64: return tensorflow::DT_DOUBLE;
    case FB_BYTES: return tensorflow::DT_STRING;
    default: return tensorflow::DT_INVALID;
  }
}

// A tensor over `data`. Eigen assumes aligned memory, so a buffer that is not gets copied.
inline tensorflow::Tensor FixedWidthTensor(fb_batch* batch, tensorflow::DataType type,
                                           const tensorflow::TensorShape& shape, const void* data) {
  const size_t bytes = shape.num_elements() * tensorflow::DataTypeSize(type);
  if (bytes == 0) return tensorflow::Tensor(type, shape);
  if (reinterpret_cast<uintptr_t>(data) % EIGEN_MAX_ALIGN_BYTES != 0) {
    tensorflow::Tensor copy(type, shape);
    std::memcpy(const_cast<char*>(copy.tensor_data().data()), data, bytes);
    return copy;
  }
  tensorflow::core::RefCountPtr<tensorflow::TensorBuffer> buffer(
      new SlabBuffer(batch, data, bytes));
  return tensorflow::Tensor(type, shape, std::move(buffer));
}

// Appends the column's tensors to `out`. `spec` is the shape promised for its values.
inline void AppendColumn(fb_batch* batch, const fb_column& column, const Layout& layout,
                         int64_t rows, const tensorflow::PartialTensorShape& spec,
                         std::vector<tensorflow::Tensor>* out) {
  using tensorflow::DT_INT64;
  using tensorflow::TensorShape;
  TensorShape shape;
  const bool wide = column.width > 0 && !layout.sparse;
  shape.AddDim(wide ? column.length / column.width : column.length);
  for (int i = 1; i < spec.dims(); ++i) shape.AddDim(spec.dim_size(i));
  if (column.dtype == FB_BYTES) {
    out->push_back(StringTensor(batch, column, shape));
  } else {
    out->push_back(FixedWidthTensor(batch, TensorType(column.dtype), shape, column.data));
  }
  for (int i = 0; i < layout.levels; ++i) {
    out->push_back(FixedWidthTensor(batch, DT_INT64, TensorShape({column.row_splits_length[i]}),
                                    column.row_splits[i]));
  }
  if (layout.sparse) {
    out->push_back(
        FixedWidthTensor(batch, DT_INT64, TensorShape({column.length, 2}), column.indices));
    tensorflow::Tensor dense_shape(DT_INT64, TensorShape({2}));
    dense_shape.vec<int64_t>()(0) = rows;
    dense_shape.vec<int64_t>()(1) = column.width;
    out->push_back(std::move(dense_shape));
  }
  if (layout.mask) {
    out->push_back(FixedWidthTensor(batch, tensorflow::DT_BOOL, shape, column.mask));
  }
}

}  // namespace flightbridge_tf
