#include "batch/generation_view.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "flightbridge/error.h"

namespace flightbridge::batch {
namespace {

class ViewSource : public Source {
 public:
  ViewSource(std::unique_ptr<Source> source, std::string feed, const GenerationRange& range)
      : source_(std::move(source)), feed_(std::move(feed)), range_(range) {}

  arrow::Result<proto::FeedInfo> DescribeFeed() override {
    ARROW_ASSIGN_OR_RAISE(auto info, DescribeAfter(source_.get(), feed_, range_.first));
    return CutTo(std::move(info), range_);
  }
  arrow::Result<std::shared_ptr<arrow::Schema>> GetSchema() override {
    return source_->GetSchema();
  }
  arrow::Result<std::unique_ptr<GetStream>> OpenGet(const proto::GetTicket& ticket) override {
    return source_->OpenGet(ticket);
  }
  arrow::Result<std::string> Act(const std::string& action, const std::string& body,
                                 const std::string& doing) override {
    return source_->Act(action, body, doing);
  }

 private:
  const std::unique_ptr<Source> source_;
  const std::string feed_;
  const GenerationRange range_;
};

}  // namespace

arrow::Result<proto::FeedInfo> DescribeAfter(Source* source, const std::string& feed,
                                             int64_t after) {
  ARROW_ASSIGN_OR_RAISE(const std::string answer,
                        source->Act("DescribeFeed", proto::DescribeFeed{feed, after}.Encode(),
                                    "describing feed '" + feed + "'"));
  auto info = proto::Parse<proto::FeedInfo>(answer);
  if (!info) return Error(Code::kInternal, "the description of feed '", feed, "' is damaged");
  return *std::move(info);
}

arrow::Result<proto::FeedInfo> CutTo(proto::FeedInfo info, const GenerationRange& range) {
  const auto last =
      std::ranges::find(info.generations, range.last, &proto::GenerationInfo::generation);
  if (last == info.generations.end()) {
    const bool grows = !info.generations.empty();
    return Error(Code::kFailedPrecondition, "feed '", info.feed, "' has no generation ", range.last,
                 grows ? ": its last one is " + std::to_string(info.generations.back().generation) +
                             "; wait for it, or read fewer"
                       : std::string(": it does not grow, or was written again since; read it "
                                     "without a generation"));
  }
  info.state = proto::FeedState::kCommitted;
  if (range.followed) info.retention.reset();
  info.orders = info.deals = false;  // those of the server are of the whole feed
  info.fingerprint = last->fingerprint;
  info.generations.erase(std::next(last), info.generations.end());
  std::erase_if(info.partitions, [&](const proto::PartitionInfo& partition) {
    return partition.generation <= range.first || partition.generation > range.last;
  });
  info.rows = info.bytes = 0;
  for (const auto& partition : info.partitions) {
    info.rows += partition.rows;
    info.bytes += partition.bytes;
  }
  return info;
}

ConnectFn ViewOf(ConnectFn connect, std::string feed, const GenerationRange& range) {
  return [connect = std::move(connect), feed = std::move(feed),
          range]() -> arrow::Result<std::unique_ptr<Source>> {
    ARROW_ASSIGN_OR_RAISE(auto source, connect());
    return std::make_unique<ViewSource>(std::move(source), feed, range);
  };
}

}  // namespace flightbridge::batch
