#include "segment/chunk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "flightbridge/error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

namespace flightbridge::segment {
namespace {

arrow::Status Failed(int error, const std::string& what) {
  const bool full = error == ENOSPC || error == EDQUOT || error == ENOMEM || error == EFBIG;
  return Error(full ? Code::kResourceExhausted : Code::kInternal, what, ": ", std::strerror(error),
               " (errno ", error, ")",
               full ? ": make room on the disk of --data-dir, or drop a feed" : "");
}

}  // namespace

int64_t PageBytes() {
  static const int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

arrow::Result<std::shared_ptr<Chunk>> Chunk::Map(uint64_t id, const std::string& path, int fd,
                                                 int64_t size) {
  void* data = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    close(fd);
    return Failed(error, "cannot map a segment of " + std::to_string(size) + " bytes");
  }
  // Neither a forked child's memory nor a core dump has any use for the data.
  madvise(data, static_cast<size_t>(size), MADV_DONTDUMP);
  return std::shared_ptr<Chunk>(new Chunk(id, path, fd, static_cast<uint8_t*>(data), size));
}

arrow::Result<std::shared_ptr<Chunk>> Chunk::InMemory(uint64_t id, int64_t size) {
  const int fd = memfd_create("flightbridge", MFD_CLOEXEC);
  if (fd < 0) return Failed(errno, "cannot create a memory segment");
  if (ftruncate(fd, size) != 0) {
    const int error = errno;
    close(fd);
    return Failed(error, "cannot size a memory segment");
  }
  return Map(id, "", fd, size);
}

arrow::Result<std::shared_ptr<Chunk>> Chunk::CreateFile(uint64_t id, const std::string& path,
                                                        int64_t size) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Failed(errno, "cannot create segment file '" + path + "'");
  if (ftruncate(fd, size) != 0) {
    const int error = errno;
    close(fd);
    unlink(path.c_str());
    return Failed(error, "cannot size segment file '" + path + "'");
  }
  return Map(id, path, fd, size);
}

arrow::Result<std::shared_ptr<Chunk>> Chunk::OpenFile(uint64_t id, const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return Failed(errno, "cannot open segment file '" + path + "'");
  struct stat facts = {};
  if (fstat(fd, &facts) != 0 || facts.st_size == 0 || facts.st_size % PageBytes() != 0) {
    close(fd);
    return Error(Code::kDataLoss, "segment file '", path, "' has ", facts.st_size,
                 " bytes, which is not a whole number of pages: it was cut short");
  }
  return Map(id, path, fd, facts.st_size);
}

arrow::Result<int> Chunk::OpenReadOnly() const {
  // Through /proc, since a memfd has no other name and a duplicate could be written.
  const std::string self = "/proc/self/fd/" + std::to_string(fd_);
  const int fd = open(self.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed(errno, "cannot open a segment for another process");
  return fd;
}

Chunk::~Chunk() {
  munmap(data_, static_cast<size_t>(size_));
  close(fd_);
}

arrow::Status Chunk::CheckWhole(int64_t offset, int64_t length) {
  if (in_memory()) return {};
  int64_t uncut = uncut_.load(std::memory_order_acquire);
  struct stat facts = {};
  if (fstat(fd_, &facts) == 0) {
    while (facts.st_size < uncut && !uncut_.compare_exchange_weak(uncut, facts.st_size)) {
    }
    uncut = std::min<int64_t>(uncut, facts.st_size);
  }
  if (offset + length <= uncut) return {};
  return Error(Code::kDataLoss, "segment file '", path_, "' was cut to ", uncut, " of ", size_,
               " bytes while the server ran");
}

arrow::Status Chunk::Populate(int64_t offset, int64_t length) {
  if (!in_memory()) {
    // It would make the file longer again, with zeros where rows were.
    ARROW_RETURN_NOT_OK(CheckWhole(0, size_));
    // Blocks first: a full disk is then an error here, and not a SIGBUS in the copy.
    if (const int error = posix_fallocate(fd_, offset, length); error != 0) {
      return Failed(error, "no room for " + std::to_string(length) + " bytes in '" + path_ + "'");
    }
  }
  uint8_t* begin = data_ + offset;
  if (madvise(begin, static_cast<size_t>(length), MADV_POPULATE_WRITE) == 0) return {};
  if (errno != EINVAL) return Failed(errno, "cannot get memory for a segment");
  for (int64_t at = 0; at < length; at += PageBytes()) {  // an older kernel
    static_cast<volatile uint8_t*>(begin)[at] = 0;
  }
  return {};
}

void Chunk::Discard(int64_t offset, int64_t length) {
  // On failure the pages merely stay; they are zeroed or overwritten before anyone reads them.
  fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

arrow::Status Chunk::Sync(int64_t offset, int64_t length) {
  if (in_memory() || length == 0) return {};
  ARROW_RETURN_NOT_OK(CheckWhole(offset, length));
  const int64_t end = (offset + length + PageBytes() - 1) / PageBytes() * PageBytes();
  int error = write_error_.load(std::memory_order_acquire);
  if (error == 0 && msync(data_ + offset, static_cast<size_t>(end - offset), MS_SYNC) != 0) {
    error = errno;
  }
  if (error == 0) return {};
  return Failed(error, "cannot write segment file '" + path_ + "' to disk");
}

void Chunk::StartWriting(int64_t offset, int64_t length) {
  sync_file_range(fd_, offset, length, SYNC_FILE_RANGE_WRITE);
}

void Chunk::Evict(int64_t offset, int64_t length) {
  Unmap(offset, length);  // hands the dirty marks of the pages on to the file
  if (sync_file_range(
          fd_, offset, length,
          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0 &&
      (errno == EIO || errno == ENOSPC || errno == EDQUOT)) {
    // The system tells this once: whoever syncs later must hear of it.
    int none = 0;
    write_error_.compare_exchange_strong(none, errno);
  }
  posix_fadvise(fd_, offset, length, POSIX_FADV_DONTNEED);
}

void Chunk::Unmap(int64_t offset, int64_t length) {
  madvise(data_ + offset, static_cast<size_t>(length), MADV_DONTNEED);
}

void Chunk::ReadAhead(int64_t offset, int64_t length) {
  madvise(data_ + offset, static_cast<size_t>(length), MADV_WILLNEED);
}

arrow::Status Chunk::Load(int64_t offset, int64_t length) {
  ReadAhead(offset, length);
  if (madvise(data_ + offset, static_cast<size_t>(length), MADV_POPULATE_READ) == 0) return {};
  const int error = errno;
  if (error == EINVAL) return {};  // an older kernel: the pages come one by one
  if (error == EFAULT || error == EIO || error == EHWPOISON) {
    return Error(Code::kDataLoss, "segment file '", path_, "' cannot be read at offset ", offset,
                 " (", length, " bytes): it was cut short, or the disk fails");
  }
  return Failed(error, "cannot read segment file '" + path_ + "'");
}

}  // namespace flightbridge::segment
