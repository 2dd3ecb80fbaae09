#include "channel/frames.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/checksum.h"
#include "segment/checksum_internal.h"
#include "segment/segment.h"

namespace flightbridge::channel {
namespace {

// Checksummed and sent in parts of this size, so that the kernel's copy finds them in the cache.
constexpr int64_t kPartBytes = 256 << 10;

iovec Part(const void* data, size_t bytes) { return {const_cast<void*>(data), bytes}; }

uint32_t CrcOf(const void* data, size_t bytes) { return segment::Crc32c(0, data, bytes); }

void SetMetadata(const arrow::Buffer& metadata, Header* header) {
  header->kind = static_cast<uint16_t>(Kind::kMessage);
  header->metadata_bytes = static_cast<uint32_t>(metadata.size());
  header->metadata_crc32c = CrcOf(metadata.data(), static_cast<size_t>(metadata.size()));
}

// Collects parts of a frame and sends them when they are many bytes.
class Gathered {
 public:
  Gathered(Socket* socket, const Frames::OnReadable& on_readable)
      : socket_(socket), on_readable_(on_readable) {}

  arrow::Status Add(const void* data, int64_t bytes) {
    if (bytes == 0) return {};
    parts_.push_back(Part(data, static_cast<size_t>(bytes)));
    bytes_ += bytes;
    return bytes_ >= kPartBytes || parts_.size() >= 256 ? Flush() : arrow::Status::OK();
  }
  arrow::Status Flush() {
    const auto status = socket_->Send(parts_, on_readable_);
    parts_.clear();
    bytes_ = 0;
    return status;
  }

 private:
  Socket* socket_;
  const Frames::OnReadable& on_readable_;
  std::vector<iovec> parts_;
  int64_t bytes_ = 0;
};

// Sends the buffers, each padded to 64 bytes; returns the batch checksum.
arrow::Result<uint32_t> SendBuffers(const Message& message, Gathered* out) {
  static constexpr std::array<uint8_t, segment::kAlignment> kZeros = {};
  const segment::IpcMessage& parsed = message.parsed();
  uint32_t crc = segment::CrcOfNodes(parsed.rows, parsed.nodes);
  for (size_t i = 0; i < parsed.buffers.size(); ++i) {
    const int64_t bytes = parsed.buffers[i].length;
    crc = segment::CrcOfSize(crc, bytes);
    const uint8_t* data = bytes == 0 ? nullptr : message.buffers()[i]->data();
    for (int64_t at = 0; at < bytes;) {
      const int64_t part = std::min(kPartBytes, bytes - at);
      crc = segment::Crc32c(crc, data + at, static_cast<size_t>(part));
      ARROW_RETURN_NOT_OK(out->Add(data + at, part));
      at += part;
    }
    ARROW_RETURN_NOT_OK(out->Add(kZeros.data(), segment::RoundUp(bytes) - bytes));
  }
  return crc;
}

}  // namespace

arrow::Status Frames::Send(Kind kind, std::string_view metadata, uint64_t sequence) {
  Header header;
  header.kind = static_cast<uint16_t>(kind);
  header.sequence = sequence;
  header.metadata_bytes = static_cast<uint32_t>(metadata.size());
  header.metadata_crc32c = CrcOf(metadata.data(), metadata.size());
  header.Seal();
  std::array parts = {Part(&header, sizeof(header)), Part(metadata.data(), metadata.size())};
  return socket_.Send(parts);
}

arrow::Status Frames::SendFd(Header header, int fd) {
  header.Seal();
  std::array parts = {Part(&header, sizeof(header))};
  return socket_.SendWithFd(parts, fd);
}

arrow::Result<uint32_t> Frames::SendMessage(Header header, const Message& message,
                                            const OnReadable& on_readable) {
  SetMetadata(message.metadata(), &header);
  header.body_bytes = message.body_bytes();
  header.Seal();
  Gathered out(&socket_, on_readable);
  ARROW_RETURN_NOT_OK(out.Add(&header, sizeof(header)));
  ARROW_RETURN_NOT_OK(out.Add(message.metadata().data(), message.metadata().size()));
  Trailer trailer;
  if (message.crc32c().has_value()) {
    trailer.crc32c = *message.crc32c();
    ARROW_RETURN_NOT_OK(out.Add(message.body()->data(), message.body()->size()));
  } else {
    ARROW_ASSIGN_OR_RAISE(trailer.crc32c, SendBuffers(message, &out));
  }
  ARROW_RETURN_NOT_OK(out.Add(&trailer, sizeof(trailer)));
  ARROW_RETURN_NOT_OK(out.Flush());
  return trailer.crc32c;
}

arrow::Status Frames::SendReference(Header header, const arrow::Buffer& metadata, uint32_t crc32c,
                                    int fd, const OnReadable& on_readable) {
  SetMetadata(metadata, &header);
  header.Seal();
  Trailer trailer{crc32c, 0};
  std::array parts = {Part(&header, sizeof(header)),
                      Part(metadata.data(), static_cast<size_t>(metadata.size())),
                      Part(&trailer, sizeof(trailer))};
  return fd < 0 ? socket_.Send(parts, on_readable) : socket_.SendWithFd(parts, fd);
}

arrow::Status Frames::SendError(const arrow::Status& status) {
  return Send(Kind::kError, proto::ChannelError{status.message()}.Encode());
}

arrow::Result<Header> Frames::ReceiveHeader(int64_t max_body_bytes) {
  Header header;
  ARROW_RETURN_NOT_OK(socket_.Receive(&header, sizeof(header)));
  ARROW_RETURN_NOT_OK(header.Check(kMaxMetadataBytes, max_body_bytes));
  return header;
}

arrow::Result<std::string> Frames::ReceiveMetadata(const Header& header) {
  if (header.body_bytes != 0 || header.what() == Kind::kMessage) {
    return Unexpected(header, "a control frame");
  }
  std::string metadata(header.metadata_bytes, '\0');
  ARROW_RETURN_NOT_OK(ReceiveMetadata(header, metadata.data()));
  return metadata;
}

arrow::Status Frames::ReceiveMetadata(const Header& header, void* to) {
  ARROW_RETURN_NOT_OK(socket_.Receive(to, header.metadata_bytes));
  if (header.metadata_crc32c == CrcOf(to, header.metadata_bytes)) return {};
  return Error(Code::kDataLoss,
               "the metadata of a frame arrived with another checksum than it was sent with");
}

arrow::Result<uint32_t> Frames::ReceiveTrailer() {
  Trailer trailer;
  ARROW_RETURN_NOT_OK(socket_.Receive(&trailer, sizeof(trailer)));
  return trailer.crc32c;
}

arrow::Status Unexpected(const Header& header, std::string_view where) {
  return Error(Code::kInvalidArgument, "a frame of kind ", header.kind, " with ",
               header.metadata_bytes, " bytes of metadata and ", header.body_bytes,
               " bytes of body came over the data channel where ", where, " was expected");
}

arrow::Status ReceivedError(std::string_view metadata) {
  const auto error = proto::Parse<proto::ChannelError>(metadata);
  if (!error) return Error(Code::kInternal, "the peer sent an error that cannot be read");
  return FromFlight(arrow::Status::IOError(error->message));
}

}  // namespace flightbridge::channel
