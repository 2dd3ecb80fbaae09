// A connected stream socket whose waits have deadlines and can be broken off from another thread.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include <arrow/result.h>
#include <arrow/status.h>

namespace flightbridge::channel {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { Close(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void Close();

 private:
  int fd_ = -1;
};

// One reading and one writing thread, which may be the same one; Break() from any.
//
// Errors: UNAVAILABLE where the peer has gone (an orderly end between frames too: callers that
// expect one ask AtEnd()), DEADLINE_EXCEEDED where nothing moved for `timeout`, CANCELLED after
// Break().
class Socket {
 public:
  using Timeout = std::chrono::milliseconds;

  // Makes the descriptor non-blocking.
  Socket(Fd fd, Timeout timeout);
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // `deadline` is for the connection as a whole; `timeout` then holds for each wait.
  static arrow::Result<Fd> ConnectTcp(const std::string& host, int port, Timeout timeout);
  // `name` is that of an abstract socket, without its leading zero byte.
  static arrow::Result<Fd> ConnectLocal(const std::string& name);

  // Fills the buffer. `on_bytes`, when given, is told after each part how many there are by now.
  arrow::Status Receive(void* to, int64_t bytes,
                        const std::function<void(int64_t)>* on_bytes = nullptr);
  // Sends all of it. While the peer takes nothing, `on_readable` is called when it has sent
  // something, so that two senders never wait for each other; the spans are consumed.
  arrow::Status Send(std::span<iovec> parts, const std::function<arrow::Status()>& on_readable);
  arrow::Status Send(std::span<iovec> parts) { return Send(parts, nullptr); }
  // As Send() and Receive(), with a descriptor beside the first byte.
  arrow::Status SendWithFd(std::span<iovec> parts, int fd);
  // The descriptor that came last and was not asked for yet; none where there was none.
  Fd TakeFd() { return std::move(received_fd_); }

  // True when a byte, or the end, can be read without waiting.
  bool Readable() const;
  // The peer has closed or reset the connection, whatever is still to be read.
  bool PeerGone() const;
  // Waits for the next byte, up to `timeout`; true at the peer's orderly end.
  arrow::Result<bool> AtEnd(Timeout timeout);
  // Reads on, for nothing, until the peer's end, `timeout` or a loss.
  void Drain(Timeout timeout);

  void set_timeout(Timeout timeout) { timeout_ = timeout; }
  Timeout timeout() const { return timeout_; }
  // Ends every wait, now and later.
  void Break();
  bool broken() const { return broken_.load(std::memory_order_acquire); }
  // An operation failed: the connection is of no more use.
  bool lost() const { return lost_.load(std::memory_order_acquire); }
  // As Break(), but the peer sees no end, only that nothing more is taken from it.
  void BreakReceiving();
  // No more is sent; what the peer sends can still be read.
  void EndSending();
  int fd() const { return fd_.get(); }

 private:
  arrow::Status Wait(short events, short* ready, Timeout timeout);
  // Sleeps on until so many bytes are there. Back to 1 before anything else is waited for.
  void WakeAt(int bytes);
  arrow::Status Lost(const char* doing, int error);

  Fd fd_;
  Timeout timeout_;
  int wake_at_ = 1;
  std::atomic<bool> broken_{false};
  std::atomic<bool> lost_{false};
  Fd received_fd_;
};

}  // namespace flightbridge::channel
