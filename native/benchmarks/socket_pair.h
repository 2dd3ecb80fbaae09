// Two ends of a TCP connection over loopback: the ceiling of everything that goes over TCP.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

class SocketPair {
 public:
  SocketPair() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    const int listener = Must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Must(bind(listener, at, size));
    Must(listen(listener, 1));
    Must(getsockname(listener, at, &size));
    receiver_ = Must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Must(connect(receiver_, at, size));
    sender_ = Must(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    close(listener);
    const int on = 1;
    Must(setsockopt(sender_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  ~SocketPair() {
    close(sender_);
    close(receiver_);
  }

  void Send(const uint8_t* bytes, int64_t size) const {
    for (int64_t done = 0; done < size;) {
      done += Must(send(sender_, bytes + done, static_cast<size_t>(size - done), MSG_NOSIGNAL));
    }
  }
  void Receive(uint8_t* to, int64_t size) const {
    for (int64_t done = 0; done < size;) {
      done += Must(recv(receiver_, to + done, static_cast<size_t>(size - done), MSG_WAITALL));
    }
  }

 private:
  template <typename T>
  static T Must(T result) {
    if (result >= 0) return result;
    std::perror("a socket of the ceiling");
    std::exit(1);
  }

  int sender_;
  int receiver_;
};
