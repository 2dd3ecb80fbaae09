#include "deal/feed_rows.h"

#include "feed/row_gather.h"
#include "feed/span.h"
#include "flightbridge/error.h"

namespace flightbridge::deal {
namespace {

// Of what each row has for certain: values of fixed width, and offsets.
int64_t FixedBytes(const arrow::Schema& schema, int64_t rows) {
  int64_t bytes = 0;
  for (const auto& field : schema.fields()) {
    switch (feed::PickKindOf(*field->type())) {
      case feed::PickKind::kBits: bytes += rows / 8; break;
      case feed::PickKind::kFixed: bytes += rows * feed::PickWidthOf(*field->type()); break;
      case feed::PickKind::kBytes32: bytes += rows * 4; break;
      case feed::PickKind::kBytes64: bytes += rows * 8; break;
      case feed::PickKind::kArrays: break;
    }
  }
  return bytes;
}

}  // namespace

arrow::Result<std::shared_ptr<const FeedRows>> FeedRows::Of(const feed::Snapshot& snapshot) {
  ARROW_RETURN_NOT_OK(feed::CheckWhole(snapshot));
  if (snapshot.open || snapshot.span != nullptr) {
    return Error(Code::kFailedPrecondition, "feed '", snapshot.name,
                 snapshot.open ? "' is still being written" : "' spans several servers",
                 ": the server cannot put its rows into order, ask for them by picks");
  }
  auto rows = std::make_shared<FeedRows>();
  for (const auto& known : snapshot.partitions) {
    ARROW_ASSIGN_OR_RAISE(auto partition, snapshot.Find(known->partition));  // may be released
    if (partition->rows == 0) continue;
    rows->starts_.push_back(rows->starts_.back() + partition->rows);
    rows->bytes_ += partition->bytes;
    rows->varying_bytes_ +=
        std::max<int64_t>(0, partition->bytes - FixedBytes(*partition->schema, partition->rows));
    rows->partitions_.push_back(std::move(partition));
  }
  return rows;
}

FeedRows::Message FeedRows::Find(int64_t row) const {
  const size_t p = std::ranges::upper_bound(starts_, row) - starts_.begin() - 1;
  const feed::Partition& partition = *partitions_[p];
  const size_t index = partition.FindBatch(row - starts_[p]);
  const feed::StoredMessage& message = partition.messages[index];
  return {&partition, index, starts_[p] + message.row_begin, message.rows};
}

std::vector<FeedRows::Message> FeedRows::All() const {
  std::vector<Message> all;
  for (size_t p = 0; p < partitions_.size(); ++p) {
    const feed::Partition& partition = *partitions_[p];
    for (size_t i = 0; i < partition.messages.size(); ++i) {
      const feed::StoredMessage& message = partition.messages[i];
      if (message.is_dictionary || message.rows == 0) continue;
      all.push_back({&partition, i, starts_[p] + message.row_begin, message.rows});
    }
  }
  return all;
}

}  // namespace flightbridge::deal
