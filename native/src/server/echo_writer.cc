#include "server/echo_writer_internal.h"

#include <utility>

#include "common/thread.h"
#include "flightbridge/error.h"

namespace flightbridge::server {
namespace {

constexpr int64_t kMaxWaitingBytes = 16 << 20;
constexpr int64_t kMessageBytes = 64;  // what a waiting message costs beside its content

}  // namespace

EchoWriter::~EchoWriter() { (void)Finish(); }

arrow::Status EchoWriter::Push(std::shared_ptr<arrow::Buffer> metadata) {
  used_ = true;
  const std::lock_guard lock(mutex_);
  const int64_t bytes = metadata->size() + kMessageBytes;
  if (waiting_bytes_ + bytes > kMaxWaitingBytes) {
    return Error(Code::kResourceExhausted, "the client leaves more than ", kMaxWaitingBytes,
                 " bytes of its echoed metadata unread: read the put's metadata stream beside "
                 "writing, or send batches without metadata");
  }
  waiting_bytes_ += bytes;
  waiting_.push_back(std::move(metadata));
  if (!thread_.joinable()) thread_ = StartThread(&EchoWriter::Work, this);
  changed_.notify_all();
  return arrow::Status::OK();
}

bool EchoWriter::idle() {
  const std::lock_guard lock(mutex_);
  return waiting_bytes_ == 0;
}

arrow::Status EchoWriter::Finish() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  if (gone_) return Error(Code::kCancelled, "the client went away before its data was committed");
  return arrow::Status::OK();
}

void EchoWriter::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::shared_ptr<arrow::Buffer> metadata = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    const bool sent = gone_ || writer_->WriteMetadata(*metadata).ok();
    lock.lock();
    waiting_bytes_ -= metadata->size() + kMessageBytes;
    gone_ = gone_ || !sent;
  }
}

}  // namespace flightbridge::server
