#include "deal/space.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "common/format.h"
#include "flightbridge/error.h"

namespace flightbridge::deal {
namespace {

// A file without a name. Where the file system knows none, its name goes at once.
int OpenNameless(const std::string& directory) {
  const int fd = open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) return fd;
  std::string pattern = directory + "/dealt-XXXXXX";
  const int named = mkostemp(pattern.data(), O_CLOEXEC);
  if (named >= 0) unlink(pattern.c_str());
  return named;
}

arrow::Status Failed(const std::string& directory, int64_t bytes, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Error(full ? Code::kResourceExhausted : Code::kUnavailable, "data directory '", directory,
               "' has no room for ", FormatBytes(bytes),
               " of rows that are dealt for a full shuffle: ", std::strerror(error), " (errno ",
               error, "); free space there, raise --memory-limit, or shuffle by a window");
}

}  // namespace

std::shared_ptr<Space> Space::InMemory(std::shared_ptr<segment::SegmentStore> store,
                                       int64_t bytes) {
  if (!store->ReserveMemory(bytes)) return nullptr;
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    store->ReleaseMemory(bytes);
    return nullptr;
  }
  // Rows are dealt to everywhere: with small pages each would miss the address cache, too.
  madvise(data, bytes, MADV_HUGEPAGE);
  madvise(data, bytes, MADV_DONTFORK);
  std::shared_ptr<Space> space(new Space(std::move(store), bytes));
  space->data_ = static_cast<uint8_t*>(data);
  return space;
}

arrow::Result<std::shared_ptr<Space>> Space::OnDisk(std::shared_ptr<segment::SegmentStore> store,
                                                    const std::string& data_dir, int64_t bytes) {
  ARROW_RETURN_NOT_OK(store->ReserveDisk(bytes));
  std::shared_ptr<Space> space(new Space(std::move(store), bytes));
  space->data_dir_ = data_dir;
  space->fd_ = OpenNameless(data_dir);
  if (space->fd_ < 0) return Failed(data_dir, bytes, errno);
  ARROW_RETURN_NOT_OK(space->Claim(0, bytes));
  return space;
}

// Found out now rather than when most of the work is done.
arrow::Status Space::Claim(int64_t begin, int64_t end) const {
  const int error = posix_fallocate(fd_, begin, end - begin);
  if (error == 0 || error == EOPNOTSUPP || error == EINVAL) return {};
  return Failed(data_dir_, end - begin, error);
}

arrow::Status Space::Resize(int64_t bytes) {
  const int64_t before = bytes_.load(std::memory_order_relaxed);
  if (bytes <= before) {
    if (ftruncate(fd_, bytes) != 0) return {};  // it stays as it is
    bytes_.store(bytes, std::memory_order_relaxed);
    store_->ReleaseDisk(before - bytes);
    return {};
  }
  ARROW_RETURN_NOT_OK(store_->ReserveDisk(bytes - before));
  if (auto status = Claim(before, bytes); !status.ok()) {
    store_->ReleaseDisk(bytes - before);
    return status;
  }
  bytes_.store(bytes, std::memory_order_relaxed);
  return {};
}

Space::~Space() {
  if (data_ != nullptr) {
    munmap(data_, bytes_);
    store_->ReleaseMemory(bytes_);
    return;
  }
  if (fd_ >= 0) close(fd_);
  store_->ReleaseDisk(bytes_);
}

arrow::Status Space::Write(const uint8_t* from, int64_t bytes, int64_t offset) const {
  while (bytes > 0) {
    const ssize_t written = pwrite(fd_, from, bytes, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Failed(data_dir_, bytes, written < 0 ? errno : ENOSPC);
    from += written;
    bytes -= written;
    offset += written;
  }
  return {};
}

arrow::Status Space::Read(uint8_t* to, int64_t bytes, int64_t offset) const {
  while (bytes > 0) {
    const ssize_t got = pread(fd_, to, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Error(Code::kDataLoss, "rows dealt for a full shuffle cannot be read back from disk: ",
                   got < 0 ? std::strerror(errno) : "the file is too short", "; read it again");
    }
    to += got;
    bytes -= got;
    offset += got;
  }
  return {};
}

void Space::ReadAhead(int64_t bytes, int64_t offset) const {
  posix_fadvise(fd_, offset, bytes, POSIX_FADV_WILLNEED);
}

}  // namespace flightbridge::deal
