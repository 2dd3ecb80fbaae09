// FlightBridgeDataset: the tf.data source over the core's reader.
//
// It stands on c_api.h alone: this library shares its process with TensorFlow's own gRPC, protobuf
// and abseil, and must bring no other copy of them.
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "flightbridge/c_api.h"
#include "iterations.h"
#include "source.h"
#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/dataset.h"
#include "tensorflow/core/framework/device.h"
#include "tensorflow/core/framework/metrics.h"
#include "tensorflow/core/framework/model.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/partial_tensor_shape.h"
#include "tensors.h"

namespace flightbridge_tf {
namespace {

using tensorflow::DataTypeVector;
using tensorflow::Node;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::PartialTensorShape;
using tensorflow::Tensor;
using tensorflow::tstring;
using tensorflow::data::DatasetBase;
using tensorflow::data::DatasetContext;
using tensorflow::data::DatasetIterator;
using tensorflow::data::DatasetOpKernel;
using tensorflow::data::IteratorBase;
using tensorflow::data::IteratorContext;
using tensorflow::data::IteratorStateReader;
using tensorflow::data::IteratorStateWriter;
using tensorflow::data::SerializationContext;

constexpr char kSpec[] = "spec";
constexpr char kCardinality[] = "cardinality";
constexpr char kDatasetId[] = "dataset_id";
constexpr char kEpochsPerPass[] = "epochs_per_pass";
constexpr char kOutputTypes[] = "output_types";
constexpr char kOutputShapes[] = "output_shapes";
constexpr char kLayout[] = "layout";
constexpr char kStart[] = "start";
constexpr char kFirstPass[] = "first_pass";

// Keys of an iterator's checkpoint.
constexpr char kPass[] = "pass";
constexpr char kPosition[] = "position";

// spec: an encoded flightbridge.v1.ReaderSpec.
// cardinality: elements of one pass, or tf.data's INFINITE (-1).
// dataset_id, epochs_per_pass: see iterations.h; epochs_per_pass 0 makes every pass the same.
// start, first_pass: an encoded flightbridge.v1.Position at which the first pass begins, and that
// pass's number; later passes begin at their beginning.
// layout: per column, which components it has (tensors.h).
REGISTER_OP("FlightBridgeDataset")
    .Input("spec: string")
    .Input("cardinality: int64")
    .Input("dataset_id: int64")
    .Input("epochs_per_pass: int64")
    .Output("handle: variant")
    .Attr("output_types: list(type) >= 1")
    .Attr("output_shapes: list(shape) >= 1")
    .Attr("layout: list(string) >= 1")
    .Attr("start: string = ''")
    .Attr("first_pass: int = 0")
    .Attr("metadata: string = ''")
    .SetIsStateful()  // tf.data sources must not be folded into constants
    .SetShapeFn(tensorflow::shape_inference::ScalarShape);

// Fields of a ReaderSpec.
constexpr uint64_t kFirstEpoch = 18;
constexpr uint64_t kTStrings = 51;

// Appends a field to an encoded message, where of two values the last counts.
void AppendField(uint64_t field, uint64_t value, std::string* message) {
  constexpr uint64_t kVarint = 0;
  for (uint64_t part : {field << 3 | kVarint, value}) {
    for (; part >= 0x80; part >>= 7) message->push_back(static_cast<char>(part | 0x80));
    message->push_back(static_cast<char>(part));
  }
}

struct DatasetArgs {
  tstring spec;
  int64_t cardinality;
  int64_t dataset_id;
  int64_t epochs_per_pass;
  std::string start;
  int64_t first_pass;
  std::vector<std::string> layout_names;
  std::vector<Layout> layout;
  DataTypeVector output_types;
  std::vector<PartialTensorShape> output_shapes;
};

class FlightBridgeDataset final : public DatasetBase {
 public:
  FlightBridgeDataset(OpKernelContext* ctx, DatasetArgs args)
      : DatasetBase(DatasetContext(ctx)), args_(std::move(args)) {}

  const DatasetArgs& args() const { return args_; }

  std::unique_ptr<IteratorBase> MakeIteratorInternal(const std::string& prefix) const override;

  const DataTypeVector& output_dtypes() const override { return args_.output_types; }
  const std::vector<PartialTensorShape>& output_shapes() const override {
    return args_.output_shapes;
  }
  std::string DebugString() const override { return "FlightBridgeDatasetOp::Dataset"; }
  int64_t CardinalityInternal(tensorflow::data::CardinalityOptions options) const override {
    return args_.cardinality;
  }
  absl::Status InputDatasets(std::vector<const DatasetBase*>* inputs) const override {
    inputs->clear();
    return absl::OkStatus();
  }
  // The feed is fixed by its fingerprint, and a position says which rows come next.
  absl::Status CheckExternalState() const override { return absl::OkStatus(); }

 protected:
  absl::Status AsGraphDefInternal(SerializationContext* ctx, DatasetGraphDefBuilder* b,
                                  Node** output) const override {
    std::vector<Node*> inputs(4);
    TF_RETURN_IF_ERROR(b->AddScalar(args_.spec, &inputs[0]));
    TF_RETURN_IF_ERROR(b->AddScalar(args_.cardinality, &inputs[1]));
    TF_RETURN_IF_ERROR(b->AddScalar(args_.dataset_id, &inputs[2]));
    TF_RETURN_IF_ERROR(b->AddScalar(args_.epochs_per_pass, &inputs[3]));
    tensorflow::AttrValue layout;
    b->BuildAttrValue(args_.layout_names, &layout);
    tensorflow::AttrValue start;
    b->BuildAttrValue(args_.start, &start);
    tensorflow::AttrValue first_pass;
    b->BuildAttrValue(args_.first_pass, &first_pass);
    // output_types and output_shapes are added by the builder.
    return b->AddDataset(this, {{0, inputs[0]}, {1, inputs[1]}, {2, inputs[2]}, {3, inputs[3]}}, {},
                         {{kLayout, layout}, {kStart, start}, {kFirstPass, first_pass}}, output);
  }

 private:
  class Iterator;
  const DatasetArgs args_;
};

class FlightBridgeDataset::Iterator final : public DatasetIterator<FlightBridgeDataset> {
 public:
  explicit Iterator(const Params& params) : DatasetIterator<FlightBridgeDataset>(params) {}

  ~Iterator() override {
    if (deregister_) deregister_();  // waits for a running callback
  }

  bool SymbolicCheckpointCompatible() const override { return true; }

  // No I/O here: an iterator that is never read, or is about to be restored, costs nothing.
  absl::Status Initialize(IteratorContext* ctx) override {
    // Workers of a cluster may share a process, but not their passes over the data.
    if (ctx->flr() != nullptr && ctx->flr()->device() != nullptr) {
      passes_of_ += "@" + ctx->flr()->device()->name();
    }
    return tensorflow::RegisterCancellationCallback(
        ctx->cancellation_manager(), [this] { source_.Cancel(); }, &deregister_);
  }

  absl::Status GetNextInternal(IteratorContext* ctx, std::vector<Tensor>* out,
                               bool* end_of_sequence) override {
    std::lock_guard<std::mutex> lock(mu_);
    *end_of_sequence = true;
    if (ended_) return absl::OkStatus();
    TF_RETURN_IF_ERROR(Begin());
    fb_batch* batch = nullptr;
    std::string position;
    TF_RETURN_IF_ERROR(source_.Next(&batch, &position));
    MoveTo(std::move(position));
    if (batch == nullptr) {
      ended_ = true;
      return absl::OkStatus();
    }
    *end_of_sequence = false;
    const absl::Status status = AppendBatch(batch, out);
    fb_batch_release(batch);
    return status;
  }

  // Dataset.skip: what is skipped before anything was read is not fetched.
  absl::Status SkipInternal(IteratorContext* ctx, int num_to_skip, bool* end_of_sequence,
                            int* num_skipped) override {
    std::lock_guard<std::mutex> lock(mu_);
    *num_skipped = 0;
    *end_of_sequence = true;
    if (ended_) return absl::OkStatus();
    TF_RETURN_IF_ERROR(Begin());
    int64_t skipped = 0;
    std::string position;
    TF_RETURN_IF_ERROR(source_.Skip(num_to_skip, &skipped, &position));
    MoveTo(std::move(position));
    *num_skipped = static_cast<int>(skipped);
    *end_of_sequence = ended_ = skipped < num_to_skip;
    return absl::OkStatus();
  }

 protected:
  std::shared_ptr<tensorflow::data::model::Node> CreateNode(
      IteratorContext* ctx, tensorflow::data::model::Node::Args args) const override {
    return tensorflow::data::model::MakeSourceNode(std::move(args));
  }

  // Runs once per element under symbolic checkpoints: two small values, no I/O, and no wait for a
  // GetNext that waits itself. An empty position says that reading has not begun.
  absl::Status SaveInternal(SerializationContext* ctx, IteratorStateWriter* writer) override {
    std::lock_guard<std::mutex> place(place_mu_);
    const int64_t pass =
        pass_ == kNotStarted ? Iterations::Instance().Peek(passes_of_, earliest_pass()) : pass_;
    TF_RETURN_IF_ERROR(writer->WriteScalar(prefix(), kPass, pass));
    const bool at_start = position_.empty() && pass == first_pass();
    return writer->WriteScalar(prefix(), kPosition,
                               tstring(at_start ? dataset()->args().start : position_));
  }

  absl::Status RestoreInternal(IteratorContext* ctx, IteratorStateReader* reader) override {
    std::lock_guard<std::mutex> lock(mu_);
    int64_t pass = 0;
    tstring position;
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kPass, &pass));
    TF_RETURN_IF_ERROR(reader->ReadScalar(prefix(), kPosition, &position));
    MoveTo(position);
    Iterations& iterations = Iterations::Instance();
    if (position.empty()) {
      iterations.Set(passes_of_, pass);
      return absl::OkStatus();
    }
    SetPass(pass);
    iterations.Set(passes_of_, pass + 1);
    return Open();  // refuses the position of another feed, shard or order right here
  }

 private:
  static constexpr int64_t kNotStarted = -1;

  int64_t first_pass() const { return dataset()->args().first_pass; }
  int64_t earliest_pass() const { return first_pass() + RepeatsBefore(prefix()); }

  void MoveTo(std::string position) {
    std::lock_guard<std::mutex> place(place_mu_);
    position_ = std::move(position);
  }
  void SetPass(int64_t pass) {
    std::lock_guard<std::mutex> place(place_mu_);
    pass_ = pass;
  }

  absl::Status Begin() {
    if (source_.is_open()) return absl::OkStatus();
    if (pass_ == kNotStarted) SetPass(Iterations::Instance().Take(passes_of_, earliest_pass()));
    return Open();
  }

  absl::Status Open() {
    const DatasetArgs& args = dataset()->args();
    if (position_.empty() && pass_ == args.first_pass) MoveTo(args.start);
    std::string spec = args.spec;
    const auto first_epoch = static_cast<uint64_t>(pass_ * args.epochs_per_pass);
    if (first_epoch > 0) AppendField(kFirstEpoch, first_epoch, &spec);
    AppendField(kTStrings, 1, &spec);
    return source_.Open(spec, position_);
  }

  absl::Status AppendBatch(fb_batch* batch, std::vector<Tensor>* out) {
    const DatasetArgs& args = dataset()->args();
    const int64_t rows = fb_batch_rows(batch);
    const auto columns = static_cast<size_t>(fb_batch_num_columns(batch));
    if (columns != args.layout.size()) {
      return absl::InternalError(
          absl::StrCat("a batch of ", columns, " columns arrived, expected ", args.layout.size()));
    }
    out->reserve(args.output_types.size());
    int64_t bytes = 0;
    for (size_t i = 0; i < columns; ++i) {
      fb_column column;
      if (fb_batch_column(batch, static_cast<int32_t>(i), &column) != FB_OK) {
        return absl::InternalError(absl::StrCat("column ", i, " of a batch cannot be read"));
      }
      TF_RETURN_IF_ERROR(CheckColumn(i, column, out->size()));
      AppendColumn(batch, column, args.layout[i], rows, args.output_shapes[out->size()], out);
      bytes += column.data_bytes;
    }
    static auto* const bytes_read = tensorflow::metrics::GetTFDataBytesReadCounter("FlightBridge");
    bytes_read->IncrementBy(bytes);
    return absl::OkStatus();
  }

  // What the element_spec promised is what the batch must hold: a tensor of another type or rank
  // than its spec would be read as garbage further down.
  absl::Status CheckColumn(size_t i, const fb_column& column, size_t component) const {
    const DatasetArgs& args = dataset()->args();
    const Layout& layout = args.layout[i];
    if (TensorType(column.dtype) != args.output_types[component]) {
      return absl::InternalError(absl::StrCat(
          "column ", i, " arrived as ", tensorflow::DataTypeString(TensorType(column.dtype)),
          ", expected ", tensorflow::DataTypeString(args.output_types[component])));
    }
    const PartialTensorShape& shape = args.output_shapes[component];
    int64_t width = 1;
    for (int d = 1; d < shape.dims(); ++d) width *= shape.dim_size(d);
    const bool fits =
        layout.sparse || (shape.dims() > 1 ? column.width == width : column.width == 0);
    if (shape.dims() < 1 || !fits || layout.levels != column.num_levels ||
        layout.sparse != (column.indices != nullptr) || layout.mask != (column.mask != nullptr) ||
        (column.dtype == FB_BYTES) != (column.tstrings != nullptr)) {
      return absl::InternalError(absl::StrCat("column ", i, " arrived in another layout than ",
                                              args.layout_names[i], " ", shape.DebugString()));
    }
    return absl::OkStatus();
  }

  std::string passes_of_ = std::to_string(dataset()->args().dataset_id);
  std::mutex mu_;  // guards what follows; held while GetNext waits
  Source source_;
  bool ended_ = false;
  std::mutex place_mu_;  // behind mu_, and never held for long; both are held to write these two
  int64_t pass_ = kNotStarted;
  std::string position_;
  std::function<void()> deregister_;
};

std::unique_ptr<IteratorBase> FlightBridgeDataset::MakeIteratorInternal(
    const std::string& prefix) const {
  return std::make_unique<Iterator>(Iterator::Params{this, prefix + "::FlightBridge"});
}

class FlightBridgeDatasetOp final : public DatasetOpKernel {
 public:
  explicit FlightBridgeDatasetOp(OpKernelConstruction* ctx) : DatasetOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kOutputTypes, &output_types_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kOutputShapes, &output_shapes_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kLayout, &layout_names_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kStart, &start_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kFirstPass, &first_pass_));
    size_t components = 0;
    for (const std::string& name : layout_names_) {
      OP_REQUIRES(ctx, ParseLayout(name, &layout_.emplace_back()),
                  absl::InvalidArgumentError(absl::StrCat("layout has '", name, "'")));
      components += layout_.back().components();
    }
    OP_REQUIRES(
        ctx, components == output_types_.size() && components == output_shapes_.size(),
        absl::InvalidArgumentError(absl::StrCat(
            "layout asks for ", components, " components, but there are ", output_types_.size(),
            " output_types and ", output_shapes_.size(), " output_shapes")));
    OP_REQUIRES(
        ctx, fb_abi_version() == FB_ABI_VERSION,
        absl::FailedPreconditionError(absl::StrCat(
            "libflightbridge has C ABI version ", fb_abi_version(), ", but this op was built for ",
            FB_ABI_VERSION, "; rebuild it: python -m flightbridge.tf.build")));
  }

 protected:
  void MakeDataset(OpKernelContext* ctx, DatasetBase** output) override {
    DatasetArgs args;
    args.layout_names = layout_names_;
    args.layout = layout_;
    args.start = start_;
    args.first_pass = first_pass_;
    args.output_types = output_types_;
    args.output_shapes = output_shapes_;
    OP_REQUIRES_OK(ctx, Scalar(ctx, kSpec, &args.spec));
    OP_REQUIRES_OK(ctx, Scalar(ctx, kCardinality, &args.cardinality));
    OP_REQUIRES_OK(ctx, Scalar(ctx, kDatasetId, &args.dataset_id));
    OP_REQUIRES_OK(ctx, Scalar(ctx, kEpochsPerPass, &args.epochs_per_pass));
    *output = new FlightBridgeDataset(ctx, std::move(args));
  }

 private:
  template <typename T>
  static absl::Status Scalar(OpKernelContext* ctx, const char* name, T* value) {
    const Tensor* tensor = nullptr;
    TF_RETURN_IF_ERROR(ctx->input(name, &tensor));
    if (!tensorflow::TensorShapeUtils::IsScalar(tensor->shape())) {
      return absl::InvalidArgumentError(absl::StrCat(name, " must be a scalar"));
    }
    *value = tensor->scalar<T>()();
    return absl::OkStatus();
  }

  std::vector<std::string> layout_names_;
  std::vector<Layout> layout_;
  std::string start_;
  int64_t first_pass_ = 0;
  DataTypeVector output_types_;
  std::vector<PartialTensorShape> output_shapes_;
};

REGISTER_KERNEL_BUILDER(Name("FlightBridgeDataset").Device(tensorflow::DEVICE_CPU),
                        FlightBridgeDatasetOp);

}  // namespace
}  // namespace flightbridge_tf

// Called through ctypes when the interpreter exits.
extern "C" FB_EXPORT void fb_tf_shut_down() { flightbridge_tf::Source::ShutDownAll(); }
