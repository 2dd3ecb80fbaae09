// A stock Arrow Flight server: the peer of the put and get benchmarks.
//
//   fb_stock_sink [HOST]     (default 127.0.0.1; any free port)
//
// Prints one line, "listening PORT", when it serves, and exits with 0 at the end of its standard
// input. Contract:
//   DoPut to PATH ["sink"]    reads every batch and throws it away
//   DoPut to PATH ["store"]   keeps the batches in memory, in place of those kept before
//   DoGet of ticket "store"   sends the kept batches once; ticket "store:N" sends them N times over
// Nothing is checked, acknowledged or written: it is the least that a Flight server can do. Where
// pyarrow is not beside flightbridge in site-packages, start it with
// LD_LIBRARY_PATH=<directory of pyarrow>.
#include <charconv>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include <arrow/flight/api.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/status.h>
#include <arrow/type.h>

namespace {

namespace flight = arrow::flight;

struct Kept {
  std::shared_ptr<arrow::Schema> schema;
  arrow::RecordBatchVector batches;
};

// The kept batches, `times` over.
class RepeatingReader : public arrow::RecordBatchReader {
 public:
  RepeatingReader(std::shared_ptr<const Kept> kept, int64_t times)
      : kept_(std::move(kept)), left_(times) {}

  std::shared_ptr<arrow::Schema> schema() const override { return kept_->schema; }
  arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch>* out) override {
    if (next_ == kept_->batches.size()) {
      next_ = 0;
      --left_;
    }
    *out = left_ > 0 && !kept_->batches.empty() ? kept_->batches[next_++] : nullptr;
    return arrow::Status::OK();
  }

 private:
  const std::shared_ptr<const Kept> kept_;
  int64_t left_;
  size_t next_ = 0;
};

class StockServer : public flight::FlightServerBase {
 public:
  arrow::Status DoPut(const flight::ServerCallContext& context,
                      std::unique_ptr<flight::FlightMessageReader> reader,
                      std::unique_ptr<flight::FlightMetadataWriter> writer) override {
    const auto& path = reader->descriptor().path;
    if (path.size() != 1 || (path[0] != "sink" && path[0] != "store"))
      return arrow::Status::Invalid("put to PATH [\"sink\"] or PATH [\"store\"]");
    auto kept = std::make_shared<Kept>();
    ARROW_ASSIGN_OR_RAISE(kept->schema, reader->GetSchema());
    while (true) {
      ARROW_ASSIGN_OR_RAISE(flight::FlightStreamChunk chunk, reader->Next());
      if (chunk.data == nullptr && chunk.app_metadata == nullptr) break;
      if (chunk.data != nullptr && path[0] == "store") kept->batches.push_back(chunk.data);
    }
    if (path[0] == "store") {
      std::lock_guard lock(mutex_);
      kept_ = std::move(kept);
    }
    return arrow::Status::OK();
  }

  arrow::Status DoGet(const flight::ServerCallContext& context, const flight::Ticket& ticket,
                      std::unique_ptr<flight::FlightDataStream>* stream) override {
    std::string_view rest = ticket.ticket;
    if (!rest.starts_with("store")) return arrow::Status::Invalid("get \"store\" or \"store:N\"");
    rest.remove_prefix(5);
    int64_t times = 1;
    if (!rest.empty()) {
      const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), times);
      if (rest[0] != ':' || error != std::errc{} || end != rest.data() + rest.size() || times < 1)
        return arrow::Status::Invalid("get \"store\" or \"store:N\" with N of 1 or more");
    }
    std::shared_ptr<const Kept> kept;
    {
      std::lock_guard lock(mutex_);
      kept = kept_;
    }
    if (kept == nullptr) return arrow::Status::KeyError("put to PATH [\"store\"] first");
    *stream = std::make_unique<flight::RecordBatchStream>(
        std::make_shared<RepeatingReader>(std::move(kept), times));
    return arrow::Status::OK();
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<const Kept> kept_;
};

arrow::Status Serve(const std::string& host) {
  ARROW_ASSIGN_OR_RAISE(const auto location, flight::Location::ForGrpcTcp(host, 0));
  StockServer server;
  ARROW_RETURN_NOT_OK(server.Init(flight::FlightServerOptions(location)));
  std::printf("listening %d\n", server.port());
  std::fflush(stdout);
  char buffer[256];
  while (::read(STDIN_FILENO, buffer, sizeof buffer) > 0) {
  }
  return server.Shutdown();
}

}  // namespace

int main(int argc, char** argv) {
  const auto status = Serve(argc > 1 ? argv[1] : "127.0.0.1");
  if (!status.ok()) std::fprintf(stderr, "fb_stock_sink: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
