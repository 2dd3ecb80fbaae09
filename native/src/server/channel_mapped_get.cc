#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/writer.h>

#include "flightbridge/error.h"
#include "flightbridge/proto/commands.h"
#include "segment/segment.h"
#include "server/channel_session_internal.h"
#include "server/get_plan_internal.h"

namespace flightbridge::server {
namespace {

using channel::Fd;
using channel::Header;
using channel::Kind;

// Names messages of the store, whole, to a client that maps them: it takes its columns and rows out
// of them itself, and what it does not look at costs nothing.
class MappedGet {
 public:
  MappedGet(ServiceState* state, channel::Frames* frames, Loans* loans, GetPlan plan)
      : state_(state),
        open_(&state->open_gets),
        frames_(frames),
        loans_(loans),
        plan_(std::move(plan)),
        has_dictionaries_(arrow::ipc::DictionaryFieldMapper(*plan_.snapshot->schema).num_dicts() >
                          0) {}

  arrow::Status Run() {
    for (const PlannedRange& range : plan_.ranges) ARROW_RETURN_NOT_OK(SendRange(range));
    return arrow::Status::OK();
  }

 private:
  arrow::Status SendRange(const PlannedRange& range) {
    const feed::Partition& partition = *range.partition;
    if (range.begin == range.end) return arrow::Status::OK();
    size_t at = partition.FindBatch(range.begin);
    if (has_dictionaries_) {
      ARROW_ASSIGN_OR_RAISE(const auto needed, partition.DictionariesFor(at));
      for (const size_t dictionary : needed) ARROW_RETURN_NOT_OK(Name(range, dictionary));
    }
    for (; at < partition.messages.size(); ++at) {
      const feed::StoredMessage& message = partition.messages[at];
      if (!message.is_dictionary && message.row_begin >= range.end) break;
      ARROW_RETURN_NOT_OK(Name(range, at));
    }
    return arrow::Status::OK();
  }

  arrow::Status Name(const PlannedRange& range, size_t at) {
    ARROW_RETURN_NOT_OK(range.partition->Verify(at));
    const feed::StoredMessage& message = range.partition->messages[at];
    const segment::Segment* const segment = segment::SegmentOf(*message.body);
    if (segment == nullptr) return Error(Code::kInternal, "a stored message is in no segment");
    const segment::SegmentRef ref = segment->ref();
    Header header;
    header.flags = channel::kInSegment;
    header.body_bytes = message.body->size();
    header.chunk = ref.chunk;
    header.place = ref.offset + (message.body->data() - segment->data());
    if (!message.is_dictionary) {
      header.partition = range.partition->partition;
      header.first_row = message.row_begin;
      header.row_begin = std::max(range.begin, message.row_begin);
      header.rows = std::min(range.end, message.row_begin + message.rows) - header.row_begin;
    }
    Fd fd;
    if (loans_->Introduce(ref.chunk)) {
      header.flags |= channel::kWithChunk;
      ARROW_ASSIGN_OR_RAISE(const int opened, segment->OpenChunk());
      fd = Fd(opened);
    }
    header.sequence = loans_->Lend(message.body);
    state_->bytes_got.fetch_add(header.body_bytes, std::memory_order_relaxed);
    const auto released = [this] { return TakeRelease(frames_, loans_); };
    while (frames_->socket().Readable()) ARROW_RETURN_NOT_OK(released());
    return frames_->SendReference(header, *message.metadata, message.crc32c, fd.get(), released);
  }

  ServiceState* const state_;
  CountGuard open_;
  channel::Frames* const frames_;
  Loans* const loans_;
  const GetPlan plan_;
  const bool has_dictionaries_;
};

}  // namespace

arrow::Status TakeRelease(channel::Frames* frames, Loans* loans) {
  ARROW_ASSIGN_OR_RAISE(const Header header, frames->ReceiveHeader(0));
  if (header.what() != Kind::kRelease) return channel::Unexpected(header, "a release");
  ARROW_RETURN_NOT_OK(frames->ReceiveMetadata(header).status());
  loans->Release(header.sequence);
  return arrow::Status::OK();
}

arrow::Status ServeMappedGet(ChannelContext* context, const ChannelPeer& peer,
                             const std::string& ticket, channel::Frames* frames, Loans* loans) {
  ARROW_ASSIGN_OR_RAISE(const StreamSlot slot, StreamSlot::Take(context->state.get()));
  ARROW_ASSIGN_OR_RAISE(auto plan, PlanGet(context->state.get(), peer.caller, ticket));
  if (!plan.picks.empty() || plan.order) {
    return Error(Code::kInvalidArgument,
                 "rows that are picked or ordered cannot be mapped, they are gathered into new "
                 "batches: ask without `mapped`");
  }
  ARROW_ASSIGN_OR_RAISE(const auto schema, arrow::ipc::SerializeSchema(*plan.snapshot->schema));
  ARROW_RETURN_NOT_OK(frames->Send(Kind::kSchema, std::string_view(*schema)));
  // A client of this machine that is gone has closed its end; one that sleeps holds what it maps.
  const auto progress = frames->socket().timeout();
  frames->socket().set_timeout(kNoTimeout);
  ARROW_RETURN_NOT_OK(MappedGet(context->state.get(), frames, loans, std::move(plan)).Run());
  ARROW_RETURN_NOT_OK(frames->Send(Kind::kEnd, {}));
  frames->socket().set_timeout(progress);
  return arrow::Status::OK();
}

}  // namespace flightbridge::server
