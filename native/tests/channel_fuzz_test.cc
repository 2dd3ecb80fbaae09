// The fuzz targets of the data channel over mutations of valid dialogues. `make fuzz` runs them for
// long under sanitizers.
#include <gtest/gtest.h>

#define FB_FUZZ_ENTRY FuzzChannel
#include "../fuzz/channel_fuzz.cc"
#undef FB_FUZZ_ENTRY
#define FB_FUZZ_ENTRY FuzzChannelAnswers
#include "../fuzz/channel_answers_fuzz.cc"
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

ScriptedFrame PutFrame(bool resume, int64_t attempt = 1) {
  proto::ChannelPut put;
  put.command = fuzz::kPutCommand;
  put.command->attempt = attempt;
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

Script AtPlaces(Script messages) {
  int64_t place = 0;
  for (ScriptedFrame& frame : messages) {
    frame.header.flags = channel::kInRing;
    frame.header.place = place;
    place += segment::RoundUp(static_cast<int64_t>(frame.body.size()));
  }
  return messages;
}

Script InRing(const Script& messages) {
  return Script{Frame(Kind::kRing, "", 0, fuzz::kHonestSizes | fuzz::kWithDescriptor)} +
         AtPlaces(messages);
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
      // A second put in the ring of the first.
      Seed(0, Script{PutFrame(false, 2)} + InRing(messages) + end + put + AtPlaces(messages) + end),
      Seed(fuzz::kOverTcp, GetScript(false)),
      Seed(fuzz::kUngreeted, put + messages + end),
  };
  // Without mutation every one of them but those that give up is a whole put or none.
  for (const size_t whole : {0, 1, 2, 3, 4, 5, 7, 9}) {
    const int64_t before = fuzz::puts_committed;
    FuzzChannel(reinterpret_cast<const uint8_t*>(seeds[whole].data()), seeds[whole].size());
    EXPECT_EQ(fuzz::puts_committed, before + 1) << "seed " << whole;
  }
  testing::RunMutations(&FuzzChannel, seeds, 2'000);
  EXPECT_GT(fuzz::puts_committed, 40);
}

// A frame that waits for one of the client's.
ScriptedFrame Answer(Kind kind, std::string metadata) {
  return Frame(kind, std::move(metadata), 0, fuzz::kHonestSizes | fuzz::kInTurn);
}

Script AnswersToPut(bool mapped) {
  Script script = {Answer(Kind::kWelcome, ""), Answer(Kind::kReady, "")};
  if (mapped) script.push_back(Answer(Kind::kAck, ""));  // its ring
  proto::PutResult result{.batches = 2, .rows = 2 * fuzz::RowsOfPut(mapped)};
  // The second batch has the same dictionary, which is not sent again.
  const auto batch = fuzz::PutBatch(0, fuzz::RowsOfPut(mapped));
  const uint32_t crc = *segment::BatchChecksum(*batch);
  result.crc32c = segment::ChainChecksum(segment::ChainChecksum(0, crc), crc);
  for (uint64_t next = 1; next <= 3; ++next) {
    script.push_back(Answer(Kind::kAck, proto::ChannelAck{next}.Encode()));
  }
  script.push_back(Answer(Kind::kResult, result.Encode()));
  return script;
}

Script AnswersToGet(bool mapped) {
  Script script = {Answer(Kind::kWelcome, ""), Answer(Kind::kSchema, SchemaBytes())};
  int64_t row = 0;
  int64_t place = 0;
  for (ScriptedFrame& frame : Messages()) {
    if (frame.header.sequence % 2 == 1) {  // behind its dictionary
      frame.header.partition = 0;
      frame.header.row_begin = frame.header.first_row = row;
      frame.header.rows = 20;
      row += 20;
    }
    if (mapped) {
      frame.header.flags = channel::kInSegment;
      if (script.size() == 2) {
        frame.header.flags |= channel::kWithChunk;
        frame.how |= fuzz::kWithDescriptor;
      }
      frame.header.place = place;
      place += segment::RoundUp(static_cast<int64_t>(frame.body.size()));
    }
    script.push_back(std::move(frame));
  }
  script.push_back(Frame(Kind::kEnd, ""));
  return script;
}

TEST(ChannelFuzz, WhatServersAnswer) {
  Script lost = AnswersToGet(false);
  lost.resize(lost.size() - 2);
  const std::vector<std::string> seeds = {
      Seed(fuzz::kByTcp, AnswersToPut(false)),
      Seed(0, AnswersToPut(true)),
      Seed(fuzz::kByTcp | fuzz::kGetting, AnswersToGet(false)),
      Seed(fuzz::kGetting, AnswersToGet(true)),
      Seed(fuzz::kGetting, AnswersToGet(false)),
      Seed(fuzz::kByTcp | fuzz::kGetting, lost),
  };
  testing::RunMutations(&FuzzChannelAnswers, seeds, 400);
  EXPECT_GT(fuzz::puts_finished, 4);
  EXPECT_GT(fuzz::gets_finished, 15);
}

}  // namespace
}  // namespace flightbridge
