// The fuzz targets of the data channel over mutations of valid dialogues. `make fuzz` runs them for
// long under sanitizers.
#include <gtest/gtest.h>

#define FB_FUZZ_ENTRY FuzzChannel
#include "../fuzz/channel_fuzz.cc"
#undef FB_FUZZ_ENTRY

#include <arrow/ipc/writer.h>

#include "testing/mutations.h"

namespace flightbridge {
namespace {

using channel::Kind;
using fuzz::Frame;
using fuzz::ScriptedFrame;
using Script = std::vector<ScriptedFrame>;

std::string SchemaBytes() {
  return (*arrow::ipc::SerializeSchema(*fuzz::PutBatch(0)->schema()))->ToString();
}

ScriptedFrame PutFrame(bool resume) {
  proto::ChannelPut put;
  put.command = fuzz::kPutCommand;
  put.schema = SchemaBytes();
  put.resume = resume;
  return Frame(Kind::kPut, put.Encode());
}

Script Messages() {
  Script frames = fuzz::MessageFrames(*fuzz::PutBatch(0), 0);
  for (auto& frame : fuzz::MessageFrames(*fuzz::PutBatch(20), frames.size())) {
    frames.push_back(std::move(frame));
  }
  return frames;
}

// The end record for those messages.
ScriptedFrame EndFrame(const Script& messages) {
  proto::PutEnd end;
  for (const ScriptedFrame& frame : messages) {
    if (frame.metadata.size() > 0 && frame.header.sequence % 2 == 0) continue;  // a dictionary
    end.batches += 1;
    end.rows += 20;
    end.crc32c = segment::ChainChecksum(end.crc32c, fuzz::ChecksumOf(frame));
  }
  return Frame(Kind::kEnd, end.Encode());
}

Script operator+(Script left, const Script& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

std::string Seed(uint8_t connect, const Script& frames) {
  return std::string(1, static_cast<char>(connect)) + fuzz::Encode(frames);
}

Script InRing(Script messages) {
  int64_t place = 0;
  for (ScriptedFrame& frame : messages) {
    frame.header.flags = channel::kInRing;
    frame.header.place = place;
    place += segment::RoundUp(static_cast<int64_t>(frame.body.size()));
  }
  return Script{Frame(Kind::kRing, "", 0, fuzz::kHonestSizes | fuzz::kWithDescriptor)} + messages;
}

Script GetScript(bool mapped) {
  proto::GetTicket ticket;
  ticket.feed = fuzz::kFeed;
  return {Frame(Kind::kGet, proto::ChannelGet{ticket.Encode(), mapped}.Encode())};
}

TEST(ChannelFuzz, WhatClientsSend) {
  const Script messages = Messages();
  const Script put = {PutFrame(false)};
  const Script end = {EndFrame(messages)};
  const Script part(messages.begin(), messages.begin() + 3);
  ScriptedFrame resumed = PutFrame(true);
  resumed.how |= fuzz::kInTurn;
  const Script releases = {Frame(Kind::kRelease, "", 1), Frame(Kind::kRelease, "", 2)};
  const Script given_up = {Frame(Kind::kError, "")};
  const std::vector<std::string> seeds = {
      Seed(0, put + messages + end),
      Seed(fuzz::kOverTcp, put + messages + end),
      Seed(0, put + InRing(messages) + end),
      Seed(0, put + part + Script{resumed} + messages + end),
      Seed(0, put + InRing(part) + Script{resumed} + InRing(messages) + end),
      Seed(0, put + messages + end + Script{resumed}),
      Seed(0, put + part + given_up),
      Seed(0, GetScript(false) + put + messages + end + GetScript(true)),
      Seed(0, GetScript(true) + releases + GetScript(true) + releases),
      Seed(fuzz::kOverTcp, GetScript(false)),
      Seed(fuzz::kUngreeted, put + messages + end),
  };
  // Without mutation every one of them but those that give up is a whole put or none.
  for (const size_t whole : {0, 1, 2, 3, 4, 5, 7}) {
    const int64_t before = fuzz::puts_committed;
    FuzzChannel(reinterpret_cast<const uint8_t*>(seeds[whole].data()), seeds[whole].size());
    EXPECT_EQ(fuzz::puts_committed, before + 1) << "seed " << whole;
  }
  testing::RunMutations(&FuzzChannel, seeds, 3'000);
  EXPECT_GT(fuzz::puts_committed, 50);
}

}  // namespace
}  // namespace flightbridge
