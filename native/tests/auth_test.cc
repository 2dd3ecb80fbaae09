// Tokens: the file's format, patterns, scopes, and reading the file again when it changes.
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/sha256.h"
#include "flightbridge/error.h"
#include "server/auth.h"

namespace flightbridge::server {
namespace {

using namespace std::chrono_literals;

constexpr const char* kReader = "reader-token-0123456789";
constexpr const char* kWriter = "writer-token-0123456789";

std::string Hex(const Sha256Digest& digest) {
  std::string hex;
  for (const uint8_t byte : digest) {
    hex.push_back("0123456789abcdef"[byte >> 4]);
    hex.push_back("0123456789abcdef"[byte & 15]);
  }
  return hex;
}

TEST(Sha256, StandardVectors) {
  EXPECT_EQ(Hex(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, EveryByteCounts) {
  const Sha256Digest digest = Sha256("abc");
  EXPECT_TRUE(EqualInConstantTime(digest, Sha256("abc")));
  for (size_t i = 0; i < digest.size(); ++i) {
    Sha256Digest other = digest;
    other[i] ^= 1;
    EXPECT_FALSE(EqualInConstantTime(digest, other)) << i;
  }
}

TEST(Pattern, StarsMatchAnyCharacters) {
  EXPECT_TRUE(MatchesPattern("*", "a"));
  EXPECT_TRUE(MatchesPattern("clicks.*", "clicks."));
  EXPECT_TRUE(MatchesPattern("clicks.*", "clicks.2026"));
  EXPECT_FALSE(MatchesPattern("clicks.*", "clicks"));
  EXPECT_FALSE(MatchesPattern("clicks.*", "my-clicks.1"));
  EXPECT_TRUE(MatchesPattern("*-train-*", "a-train-b-train-c"));
  EXPECT_TRUE(MatchesPattern("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(MatchesPattern("a*b*c", "aXbYbZ"));
  EXPECT_FALSE(MatchesPattern("abc", "abcd"));
  EXPECT_FALSE(MatchesPattern("abcd", "abc"));
}

TEST(TokenSet, FindsTokensInClearAndHashed) {
  const std::string text = std::string("# tokens\n\n") + kReader +
                           " read:clicks.*,read:x reader\r\n" + "sha256:" + Hex(Sha256(kWriter)) +
                           "\twrite:*  # no name\n";
  const auto set = TokenSet::Parse(text, "f");
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ((*set)->size(), 2u);
  const TokenEntry* reader = (*set)->Find(kReader);
  ASSERT_NE(reader, nullptr);
  EXPECT_EQ(reader->name, "reader");
  const TokenEntry* writer = (*set)->Find(kWriter);
  ASSERT_NE(writer, nullptr);
  EXPECT_EQ(writer->name, "the token of line 4");
  EXPECT_EQ((*set)->Find(std::string(kReader) + "x"), nullptr);
  EXPECT_EQ((*set)->Find(""), nullptr);
  EXPECT_EQ((*set)->Find("sha256:" + Hex(Sha256(kWriter))), nullptr);  // the hash is no token

  const Caller caller(*set, reader);
  EXPECT_TRUE(caller.May(Scope::kRead, "clicks.1"));
  EXPECT_TRUE(caller.May(Scope::kRead, "x"));
  EXPECT_FALSE(caller.May(Scope::kWrite, "clicks.1"));
  EXPECT_FALSE(caller.May(Scope::kAdmin, "clicks.1"));
  EXPECT_FALSE(caller.MayEverywhere(Scope::kRead));
  EXPECT_TRUE(Caller(*set, writer).MayEverywhere(Scope::kWrite));
}

TEST(TokenSet, WrongLinesAreNamedWithoutTheirToken) {
  const std::string secret = "s3cret-s3cret-s3cret";
  for (const std::string& line :
       {secret, secret + " read", secret + " read:", secret + " look:*", secret + " read:a/b",
        secret + " read:*,", secret + " read:* name more", std::string("short read:*"),
        std::string("sha256:12 read:*"), secret + "\x80 read:*"}) {
    const auto set = TokenSet::Parse("# first\n" + line + "\n", "tokens.txt");
    ASSERT_FALSE(set.ok()) << line;
    const std::string message = set.status().message();
    EXPECT_EQ(CodeOf(set.status()), Code::kInvalidArgument);
    EXPECT_NE(message.find("tokens.txt, line 2"), std::string::npos) << message;
    EXPECT_EQ(message.find("s3cret"), std::string::npos) << message;
  }
  EXPECT_FALSE(TokenSet::Parse("", "f").ok());
  EXPECT_FALSE(TokenSet::Parse("# nobody\n", "f").ok());
  const std::string twice = secret + " read:a\n" + secret + " read:b\n";
  EXPECT_NE(TokenSet::Parse(twice, "f").status().message().find("twice"), std::string::npos);
}

class TokenFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/fb-auth-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/tokens";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& text, mode_t mode = 0600) const {
    const std::string fresh = path_ + ".new";
    std::ofstream(fresh) << text;
    ASSERT_EQ(::chmod(fresh.c_str(), mode), 0);
    std::filesystem::rename(fresh, path_);
  }

  std::string directory_;
  std::string path_;
};

TEST_F(TokenFileTest, OthersMustNotReadIt) {
  for (const mode_t mode : {0644, 0604, 0660, 0602, 0601}) {
    Write(std::string(kReader) + " read:*\n", mode);
    const auto file = TokenFile::Open(path_);
    ASSERT_FALSE(file.ok()) << mode;
    EXPECT_NE(file.status().message().find("chmod 600"), std::string::npos);
  }
  for (const mode_t mode : {0600, 0400, 0440}) {
    Write(std::string(kReader) + " read:*\n", mode);
    EXPECT_TRUE(TokenFile::Open(path_).ok()) << mode;
  }
  EXPECT_FALSE(TokenFile::Open(directory_ + "/missing").ok());
  EXPECT_FALSE(TokenFile::Open(directory_).ok());
}

TEST_F(TokenFileTest, AChangeIsTakenUpAfterASecondAndABadOneIsNot) {
  Write(std::string(kReader) + " read:*\n");
  auto file = *TokenFile::Open(path_);
  auto now = TokenFile::Clock::now();
  EXPECT_NE(file->Current(now)->Find(kReader), nullptr);

  Write(std::string(kWriter) + " write:*\n");
  EXPECT_EQ(file->Current(now)->Find(kWriter), nullptr);  // not looked at yet
  now += 2s;
  EXPECT_NE(file->Current(now)->Find(kWriter), nullptr);
  EXPECT_EQ(file->Current(now)->Find(kReader), nullptr);
  EXPECT_EQ(file->error(), "");

  Write("nonsense\n");
  now += 2s;
  EXPECT_NE(file->Current(now)->Find(kWriter), nullptr);  // the one before stays in force
  EXPECT_NE(file->error().find("line 1"), std::string::npos);

  Write(std::string(kReader) + " read:*\n", 0644);
  now += 2s;
  EXPECT_NE(file->Current(now)->Find(kWriter), nullptr);
  EXPECT_NE(file->error().find("chmod 600"), std::string::npos);

  std::filesystem::remove(path_);
  now += 2s;
  EXPECT_NE(file->Current(now)->Find(kWriter), nullptr);
  EXPECT_NE(file->error().find("cannot be read"), std::string::npos);

  Write(std::string(kReader) + " read:*\n");
  now += 2s;
  EXPECT_EQ(file->Current(now)->Find(kWriter), nullptr);
  EXPECT_NE(file->Current(now)->Find(kReader), nullptr);
  EXPECT_EQ(file->error(), "");
}

TEST_F(TokenFileTest, TheHeaderDecides) {
  Write(std::string(kReader) + " read:clicks reader\n");
  const auto authenticator = *Authenticator::Open(path_);
  for (const std::string& header :
       {std::string(), std::string(kReader), "Basic " + std::string(kReader),
        "bearer " + std::string(kReader), "Bearer " + std::string(kWriter),
        std::string("Bearer ")}) {
    const auto caller = authenticator->Authenticate(header);
    ASSERT_FALSE(caller.ok()) << header;
    EXPECT_EQ(CodeOf(caller.status()), Code::kUnauthenticated);
    EXPECT_EQ(caller.status().message().find("0123456789"), std::string::npos);
  }
  const auto caller = authenticator->Authenticate("Bearer " + std::string(kReader));
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_TRUE(Authorize(*caller, Scope::kRead, "clicks").ok());
  const arrow::Status denied = Authorize(*caller, Scope::kWrite, "clicks");
  EXPECT_EQ(CodeOf(denied), Code::kPermissionDenied);
  EXPECT_NE(denied.message().find("reader has no scope write:clicks"), std::string::npos);
  EXPECT_EQ(CodeOf(Authorize(*caller, Scope::kRead, "../clicks")), Code::kInvalidArgument);
}

TEST(Authenticator, WithoutAFileEveryoneIsTrusted) {
  const auto authenticator = *Authenticator::Open("");
  const auto caller = *authenticator->Authenticate("");
  EXPECT_TRUE(caller.MayEverywhere(Scope::kAdmin));
  EXPECT_TRUE(Authorize(caller, Scope::kWrite, "x").ok());
}

}  // namespace
}  // namespace flightbridge::server
