// The readers of what lies on disk, fed with arbitrary bytes: they refuse, and never crash.
//
// With clang: clang++ -fsanitize=fuzzer,address ... native/fuzz/journal_fuzz.cc. The same entry
// point runs over random mutations in native/tests/journal_fuzz_test.cc, under any compiler.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "flightbridge/proto/commands.h"
#include "segment/ipc_message.h"
#include "segment/journal_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static_cast<void>(flightbridge::segment::ScanJournal(bytes, "fuzz", [](std::string_view payload) {
    static_cast<void>(flightbridge::proto::Parse<flightbridge::proto::JournalRecord>(payload));
    return arrow::Status::OK();
  }));
  static_cast<void>(flightbridge::proto::Parse<flightbridge::proto::JournalRecord>(bytes));
  // As in a segment: aligned, and checked against a body that is shorter than it claims.
  std::vector<uint64_t> aligned(size / 8 + 1);
  std::memcpy(aligned.data(), data, size);
  auto* metadata = reinterpret_cast<uint8_t*>(aligned.data());
  const auto parsed =
      flightbridge::segment::IpcMessage::Parse(metadata, static_cast<int64_t>(size));
  if (parsed.ok()) static_cast<void>(parsed->Checksum(metadata, static_cast<int64_t>(size)));
  return 0;
}
