#include "channel/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "flightbridge/error.h"

namespace flightbridge::channel {
namespace {

using Clock = std::chrono::steady_clock;

// So much at a time: the checksum then finds it in the second-level cache.
constexpr size_t kPartBytes = 256 << 10;

int Milliseconds(Clock::duration left) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 1 << 30));
}

// Waits for a connection to be made.
arrow::Status FinishConnect(int fd, Clock::time_point deadline) {
  pollfd wait = {fd, POLLOUT, 0};
  const int ready = poll(&wait, 1, Milliseconds(deadline - Clock::now()));
  if (ready == 0) return Error(Code::kDeadlineExceeded, "nobody answered");
  int error = errno;
  socklen_t size = sizeof(error);
  if (ready > 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return {};
  return Error(Code::kUnavailable, std::strerror(error));
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.Release();
  }
  return *this;
}

void Fd::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Socket::Socket(Fd fd, Timeout timeout) : fd_(std::move(fd)), timeout_(timeout) {
  fcntl(fd_.get(), F_SETFL, fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // refused by a Unix socket
  // A peer whose machine is gone is noticed while nothing is sent, too.
  const int idle_s = 20, every_s = 5, probes = 3;
  setsockopt(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

arrow::Result<Fd> Socket::ConnectTcp(const std::string& host, int port, Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      failed != 0) {
    return Error(Code::kUnavailable, "cannot resolve '", host, "': ", gai_strerror(failed));
  }
  arrow::Status last = Error(Code::kUnavailable, "'", host, "' has no address");
  Fd connected;
  for (const addrinfo* at = found; at != nullptr && !connected; at = at->ai_next) {
    Fd fd(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) continue;
    if (connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) {
      last = {};
    } else if (errno == EINPROGRESS) {
      last = FinishConnect(fd.get(), deadline);
    } else {
      last = Error(Code::kUnavailable, std::strerror(errno));
    }
    if (last.ok()) connected = std::move(fd);
  }
  freeaddrinfo(found);
  if (!connected) return WithContext(last, "connecting to the data port " + std::to_string(port));
  return connected;
}

arrow::Result<Fd> Socket::ConnectLocal(const std::string& name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() + 1 > sizeof(address.sun_path)) {
    return Error(Code::kInvalidArgument, "no local socket has such a name");
  }
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error(Code::kUnavailable, std::strerror(errno));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    return Error(Code::kUnavailable, "no local socket of the server here: ", std::strerror(errno));
  }
  return fd;
}

arrow::Status Socket::Lost(const char* doing, int error) {
  lost_.store(true, std::memory_order_release);
  if (broken()) return Error(Code::kCancelled, "the data channel was broken off");
  return Error(Code::kUnavailable, "the data channel was lost while ", doing, ": ",
               error == 0 ? "the peer closed it" : std::strerror(error));
}

arrow::Status Socket::Wait(short events, short* ready, Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  while (true) {
    if (broken()) return Lost("waiting", 0);
    pollfd wait = {fd_.get(), events, 0};
    const int count = poll(&wait, 1, Milliseconds(deadline - Clock::now()));
    if (count > 0) {
      *ready = wait.revents;
      return {};
    }
    if (count < 0 && errno != EINTR) return Lost("waiting", errno);
    if (count == 0) {
      lost_.store(true, std::memory_order_release);
      return Error(Code::kDeadlineExceeded, "nothing moved on the data channel for ",
                   static_cast<double>(timeout.count()) / 1000, " s");
    }
  }
}

void Socket::WakeAt(int bytes) {
  if (bytes == wake_at_) return;
  wake_at_ = bytes;
  setsockopt(fd_.get(), SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

arrow::Status Socket::Receive(void* to, int64_t bytes,
                              const std::function<void(int64_t)>* on_bytes) {
  auto* at = static_cast<uint8_t*>(to);
  auto left = static_cast<size_t>(bytes);
  while (left > 0) {
    iovec part = {at, on_bytes == nullptr ? left : std::min(left, kPartBytes)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t count = recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count > 0) {
      if (const cmsghdr* passed = CMSG_FIRSTHDR(&message); passed != nullptr &&
                                                           passed->cmsg_level == SOL_SOCKET &&
                                                           passed->cmsg_type == SCM_RIGHTS) {
        // Padding leaves room for a second one: what is not kept has to be closed.
        for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= passed->cmsg_len; ++i) {
          int fd = -1;
          std::memcpy(&fd, CMSG_DATA(passed) + i * sizeof(int), sizeof(fd));
          received_fd_ = Fd(fd);
        }
      }
      at += count;
      left -= static_cast<size_t>(count);
      if (on_bytes != nullptr) (*on_bytes)(bytes - static_cast<int64_t>(left));
    } else if (count == 0) {
      return Lost("receiving", 0);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      short ready = 0;
      WakeAt(static_cast<int>(std::min(left, kPartBytes)));
      const auto status = Wait(POLLIN, &ready, timeout_);
      ARROW_RETURN_NOT_OK(status);
    } else if (errno != EINTR) {
      return Lost("receiving", errno);
    }
  }
  WakeAt(1);
  return {};
}

arrow::Status Socket::Send(std::span<iovec> parts,
                           const std::function<arrow::Status()>& on_readable) {
  while (true) {
    while (!parts.empty() && parts.front().iov_len == 0) parts = parts.subspan(1);
    if (parts.empty()) return {};
    msghdr message = {};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min<size_t>(parts.size(), 512);
    const ssize_t count = sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count >= 0) {
      auto left = static_cast<size_t>(count);
      for (iovec& part : parts) {
        const size_t taken = std::min(left, part.iov_len);
        part.iov_base = static_cast<uint8_t*>(part.iov_base) + taken;
        part.iov_len -= taken;
        left -= taken;
        if (left == 0) break;
      }
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      short ready = 0;
      const auto events = static_cast<short>(on_readable ? POLLOUT | POLLIN : POLLOUT);
      ARROW_RETURN_NOT_OK(Wait(events, &ready, timeout_));
      if (on_readable && (ready & POLLIN) != 0) ARROW_RETURN_NOT_OK(on_readable());
    } else if (errno != EINTR) {
      return Lost("sending", errno);
    }
  }
}

arrow::Status Socket::SendWithFd(std::span<iovec> parts, int fd) {
  while (true) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = parts.data();
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* passed = CMSG_FIRSTHDR(&message);
    passed->cmsg_level = SOL_SOCKET;
    passed->cmsg_type = SCM_RIGHTS;
    passed->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(passed), &fd, sizeof(fd));
    const ssize_t count = sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      parts[0].iov_base = static_cast<uint8_t*>(parts[0].iov_base) + count;
      parts[0].iov_len -= static_cast<size_t>(count);
      return Send(parts);
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      short ready = 0;
      ARROW_RETURN_NOT_OK(Wait(POLLOUT, &ready, timeout_));
    } else if (errno != EINTR) {
      return Lost("sending", errno);
    }
  }
}

bool Socket::Readable() const {
  pollfd wait = {fd_.get(), POLLIN, 0};
  return poll(&wait, 1, 0) > 0;
}

bool Socket::PeerGone() const {
  pollfd wait = {fd_.get(), POLLRDHUP, 0};
  return poll(&wait, 1, 0) > 0;
}

void Socket::Drain(Timeout timeout) {
  const auto deadline = Clock::now() + timeout;
  std::vector<char> nothing(256 << 10);
  while (!broken() && Clock::now() < deadline) {
    pollfd wait = {fd_.get(), POLLIN, 0};
    if (poll(&wait, 1, Milliseconds(deadline - Clock::now())) <= 0) return;
    const ssize_t count = recv(fd_.get(), nothing.data(), nothing.size(), MSG_DONTWAIT);
    if (count <= 0) return;
  }
}

arrow::Result<bool> Socket::AtEnd(Timeout timeout) {
  short ready = 0;
  ARROW_RETURN_NOT_OK(Wait(POLLIN, &ready, timeout));
  char byte = 0;
  const ssize_t count = recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (count < 0 && errno != EAGAIN && errno != EINTR) return Lost("waiting", errno);
  return count == 0;
}

void Socket::Break() {
  broken_.store(true, std::memory_order_release);
  shutdown(fd_.get(), SHUT_RDWR);
}

void Socket::BreakReceiving() {
  broken_.store(true, std::memory_order_release);
  shutdown(fd_.get(), SHUT_RD);
}

void Socket::EndSending() { shutdown(fd_.get(), SHUT_WR); }

}  // namespace flightbridge::channel
