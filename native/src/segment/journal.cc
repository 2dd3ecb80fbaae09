#include "segment/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "flightbridge/error.h"
#include "segment/checksum.h"
#include "segment/journal_scan.h"

namespace flightbridge::segment {
namespace {

// Writes all of it at `offset`; returns errno or 0.
int WriteAll(int fd, std::string_view bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t wrote = pwrite(fd, bytes.data(), bytes.size(), offset);
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes.remove_prefix(static_cast<size_t>(wrote));
    offset += wrote;
  }
  return 0;
}

arrow::Result<std::string> ReadAll(int fd, const std::string& path) {
  struct stat facts = {};
  if (fstat(fd, &facts) != 0) {
    return Error(Code::kInternal, "cannot read journal '", path, "': ", std::strerror(errno));
  }
  std::string bytes(static_cast<size_t>(facts.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Error(Code::kInternal, "cannot read journal '", path,
                   "': ", got < 0 ? std::strerror(errno) : "it shrank meanwhile");
    }
    done += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace

arrow::Status SyncDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool ok = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (ok) return {};
  return Error(Code::kInternal, "cannot sync directory '", path, "': ", std::strerror(error),
               " (errno ", error, ")");
}

std::string FrameRecord(std::string_view payload, uint64_t durable) {
  RecordFrame frame;
  frame.length = static_cast<uint32_t>(payload.size());
  frame.durable = durable;
  frame.crc32c = frame.ComputeCrc(payload);
  std::string bytes(sizeof(frame) + payload.size(), '\0');
  std::memcpy(bytes.data(), &frame, sizeof(frame));
  std::memcpy(bytes.data() + sizeof(frame), payload.data(), payload.size());
  return bytes;
}

Journal::Journal(std::string path, int fd, int64_t size)
    : path_(std::move(path)), fd_(fd), written_(size), durable_(size) {}

Journal::~Journal() { close(fd_); }

arrow::Status Journal::Failed(int error, std::string_view what) const {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Error(full ? Code::kResourceExhausted : Code::kUnavailable, "cannot ", what, " journal '",
               path_, "': ", std::strerror(error), " (errno ", error,
               "): nothing can be written until ",
               full ? "there is room on the disk" : "the disk works again",
               "; committed feeds can still be read");
}

arrow::Result<std::unique_ptr<Journal>> Journal::Open(const std::string& path,
                                                      const Replay& replay) {
  // Left by a crash in the middle of Rewrite().
  unlink((path + ".tmp").c_str());
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Error(errno == EACCES || errno == EROFS || errno == EPERM ? Code::kPermissionDenied
                                                                     : Code::kFailedPrecondition,
                 "cannot open journal '", path, "': ", std::strerror(errno), " (errno ", errno,
                 ")");
  }
  std::unique_ptr<Journal> journal(new Journal(path, fd, 0));
  ARROW_ASSIGN_OR_RAISE(const std::string bytes, ReadAll(fd, path));
  ARROW_ASSIGN_OR_RAISE(const int64_t valid, ScanJournal(bytes, path, replay));
  if (valid == 0) {
    if (const int error = WriteAll(fd, kJournalMagic, 0); error != 0) {
      return journal->Failed(error, "start");
    }
    journal->written_ = static_cast<int64_t>(kJournalMagic.size());
  } else {
    journal->written_ = valid;
  }
  const bool cut = static_cast<int64_t>(bytes.size()) != journal->written_;
  if (cut && ftruncate(fd, journal->written_) != 0) return journal->Failed(errno, "cut");
  if (fsync(fd) != 0) return journal->Failed(errno, "sync");
  ARROW_RETURN_NOT_OK(SyncDirectory(std::filesystem::path(path).parent_path().string()));
  journal->durable_ = journal->written_;
  return journal;
}

arrow::Status Journal::CutBack() {
  ++epoch_;
  written_ = durable_;
  dirty_tail_ = ftruncate(fd_, durable_) != 0;
  synced_.notify_all();
  return dirty_tail_ ? Failed(errno, "cut") : arrow::Status::OK();
}

arrow::Result<Journal::Ticket> Journal::Append(std::string_view payload) {
  if (payload.size() > kMaxRecordBytes) {
    return Error(Code::kInvalidArgument, "a journal record of ", payload.size(),
                 " bytes is more than the ", kMaxRecordBytes,
                 " allowed: commit fewer partitions at once");
  }
  std::lock_guard lock(mutex_);
  if (dirty_tail_) ARROW_RETURN_NOT_OK(CutBack());
  const std::string bytes = FrameRecord(payload, static_cast<uint64_t>(durable_));
  if (const int error = WriteAll(fd_, bytes, written_); error != 0) {
    // Only this record failed; those before it may still become durable.
    dirty_tail_ = ftruncate(fd_, written_) != 0;
    return Failed(error, "write");
  }
  written_ += static_cast<int64_t>(bytes.size());
  return Ticket{written_, epoch_};
}

arrow::Status Journal::Sync(const Ticket& ticket) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (ticket.epoch != epoch_) {
      return Error(Code::kUnavailable, "journal '", path_,
                   "' could not be written to disk: try again once the disk works");
    }
    if (durable_ >= ticket.end) return {};
    if (!syncing_) break;
    synced_.wait(lock);
  }
  syncing_ = true;
  const int64_t target = written_;
  const uint64_t epoch = epoch_;
  lock.unlock();
  const int result = fdatasync(fd_);
  const int error = errno;
  lock.lock();
  syncing_ = false;
  synced_.notify_all();
  if (result != 0) {
    // Which pages reached the disk is not known, so none of these records may count.
    if (epoch == epoch_) static_cast<void>(CutBack());
    return Failed(error, "sync");
  }
  if (epoch != epoch_) {  // cut meanwhile, perhaps below `target`
    return Failed(EIO, "keep");
  }
  durable_ = target;
  return {};
}

arrow::Status Journal::Rewrite(const Rewriter& rewriter) {
  std::lock_guard lock(mutex_);
  const std::string temporary = path_ + ".tmp";
  const int fd = open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Failed(errno, "rewrite");
  int64_t size = 0;
  std::string pending(kJournalMagic);
  const auto flush = [&]() -> arrow::Status {
    if (const int error = WriteAll(fd, pending, size); error != 0) return Failed(error, "rewrite");
    size += static_cast<int64_t>(pending.size());
    pending.clear();
    return {};
  };
  const auto emit = [&](std::string_view payload) -> arrow::Status {
    if (payload.size() > kMaxRecordBytes) {
      return Error(Code::kInternal, "a journal record of ", payload.size(), " bytes is too long");
    }
    // The file counts only as a whole, so every record finds all before it on disk.
    pending += FrameRecord(payload, static_cast<uint64_t>(size) + pending.size());
    return pending.size() < (1 << 20) ? arrow::Status::OK() : flush();
  };
  arrow::Status status = rewriter(emit);
  if (status.ok()) status = flush();
  if (status.ok() && fsync(fd) != 0) status = Failed(errno, "rewrite");
  if (status.ok() && rename(temporary.c_str(), path_.c_str()) != 0) {
    status = Failed(errno, "rewrite");
  }
  if (!status.ok()) {
    close(fd);
    unlink(temporary.c_str());
    return status;
  }
  close(fd_);
  fd_ = fd;
  written_ = durable_ = size;
  dirty_tail_ = false;
  return SyncDirectory(std::filesystem::path(path_).parent_path().string());
}

int64_t Journal::bytes() const {
  std::lock_guard lock(mutex_);
  return written_;
}

}  // namespace flightbridge::segment
