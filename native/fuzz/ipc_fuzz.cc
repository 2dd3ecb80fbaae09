// One IPC message from the wire, as it goes through a put: the size check before the decoder, the
// decoder, validation, the copy into a segment, and back out of it.
//
// Two bytes (little-endian) give the length of the metadata; the rest is the body.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/ipc/api.h>
#include <arrow/record_batch.h>

#include "segment/ipc_message.h"
#include "server/ipc_guard_internal.h"
#include "store.h"

#ifndef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY LLVMFuzzerTestOneInput
#endif

namespace flightbridge::fuzz {
namespace {

int64_t batches_stored = 0;  // a target that is refused everything finds nothing

void Receive(const std::shared_ptr<arrow::Buffer>& metadata,
             const std::shared_ptr<arrow::Buffer>& body) {
  auto message = arrow::ipc::Message::Open(metadata, body);
  if (!message.ok()) return;
  if (!server::CheckMessageSize(*metadata, body.get(), kMaxBatchBytes).ok()) return;
  const auto schema = FeedBatch()->schema();
  arrow::ipc::DictionaryMemo memo;
  auto batch =
      arrow::ipc::ReadRecordBatch(**message, schema, &memo, arrow::ipc::IpcReadOptions::Defaults());
  if (!batch.ok() || !(*batch)->ValidateFull().ok()) return;

  // A batch that passed is one to store and to serve.
  feed::FeedStore* const store = State()->store.get();
  const auto encoded = feed::EncodeSchema(*schema);
  if (!encoded.ok()) return;
  const auto begun = store->BeginWrite({"put", "job", proto::WriteMode::kOverwrite, *encoded});
  if (!begun.ok()) return;
  auto attempt = store->OpenAttempt({"put", "job", 0, 1}, schema);
  if (attempt.ok() && (*attempt)->Append(**batch, std::nullopt).ok()) ++batches_stored;
  attempt = nullptr;
  static_cast<void>(store->AbortWrite({"put", "job"}));
}

void ReadAsStored(const std::string& metadata, const std::string& body) {
  std::vector<uint64_t> aligned(metadata.size() / 8 + 1);
  auto* bytes = reinterpret_cast<uint8_t*>(aligned.data());
  std::memcpy(bytes, metadata.data(), metadata.size());
  const auto size = static_cast<int64_t>(metadata.size());
  if (const auto parsed = segment::IpcMessage::Parse(bytes, size); parsed.ok()) {
    static_cast<void>(parsed->Checksum(reinterpret_cast<const uint8_t*>(body.data()),
                                       static_cast<int64_t>(body.size())));
    static_cast<void>(segment::AlignBuffers(bytes, size));
  }
}

}  // namespace
}  // namespace flightbridge::fuzz

extern "C" int FB_FUZZ_ENTRY(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t length = std::min<size_t>(data[0] | data[1] << 8, size - 2);
  const std::string metadata(reinterpret_cast<const char*>(data) + 2, length);
  const std::string body(reinterpret_cast<const char*>(data) + 2 + length, size - 2 - length);
  flightbridge::fuzz::Receive(arrow::Buffer::FromString(metadata), arrow::Buffer::FromString(body));
  flightbridge::fuzz::ReadAsStored(metadata, body);
  return 0;
}
