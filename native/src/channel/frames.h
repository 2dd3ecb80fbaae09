// Sends and receives frames over a socket.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

#include "channel/frame.h"
#include "channel/message.h"
#include "channel/socket.h"

namespace flightbridge::channel {

// One reading and one writing thread, as Socket.
class Frames {
 public:
  using OnReadable = std::function<arrow::Status()>;

  Frames(Fd fd, Socket::Timeout timeout) : socket_(std::move(fd), timeout) {}
  Socket& socket() { return socket_; }

  // A frame without a body.
  arrow::Status Send(Kind kind, std::string_view metadata, uint64_t sequence = 0);
  // A frame of nothing but its header, with a descriptor.
  arrow::Status SendFd(Header header, int fd);
  // `header` says what the message is; its sizes are filled in. Returns the batch checksum, made
  // on the way unless the message has one. `on_readable` as in Socket::Send().
  arrow::Result<uint32_t> SendMessage(Header header, const Message& message,
                                      const OnReadable& on_readable = nullptr);
  // A message whose body lies elsewhere, as the header says.
  arrow::Status SendReference(Header header, const arrow::Buffer& metadata, uint32_t crc32c,
                              int fd = -1, const OnReadable& on_readable = nullptr);
  // `status` as it is to stand on the wire, see ToFlight().
  arrow::Status SendError(const arrow::Status& status);

  // The header of the next frame, checked. The rest of the frame must be received before the next
  // header: metadata and, of a kMessage, the body if it is inline and the trailer.
  arrow::Result<Header> ReceiveHeader(int64_t max_body_bytes);
  // What follows the header of a frame without a body.
  arrow::Result<std::string> ReceiveMetadata(const Header& header);
  // The metadata of a kMessage, to where there is room for it.
  arrow::Status ReceiveMetadata(const Header& header, void* to);
  // The batch checksum that the sender made.
  arrow::Result<uint32_t> ReceiveTrailer();

 private:
  Socket socket_;
};

// INVALID_ARGUMENT: a frame that has no place here.
arrow::Status Unexpected(const Header& header, std::string_view where);
// What a kError frame says, as the status that was sent.
arrow::Status ReceivedError(std::string_view metadata);

}  // namespace flightbridge::channel
