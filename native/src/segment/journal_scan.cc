#include "segment/journal_scan.h"

#include <cstring>
#include <optional>

#include "flightbridge/error.h"
#include "segment/checksum.h"

namespace flightbridge::segment {
namespace {

struct Record {
  RecordFrame frame;
  std::string_view payload;
  size_t end = 0;
};

std::optional<Record> RecordAt(std::string_view bytes, size_t offset) {
  Record record;
  if (bytes.size() - offset < sizeof(RecordFrame)) return std::nullopt;
  std::memcpy(&record.frame, bytes.data() + offset, sizeof(RecordFrame));
  const size_t begin = offset + sizeof(RecordFrame);
  if (record.frame.length > kMaxRecordBytes || record.frame.length > bytes.size() - begin) {
    return std::nullopt;
  }
  // Both hold for every record ever written, and spare most checksums when searching.
  if (record.frame.length == 0 || record.frame.durable > offset) return std::nullopt;
  record.payload = bytes.substr(begin, record.frame.length);
  if (record.frame.ComputeCrc(record.payload) != record.frame.crc32c) return std::nullopt;
  record.end = begin + record.frame.length;
  return record;
}

// Whether some record behind `damage` was written when the bytes at `damage` were durable.
bool AcknowledgedBehind(std::string_view bytes, size_t damage) {
  for (size_t offset = damage + 1; offset + sizeof(RecordFrame) < bytes.size(); ++offset) {
    uint64_t durable;
    std::memcpy(&durable, bytes.data() + offset + offsetof(RecordFrame, durable), sizeof(durable));
    if (durable <= damage) continue;
    if (RecordAt(bytes, offset).has_value()) return true;
  }
  return false;
}

// Whether all bytes of the last record are there, and merely wrong. A write that a crash cut short
// leaves a file that ends inside its record, or zeros where blocks never reached the disk.
bool WholeButWrong(std::string_view bytes, size_t offset) {
  constexpr size_t kSector = 512;
  RecordFrame frame;
  if (bytes.size() - offset < sizeof(frame)) return false;
  std::memcpy(&frame, bytes.data() + offset, sizeof(frame));
  const size_t begin = offset + sizeof(frame);
  if (frame.length == 0 || frame.length > bytes.size() - begin) return false;
  const size_t end = begin + frame.length;
  if (bytes[end - 1] == '\0') return false;
  for (size_t at = (offset + kSector - 1) / kSector * kSector; at + kSector <= end; at += kSector) {
    if (bytes.substr(at, kSector).find_first_not_of('\0') == std::string_view::npos) return false;
  }
  return true;
}

}  // namespace

uint32_t RecordFrame::ComputeCrc(std::string_view payload) const {
  uint32_t crc = Crc32c(0, &length, sizeof(length));
  crc = Crc32c(crc, &durable, sizeof(durable));
  return Crc32c(crc, payload.data(), payload.size());
}

arrow::Result<int64_t> ScanJournal(
    std::string_view bytes, const std::string& path,
    const std::function<arrow::Status(std::string_view payload)>& replay) {
  const auto damaged = [&](size_t offset, std::string_view what) {
    return Error(Code::kDataLoss, "journal '", path, "' is damaged at offset ", offset, " of ",
                 bytes.size(), ": ", what,
                 "; restore the data directory from a copy, or start with an empty one");
  };
  if (bytes.size() < kJournalMagic.size()) {
    if (!kJournalMagic.starts_with(bytes)) return damaged(0, "it does not start as a journal");
    return 0;
  }
  if (!bytes.starts_with(kJournalMagic)) return damaged(0, "it does not start as a journal");
  size_t offset = kJournalMagic.size();
  while (offset < bytes.size()) {
    const auto record = RecordAt(bytes, offset);
    if (!record.has_value()) {
      if (AcknowledgedBehind(bytes, offset) || WholeButWrong(bytes, offset)) {
        return damaged(offset, "a record does not match its checksum");
      }
      break;
    }
    if (auto status = replay(record->payload); !status.ok()) {
      return CodeOf(status) == Code::kDataLoss ? damaged(offset, status.message()) : status;
    }
    offset = record->end;
  }
  return static_cast<int64_t>(offset);
}

}  // namespace flightbridge::segment
