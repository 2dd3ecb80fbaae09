#include "segment/segment_files.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "flightbridge/error.h"
#include "segment/journal.h"

namespace flightbridge::segment {

arrow::Status SegmentFiles::Open() {
  std::error_code error;
  std::filesystem::create_directory(directory_, error);
  if (!error) std::filesystem::permissions(directory_, std::filesystem::perms::owner_all, error);
  if (error) {
    return Error(Code::kPermissionDenied, "cannot use '", directory_, "': ", error.message(),
                 " (errno ", error.value(), ")");
  }
  ARROW_RETURN_NOT_OK(SyncDirectory(data_dir_));
  ARROW_ASSIGN_OR_RAISE(const auto ids, Ids());
  for (const uint64_t id : ids) next_ = std::max(next_, id + 1);
  return {};
}

arrow::Result<std::shared_ptr<Chunk>> SegmentFiles::Create(int64_t size) {
  const uint64_t id = next_++;
  ARROW_ASSIGN_OR_RAISE(auto chunk, Chunk::CreateFile(id, PathOf(id), size));
  if (auto status = SyncDirectory(directory_); !status.ok()) {
    Remove(id);
    return status;
  }
  return chunk;
}

arrow::Result<std::shared_ptr<Chunk>> SegmentFiles::OpenFile(uint64_t id) const {
  return Chunk::OpenFile(id, PathOf(id));
}

arrow::Result<std::vector<uint64_t>> SegmentFiles::Ids() const {
  std::vector<uint64_t> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    uint64_t id = 0;
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (failed == std::errc() && std::string_view(end) == ".seg") ids.push_back(id);
  }
  if (error) return Error(Code::kInternal, "cannot list '", directory_, "': ", error.message());
  return ids;
}

void SegmentFiles::Remove(uint64_t id) const { unlink(PathOf(id).c_str()); }

std::string SegmentFiles::PathOf(uint64_t id) const {
  std::string digits = std::to_string(id);
  if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
  return directory_ + "/" + digits + ".seg";
}

}  // namespace flightbridge::segment
