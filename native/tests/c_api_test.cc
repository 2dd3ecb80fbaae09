// The C ABI: what it does with NULLs, with damaged bytes and with long messages.
#include "flightbridge/c_api.h"

#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "flightbridge/proto/commands.h"

namespace flightbridge {
namespace {

TEST(CApi, VersionsAreThoseOfTheHeader) {
  EXPECT_EQ(fb_abi_version(), FB_ABI_VERSION);
  EXPECT_GT(std::strlen(fb_version()), 0);
}

TEST(CApi, NullsAreErrorsNotCrashes) {
  fb_error error;
  fb_reader* reader = nullptr;
  fb_batch* batch = nullptr;
  fb_column column;
  EXPECT_EQ(fb_reader_open("", 0, nullptr, &error), FB_INVALID_ARGUMENT);
  EXPECT_STREQ(error.message, "out is NULL");
  EXPECT_EQ(error.code, FB_INVALID_ARGUMENT);
  EXPECT_EQ(fb_reader_open(nullptr, 3, &reader, &error), FB_INVALID_ARGUMENT);
  EXPECT_STREQ(error.message, "spec is NULL but has 3 bytes");
  EXPECT_EQ(fb_reader_open(nullptr, 3, &reader, nullptr), FB_INVALID_ARGUMENT);
  EXPECT_EQ(fb_reader_seek(nullptr, "", 0, &error), FB_INVALID_ARGUMENT);
  EXPECT_EQ(fb_reader_next(nullptr, &batch, &error), FB_INVALID_ARGUMENT);
  EXPECT_EQ(fb_reader_position(nullptr, nullptr, 0), -1);
  fb_reader_cancel(nullptr);
  fb_reader_close(nullptr);
  EXPECT_EQ(fb_batch_rows(nullptr), -1);
  EXPECT_EQ(fb_batch_num_columns(nullptr), -1);
  EXPECT_EQ(fb_batch_column(nullptr, 0, &column), FB_INVALID_ARGUMENT);
  fb_batch_retain(nullptr);
  fb_batch_release(nullptr);
}

TEST(CApi, DamagedSpecsAreRefused) {
  fb_error error;
  fb_reader* reader = reinterpret_cast<fb_reader*>(&error);
  EXPECT_EQ(fb_reader_open("\xff\xff\xff", 3, &reader, &error), FB_INVALID_ARGUMENT);
  EXPECT_EQ(reader, nullptr) << "never left as it was";
  EXPECT_STREQ(error.message, "spec (3 bytes) is damaged: it is no ReaderSpec");
}

TEST(CApi, LongMessagesEndAtACharacter) {
  proto::ReaderSpec spec;
  spec.feed = "x";
  spec.batch_size = 1;
  spec.epochs = 1;
  spec.num_shards = 1;
  spec.uri = "grpc://";  // no host: refused with the URI in the message
  for (int i = 0; i < 2000; ++i) spec.uri += "\xc3\xa9";
  for (int shift = 0; shift < 2; ++shift, spec.uri.insert(7, "a")) {
    const std::string bytes = spec.Encode();
    fb_error error;
    fb_reader* reader = nullptr;
    EXPECT_NE(fb_reader_open(bytes.data(), bytes.size(), &reader, &error), FB_OK);
    const std::string message = error.message;
    ASSERT_GE(message.size(), sizeof(error.message) - 2);
    const size_t accents = message.find("\xc3\xa9");
    const size_t tail = message.size() - accents;
    EXPECT_EQ(tail % 2, 0) << "half a character at the end";
  }
}

}  // namespace
}  // namespace flightbridge
