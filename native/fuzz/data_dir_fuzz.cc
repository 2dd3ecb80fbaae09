// A data directory of which one file is not what it was: a server that opens it says so, or serves
// rows that were written, and nothing else.
//
// The first byte says which file the rest replaces and how (Damage).
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "feed/stored_record.h"
#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/journal.h"
#include "segment/journal_scan.h"
#include "store.h"

#ifndef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY LLVMFuzzerTestOneInput
#endif

namespace flightbridge::fuzz {
namespace {

enum Damage : uint8_t {
  kSegmentFile = 1,  // else the journal
  kKeepSize = 2,     // a segment file ends where it did, with zeros
  // What damage does not do, but another program may: checksums are right. A segment file's
  // headers; of the journal, the rest is payloads, each behind two bytes of length.
  kSealed = 4,
};

int64_t batches_read = 0;  // a target that is refused everything finds nothing
int64_t refused = 0;

void Require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "data_dir_fuzz: %s\n", what.c_str());
  std::abort();
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

feed::FeedStoreOptions OptionsFor(const std::string& data_dir) {
  feed::FeedStoreOptions options;
  options.segments.data_dir = data_dir;
  options.segments.memory_limit_bytes = 64 << 20;
  return options;
}

// A valid directory, and what is in it. Made once.
class Original {
 public:
  static const Original& Get() {
    static const Original* const original = new Original;
    return *original;
  }

  // Versions of each feed, each as its batches; the last is the one that is committed.
  std::map<std::string, std::vector<std::vector<std::shared_ptr<arrow::RecordBatch>>>> feeds;
  std::string directory;  // for the copies
  std::string journal;
  std::string segment_path;  // the one file there is
  std::string segment;       // without the zeros at its end
  int64_t segment_bytes = 0;
  std::string journal_path() const { return directory + "/journal"; }

 private:
  Original() {
    // In memory where there is such a place: every run writes and syncs.
    const bool shared_memory = std::filesystem::exists("/dev/shm");
    std::string pattern =
        (shared_memory ? "/dev/shm" : std::filesystem::temp_directory_path().string()) +
        "/fb-fuzz-XXXXXX";
    directory = mkdtemp(pattern.data());
    {
      auto store = *feed::FeedStore::Open(OptionsFor(directory));
      Write(store.get(), "two", {FeedBatch(), FeedBatch()}, true);
      Write(store.get(), "words", {PutBatch(0), PutBatch(20)}, true);
      Write(store.get(), "again", {PutBatch(0)}, true);
      Write(store.get(), "again", {PutBatch(40)}, true);
      Write(store.get(), "open", {FeedBatch()}, false);
      Write(store.get(), "gone", {FeedBatch()}, true);
      Require(store->DropFeed({"gone", false}).ok(), "cannot drop");
      for (const std::string feed : {"grown", "ended"}) {
        Grow(store.get(), feed, {FeedBatch(), FeedBatch()});
      }
      Require(store->EndFeed({"ended"}).ok(), "cannot end");
    }
    journal = ReadFile(journal_path());
    for (const auto& entry : std::filesystem::directory_iterator(directory + "/segments")) {
      if (entry.path().extension() != ".seg") continue;
      Require(segment_path.empty(), "more than one segment file");
      segment_path = entry.path().string();
    }
    segment = ReadFile(segment_path);
    segment_bytes = static_cast<int64_t>(segment.size());
    segment.resize(segment.find_last_not_of('\0') + 1);
  }

  // One batch per partition.
  void Write(feed::FeedStore* store, const std::string& feed,
             const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches, bool commit) {
    proto::BeginWrite begin{feed,
                            NewJob(),
                            proto::WriteMode::kOverwrite,
                            *feed::EncodeSchema(*batches[0]->schema()),
                            {}};
    const auto request = Stage(store, begin, batches);
    if (!commit) return;
    Require(store->CommitWrite(request).ok(), "cannot commit");
    feeds[feed].push_back(batches);
  }

  // One generation per batch.
  void Grow(feed::FeedStore* store, const std::string& feed,
            const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
    for (size_t i = 0; i < batches.size(); ++i) {
      proto::BeginWrite begin{feed,
                              NewJob(),
                              proto::WriteMode::kStream,
                              *feed::EncodeSchema(*batches[i]->schema()),
                              {}};
      begin.epoch = proto::WriterEpoch{"query", static_cast<int64_t>(i)};
      const auto request = Stage(store, begin, {batches[i]});
      Require(store->CommitWrite(request).ok(), "cannot add a generation");
    }
    feeds[feed].push_back(batches);
  }

  std::string NewJob() { return "job-" + std::to_string(jobs_++); }

  proto::CommitWrite Stage(feed::FeedStore* store, const proto::BeginWrite& begin,
                           const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
    Require(store->BeginWrite(begin).ok(), "cannot begin");
    proto::CommitWrite request{begin.feed, begin.job_id, {}};
    request.epoch = begin.epoch;
    for (size_t i = 0; i < batches.size(); ++i) {
      const auto partition = static_cast<int64_t>(i);
      auto attempt =
          *store->OpenAttempt({begin.feed, begin.job_id, partition, 1}, batches[i]->schema());
      Require(attempt->Append(*batches[i], std::nullopt).ok(), "cannot append");
      const auto put = *attempt->Finish(std::nullopt);
      request.attempts.push_back({partition, 1, put.rows, put.batches, put.crc32c});
    }
    return request;
  }

  int jobs_ = 0;
};

// The headers of the records that are still where they were, with right checksums.
void SealHeaders(std::string* bytes) {
  for (size_t at = 0; at + sizeof(feed::StoredHeader) <= bytes->size(); at += 64) {
    feed::StoredHeader header;
    std::memcpy(&header, bytes->data() + at, sizeof(header));
    if (header.magic != feed::StoredHeader::kMagic) continue;
    const size_t metadata = at + sizeof(header);
    if (header.metadata_bytes <= bytes->size() - metadata) {
      header.metadata_crc32c = segment::Crc32c(0, bytes->data() + metadata, header.metadata_bytes);
    }
    header.header_crc32c = header.ComputeCrc();
    std::memcpy(bytes->data() + at, &header, sizeof(header));
  }
}

std::string FramePayloads(std::string_view bytes) {
  std::string journal(segment::kJournalMagic);
  while (bytes.size() >= 2) {
    const size_t length = static_cast<uint8_t>(bytes[0]) | static_cast<uint8_t>(bytes[1]) << 8;
    bytes.remove_prefix(2);
    journal += segment::FrameRecord(bytes.substr(0, length), journal.size());
    bytes.remove_prefix(std::min(length, bytes.size()));
  }
  return journal;
}

// Reads all that can be read. Unless `anything` goes, it must be what was written.
void ReadEverything(const feed::FeedStore& store, bool anything) {
  const Original& original = Original::Get();
  for (const proto::FeedInfo& info : store.List()) {
    const auto snapshot = store.Find(info.feed);
    if (!snapshot.ok()) continue;
    const auto known = original.feeds.find(info.feed);
    Require(anything || known != original.feeds.end(), "a feed that was not: " + info.feed);
    if (!anything && !info.generations.empty()) {  // whole ones, from the first on
      Require(info.generations.size() <= info.partitions.size() + 1, "generations without rows");
      Require((*snapshot)->fingerprint == info.generations.back().fingerprint, "a broken chain");
    }
    for (const auto& partition : (*snapshot)->partitions) {
      for (size_t i = 0; i < partition->messages.size(); ++i) {
        if (partition->messages[i].is_dictionary) continue;
        const auto batch = partition->Decode(i);
        if (!batch.ok()) {
          Require(CodeOf(batch.status()) == Code::kDataLoss, batch.status().ToString());
          continue;
        }
        ++batches_read;
        if (anything) continue;
        bool written = false;
        for (const auto& version : known->second) {
          const auto at = static_cast<size_t>(partition->partition);
          written |= at < version.size() && (*batch)->Equals(*version[at]);
        }
        Require(written, "rows that were not written to " + info.feed);
      }
    }
  }
}

}  // namespace
}  // namespace flightbridge::fuzz

extern "C" int FB_FUZZ_ENTRY(const uint8_t* data, size_t size) {
  using namespace flightbridge;        // NOLINT(google-build-using-namespace)
  using namespace flightbridge::fuzz;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const Original& original = Original::Get();
  const uint8_t how = data[0];
  std::string file(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((how & kSegmentFile) != 0) {
    if ((how & kSealed) != 0) SealHeaders(&file);
    WriteFile(original.journal_path(), original.journal);
    WriteFile(original.segment_path, file);
    if ((how & kKeepSize) != 0 && static_cast<int64_t>(file.size()) < original.segment_bytes) {
      std::filesystem::resize_file(original.segment_path, original.segment_bytes);
    }
  } else {
    WriteFile(original.journal_path(), (how & kSealed) != 0 ? FramePayloads(file) : file);
    WriteFile(original.segment_path, original.segment);
    std::filesystem::resize_file(original.segment_path, original.segment_bytes);
  }
  const auto store = feed::FeedStore::Open(OptionsFor(original.directory));
  if (store.ok()) {
    ReadEverything(**store, (how & kSealed) != 0);
    return 0;
  }
  ++refused;
  const Code code = CodeOf(store.status());
  Require(code == Code::kDataLoss || ((how & kSealed) != 0 && code == Code::kFailedPrecondition),
          "refused with " + store.status().ToString());
  return 0;
}
