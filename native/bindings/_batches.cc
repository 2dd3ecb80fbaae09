// Batches and slabs for Python: the buffer protocol and DLPack over the reader's memory, and the
// plan's functions for tests. Documented in flightbridge/batches.py and _batches.pyi.
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/c/abi.h>
#include <arrow/c/bridge.h>
#include <arrow/c/dlpack_abi.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "batch/batch.h"
#include "batch/layout.h"
#include "batch/reader.h"
#include "batch/row_assembler.h"
#include "batch/slab.h"
#include "batch/source.h"
#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "plan/order.h"
#include "plan/rows.h"
#include "plan/shard.h"

namespace py = pybind11;
namespace fb = flightbridge;
using fb::batch::Batch;
using fb::batch::ColumnLayout;

namespace {

// How often a blocked call looks for Ctrl-C.
constexpr std::chrono::milliseconds kSignalPeriod{100};

[[noreturn]] void Raise(const arrow::Status& status) {
  const py::object error =
      py::module_::import("flightbridge.errors")
          .attr("from_code")(static_cast<int>(fb::CodeOf(status)), status.message());
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

void Check(const arrow::Status& status) {
  if (!status.ok()) Raise(status);
}

template <typename T>
T Check(arrow::Result<T> result) {
  if (!result.ok()) Raise(result.status());
  return *std::move(result);
}

template <typename M>
M Parse(const py::bytes& bytes, const char* name) {
  auto message = fb::proto::Parse<M>(std::string_view(bytes));
  if (!message) {
    Raise(fb::Error(fb::Code::kInvalidArgument, name, " (", py::len(bytes), " bytes) is damaged"));
  }
  return *std::move(message);
}

// What Python, DLPack and the buffer protocol call an element type.
struct DtypeNames {
  const char* name;
  const char* format;  // of struct
  uint8_t dlpack_code;
};

DtypeNames NamesOf(int32_t dtype) {
  switch (dtype) {
    case FB_BOOL: return {"bool", "?", kDLBool};
    case FB_INT8: return {"int8", "b", kDLInt};
    case FB_INT16: return {"int16", "h", kDLInt};
    case FB_INT32: return {"int32", "i", kDLInt};
    case FB_INT64: return {"int64", "q", kDLInt};
    case FB_UINT8: return {"uint8", "B", kDLUInt};
    case FB_UINT16: return {"uint16", "H", kDLUInt};
    case FB_UINT32: return {"uint32", "I", kDLUInt};
    case FB_UINT64: return {"uint64", "Q", kDLUInt};
    case FB_FLOAT16: return {"float16", "e", kDLFloat};
    case FB_BFLOAT16: return {"bfloat16", "H", kDLBfloat};  // the buffer protocol has no such
    case FB_FLOAT32: return {"float32", "f", kDLFloat};
    case FB_FLOAT64: return {"float64", "d", kDLFloat};
    default: return {"bytes", "B", kDLUInt};
  }
}

using SharedLayouts = std::shared_ptr<const std::vector<ColumnLayout>>;

struct BatchReference {
  BatchReference(Batch* batch, SharedLayouts layouts) : batch(batch), layouts(std::move(layouts)) {
    batch->Retain();
  }
  ~BatchReference() { batch->Release(); }
  BatchReference(const BatchReference&) = delete;
  BatchReference& operator=(const BatchReference&) = delete;
  Batch* const batch;
  const SharedLayouts layouts;
};
using SharedBatch = std::shared_ptr<BatchReference>;

// An array in a slab, in C order; keeps the batch.
struct Column {
  SharedBatch batch;
  const ColumnLayout* layout = nullptr;  // of the reader, which the batch keeps
  std::string name;
  int32_t dtype = FB_INT64;
  void* data = nullptr;
  std::vector<int64_t> shape;
  std::unique_ptr<Column> offsets;
  std::vector<std::unique_ptr<Column>> row_splits;
  std::unique_ptr<Column> mask;
  std::unique_ptr<Column> indices;

  int64_t item_bytes() const {
    return dtype == FB_BYTES ? 1 : fb::batch::ItemBytes(static_cast<fb_dtype>(dtype));
  }
  // Of the elements of each dimension, in elements.
  std::vector<int64_t> strides() const {
    std::vector<int64_t> out(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) out[i - 1] = out[i] * shape[i];
    return out;
  }
  std::unique_ptr<Column> Part(int32_t part_dtype, const void* from,
                               std::vector<int64_t> part_shape) const {
    auto column = std::make_unique<Column>();
    column->batch = batch;
    column->layout = layout;
    column->name = name;
    column->dtype = part_dtype;
    column->data = const_cast<void*>(from);
    column->shape = std::move(part_shape);
    return column;
  }
};

std::unique_ptr<Column> MakeColumn(const SharedBatch& batch, const ColumnLayout& layout,
                                   const fb_column& from) {
  auto column = std::make_unique<Column>();
  column->batch = batch;
  column->layout = &layout;
  column->name = layout.name;
  column->dtype = from.dtype;
  column->data = const_cast<void*>(from.data);
  const bool sparse = from.indices != nullptr;
  std::vector<int64_t> shape = {sparse || from.width == 0 ? from.length : from.length / from.width};
  if (!sparse) shape.insert(shape.end(), layout.shape.begin(), layout.shape.end());
  if (from.mask != nullptr) column->mask = column->Part(FB_BOOL, from.mask, shape);
  if (sparse) column->indices = column->Part(FB_INT64, from.indices, {from.length, 2});
  if (from.offsets != nullptr) {
    column->offsets = column->Part(FB_INT64, from.offsets, {from.length + 1});
    shape = {from.data_bytes};
  }
  column->shape = std::move(shape);
  for (int32_t i = 0; i < from.num_levels; ++i) {
    for (Column* ragged : {column.get(), column->mask.get()}) {
      if (ragged == nullptr) continue;
      ragged->row_splits.push_back(
          ragged->Part(FB_INT64, from.row_splits[i], {from.row_splits_length[i]}));
    }
  }
  return column;
}

py::buffer_info BufferOf(Column& column) {
  std::vector<py::ssize_t> strides;
  for (const int64_t stride : column.strides()) strides.push_back(stride * column.item_bytes());
  return {column.data,
          column.item_bytes(),
          NamesOf(column.dtype).format,
          static_cast<py::ssize_t>(column.shape.size()),
          std::vector<py::ssize_t>(column.shape.begin(), column.shape.end()),
          std::move(strides)};
}

// ---- DLPack: github.com/dmlc/dlpack, the structures of version 1 and, unversioned, before ----

struct Export {
  SharedBatch batch;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
};

DLTensor TensorOf(const Column& column, Export* owner) {
  owner->batch = column.batch;
  owner->shape = column.shape;
  owner->strides = column.strides();
  DLTensor tensor{};
  tensor.data = column.data;
  tensor.device = {kDLCPU, 0};
  tensor.ndim = static_cast<int32_t>(owner->shape.size());
  tensor.dtype = {NamesOf(column.dtype).dlpack_code, static_cast<uint8_t>(column.item_bytes() * 8),
                  1};
  tensor.shape = owner->shape.data();
  tensor.strides = owner->strides.data();
  return tensor;
}

template <typename Managed>
void Delete(Managed* managed) {
  delete static_cast<Export*>(managed->manager_ctx);
  delete managed;
}

// A capsule that nobody consumed still owns its tensor; a consumer renames it.
template <typename Managed>
void Discard(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

template <typename Managed>
py::capsule Capsule(const Column& column, const char* name, void (*discard)(PyObject*)) {
  auto owner = std::make_unique<Export>();
  auto managed = std::make_unique<Managed>();
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) {
    managed->version = {1, 0};
    managed->flags = 0;
  }
  managed->dl_tensor = TensorOf(column, owner.get());
  managed->manager_ctx = owner.release();
  managed->deleter = &Delete<Managed>;
  return py::capsule(managed.release(), name, discard);
}

py::capsule ToDlpack(const Column& column, const py::object& stream, const py::object& max_version,
                     const py::object& dl_device, const py::object& copy) {
  if (!stream.is_none()) throw py::buffer_error("stream must be None: the memory is the CPU's");
  if (!dl_device.is_none() &&
      dl_device.cast<std::pair<int, int>>() != std::pair<int, int>(kDLCPU, 0)) {
    throw py::buffer_error("dl_device must be (1, 0): the memory is the CPU's");
  }
  if (!copy.is_none() && copy.cast<bool>()) {
    throw py::buffer_error("copy=True is not done here: copy the consumer's array");
  }
  constexpr const char* kVersioned = "dltensor_versioned";
  constexpr const char* kUnversioned = "dltensor";
  if (!max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1) {
    return Capsule<DLManagedTensorVersioned>(column, kVersioned, [](PyObject* capsule) {
      Discard<DLManagedTensorVersioned>(capsule, kVersioned);
    });
  }
  return Capsule<DLManagedTensor>(column, kUnversioned, [](PyObject* capsule) {
    Discard<DLManagedTensor>(capsule, kUnversioned);
  });
}

// ---- reader ------------------------------------------------------------------------------------

struct PyBatch {
  SharedBatch batch;

  std::vector<std::unique_ptr<Column>> Columns() const {
    std::vector<std::unique_ptr<Column>> out;
    const auto& layouts = *batch->layouts;
    for (size_t i = 0; i < layouts.size(); ++i) {
      out.push_back(MakeColumn(batch, layouts[i], batch->batch->columns()[i]));
    }
    return out;
  }
};

class PyReader {
 public:
  explicit PyReader(const py::bytes& spec_bytes) {
    const auto spec = Parse<fb::proto::ReaderSpec>(spec_bytes, "spec");
    arrow::Result<std::unique_ptr<fb::batch::Reader>> opened = [&] {
      const py::gil_scoped_release release;
      return fb::batch::Reader::Open(spec, fb::batch::ConnectTo(spec), fb::batch::IsLocal(spec),
                                     fb::batch::ConnectForLeases(spec));
    }();
    reader_ = Check(std::move(opened));
    layouts_ = std::make_shared<const std::vector<ColumnLayout>>(reader_->layouts());
  }

  std::optional<PyBatch> Next() {
    const auto reader = Use();  // close() in another thread must not free it under us
    for (;;) {
      {
        const py::gil_scoped_release release;
        if (reader->WaitFor(kSignalPeriod)) break;
      }
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
    auto next = [&] {
      const py::gil_scoped_release release;  // a lease may have to be renewed first
      return reader->Next();
    }();
    auto batch = Check(std::move(next));
    if (batch == nullptr) return std::nullopt;
    return PyBatch{std::make_shared<BatchReference>(batch.get(), layouts_)};
  }

  bool Ready() {
    const auto reader = Use();
    const py::gil_scoped_release release;
    return reader->WaitFor(std::chrono::milliseconds(0));
  }

  py::bytes Position() const { return Use()->position().Encode(); }
  void Seek(const py::bytes& position) {
    Check(Use()->Seek(Parse<fb::proto::Position>(position, "position")));
  }
  void Confirm(const py::bytes& position) {
    const auto parsed = Parse<fb::proto::Position>(position, "position");
    const auto reader = Use();
    auto status = [&] {
      const py::gil_scoped_release release;
      return reader->Confirm(parsed);
    }();
    Check(std::move(status));
  }
  py::dict Stats() const {
    const fb::batch::ReaderStats stats = Use()->stats();
    py::dict out;
    out["feed_rows"] = stats.feed_rows;
    out["own_rows"] = stats.own_rows;
    out["padded_rows"] = stats.padded_rows;
    out["dropped_rows"] = stats.dropped_rows;
    out["splits"] = stats.splits;
    out["completed_splits"] = stats.completed_splits;
    out["reported_splits"] = stats.reported_splits;
    out["lost_leases"] = stats.lost_leases;
    return out;
  }
  void Cancel() {
    if (reader_ != nullptr) reader_->Cancel();
  }
  void Close() {
    auto reader = std::exchange(reader_, nullptr);
    if (reader == nullptr) return;
    const py::gil_scoped_release release;
    reader->Cancel();
    reader.reset();
  }
  const std::vector<ColumnLayout>& Layouts() const { return *layouts_; }

 private:
  std::shared_ptr<fb::batch::Reader> Use() const {
    if (reader_ == nullptr) {
      Raise(fb::Error(fb::Code::kFailedPrecondition, "the reader is closed: open another"));
    }
    return reader_;
  }

  std::shared_ptr<fb::batch::Reader> reader_;
  SharedLayouts layouts_;
};

std::shared_ptr<arrow::Schema> ReadSchema(const py::bytes& schema) {
  arrow::io::BufferReader reader(arrow::Buffer::FromString(std::string(std::string_view(schema))));
  arrow::ipc::DictionaryMemo memo;
  return Check(arrow::ipc::ReadSchema(&reader, &memo));
}

std::vector<ColumnLayout> LayoutsOfSchema(const py::bytes& schema, const py::bytes& spec) {
  const auto parsed_spec = Parse<fb::proto::ReaderSpec>(spec, "spec");
  return Check(fb::batch::LayoutsOf(*ReadSchema(schema), parsed_spec.columns, parsed_spec.options));
}

// Of a pyarrow.RecordBatch, or whatever else speaks Arrow's PyCapsule protocol. No copy.
std::shared_ptr<arrow::RecordBatch> ImportBatch(const py::object& batch) {
  const auto [schema, array] =
      batch.attr("__arrow_c_array__")().cast<std::pair<py::capsule, py::capsule>>();
  // The capsules own the structures; what is imported is marked as released in them.
  return Check(
      arrow::ImportRecordBatch(array.get_pointer<ArrowArray>(), schema.get_pointer<ArrowSchema>()));
}

class PyAssembler {
 public:
  PyAssembler(const py::bytes& schema, const py::bytes& spec_bytes) {
    const auto spec = Parse<fb::proto::ReaderSpec>(spec_bytes, "spec");
    assembler_ =
        Check(fb::batch::RowAssembler::Make(*ReadSchema(schema), spec.columns, spec.options));
    layouts_ = std::make_shared<const std::vector<ColumnLayout>>(assembler_->layouts());
  }

  PyBatch Assemble(const std::vector<py::object>& batches) const {
    std::vector<std::shared_ptr<arrow::RecordBatch>> imported;
    for (const py::object& batch : batches) imported.push_back(ImportBatch(batch));
    auto made = [&] {
      const py::gil_scoped_release release;
      return assembler_->Assemble(imported);
    }();
    const auto batch = Check(std::move(made));
    return PyBatch{std::make_shared<BatchReference>(batch.get(), layouts_)};
  }
  const std::vector<ColumnLayout>& Layouts() const { return *layouts_; }

 private:
  std::unique_ptr<fb::batch::RowAssembler> assembler_;
  SharedLayouts layouts_;
};

using PartitionList = std::vector<std::pair<int64_t, int64_t>>;

fb::plan::FeedRows FeedOf(const PartitionList& partitions) {
  std::vector<fb::plan::PartitionRows> rows;
  for (const auto& [partition, count] : partitions) rows.push_back({partition, count});
  return fb::plan::FeedRows(std::move(rows));
}

fb::plan::ShardSpec ShardOf(int64_t shard, int64_t num_shards, int policy, int uneven) {
  return {static_cast<fb::proto::ShardPolicy>(policy), static_cast<fb::proto::UnevenShards>(uneven),
          shard, num_shards};
}

py::dict SlabStatsDict() {
  const fb::batch::SlabStats stats = fb::batch::GetSlabStats();
  py::dict out;
  out["slabs"] = stats.slabs;
  out["bytes"] = stats.bytes;
  out["cuda"] = stats.cuda;
  out["mlocked"] = stats.mlocked;
  out["mapped"] = stats.mapped;
  out["unpinned"] = stats.unpinned;
  out["recycled"] = stats.recycled;
  return out;
}

}  // namespace

PYBIND11_MODULE(_batches, m) {
  py::class_<ColumnLayout>(m, "ColumnLayout")
      .def_readonly("name", &ColumnLayout::name)
      .def_property_readonly("dtype", [](const ColumnLayout& l) { return NamesOf(l.dtype).name; })
      .def_readonly("keys", &ColumnLayout::keys)
      .def_property_readonly("shape",
                             [](const ColumnLayout& l) { return py::tuple(py::cast(l.shape)); })
      .def_readonly("levels", &ColumnLayout::levels)
      .def_readonly("mask", &ColumnLayout::mask)
      .def_property_readonly(
          "sparse", [](const ColumnLayout& l) { return l.form == ColumnLayout::Form::kSparse; })
      .def_readonly("utf8", &ColumnLayout::utf8);
  m.def("layouts", &LayoutsOfSchema, py::arg("schema"), py::arg("spec"));
  m.def("slab_stats", &SlabStatsDict);

  py::class_<Column>(m, "Column", py::buffer_protocol())
      .def_buffer(&BufferOf)
      .def_readonly("name", &Column::name)
      .def_property_readonly(
          "layout", [](const Column& c) { return c.layout; },
          py::return_value_policy::reference_internal)
      .def_property_readonly("rows", [](const Column& c) { return c.batch->batch->rows(); })
      .def_property_readonly("dtype", [](const Column& c) { return NamesOf(c.dtype).name; })
      .def_property_readonly("shape", [](const Column& c) { return py::tuple(py::cast(c.shape)); })
      .def_property_readonly(
          "offsets", [](const Column& c) { return c.offsets.get(); },
          py::return_value_policy::reference_internal)
      .def_property_readonly(
          "row_splits",
          [](const py::object& self) {
            py::list out;
            for (const auto& splits : self.cast<const Column&>().row_splits) {
              out.append(py::cast(splits.get(), py::return_value_policy::reference_internal, self));
            }
            return py::tuple(out);
          })
      .def_property_readonly(
          "mask", [](const Column& c) { return c.mask.get(); },
          py::return_value_policy::reference_internal)
      .def_property_readonly(
          "indices", [](const Column& c) { return c.indices.get(); },
          py::return_value_policy::reference_internal)
      .def("__dlpack__", &ToDlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const Column&) { return std::pair<int, int>(kDLCPU, 0); });

  py::class_<PyBatch>(m, "Batch")
      .def_property_readonly("rows", [](const PyBatch& b) { return b.batch->batch->rows(); })
      .def_property_readonly("columns", &PyBatch::Columns);

  py::class_<PyReader>(m, "Reader")
      .def(py::init<const py::bytes&>(), py::arg("spec"))
      .def_property_readonly("layouts", &PyReader::Layouts)
      .def("next", &PyReader::Next)
      .def("ready", &PyReader::Ready)
      .def("position", &PyReader::Position)
      .def("confirm", &PyReader::Confirm, py::arg("position"))
      .def("seek", &PyReader::Seek, py::arg("position"))
      .def("stats", &PyReader::Stats)
      .def("cancel", &PyReader::Cancel)
      .def("close", &PyReader::Close);

  py::class_<PyAssembler>(m, "Assembler")
      .def(py::init<const py::bytes&, const py::bytes&>(), py::arg("schema"), py::arg("spec"))
      .def_property_readonly("layouts", &PyAssembler::Layouts)
      .def("assemble", &PyAssembler::Assemble, py::arg("batches"));

  // The plan, for property tests.
  m.def(
      "epoch_order",
      [](int64_t rows, int64_t epoch, int64_t shard, int64_t num_shards, int64_t window,
         uint64_t seed) {
        return fb::plan::EpochOrder({shard, num_shards, window, seed}, rows, epoch);
      },
      py::arg("rows"), py::kw_only(), py::arg("epoch"), py::arg("shard"), py::arg("num_shards"),
      py::arg("window"), py::arg("seed"));
  m.def(
      "shard_ranges",
      [](const PartitionList& partitions, int64_t shard, int64_t num_shards) {
        const auto feed = FeedOf(partitions);
        std::vector<fb::plan::Range> ranges;
        feed.AppendRanges(fb::plan::ShardInterval(feed.rows(), shard, num_shards), &ranges);
        std::vector<std::tuple<int64_t, int64_t, int64_t>> out;
        for (const auto& r : ranges) out.emplace_back(r.partition, r.row_begin, r.row_end);
        return out;
      },
      py::arg("partitions"), py::arg("shard"), py::arg("num_shards"));
  m.def(
      "shard_rows",
      [](const PartitionList& partitions, int64_t shard, int64_t num_shards, int policy,
         int uneven) {
        const fb::plan::ShardRows rows(std::make_shared<fb::plan::FeedRows>(FeedOf(partitions)),
                                       ShardOf(shard, num_shards, policy, uneven));
        return std::make_tuple(rows.own_rows(), rows.padded_rows(), rows.dropped_rows());
      },
      py::arg("partitions"), py::arg("shard"), py::arg("num_shards"), py::arg("policy"),
      py::arg("uneven"));
  m.def(
      "shard_order",
      [](const PartitionList& partitions, int64_t epoch, int64_t shard, int64_t num_shards,
         int policy, int uneven, int64_t window, uint64_t seed) {
        const fb::plan::ShardRows rows(std::make_shared<fb::plan::FeedRows>(FeedOf(partitions)),
                                       ShardOf(shard, num_shards, policy, uneven));
        return fb::plan::EpochOrder({shard, num_shards, window, seed}, rows, epoch);
      },
      py::arg("partitions"), py::kw_only(), py::arg("epoch"), py::arg("shard"),
      py::arg("num_shards"), py::arg("policy"), py::arg("uneven"), py::arg("window"),
      py::arg("seed"));
  m.def("chunk_rows", &fb::plan::ChunkRows, py::arg("window"), py::arg("shard_rows"));
}
