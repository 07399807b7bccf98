#include "watcher/runs/read_notes.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::Optional;

constexpr uint64_t kOwner = 77;
constexpr ReadNotes::Limits kLimits{.runs = 4, .blocks = 400};

class ReadNotesTest : public testing::Test {
 protected:
  // As recv() into the desk.
  void Read(ReadNotes::Stream* stream, absl::string_view bytes) {
    notes_.BeginRead(stream);
    std::memcpy(notes_.desk().data(), bytes.data(), bytes.size());
    notes_.EndRead(bytes.size());
  }
  // What a crash now leaves.
  NotedReads Left(uint64_t serial) const {
    auto all = ReadNotes::ReadBack({memory_.data(), memory_.size()}, kOwner);
    EXPECT_TRUE(all.ok()) << all.status();
    return (*all)[serial];
  }

  std::vector<char> memory_ = std::vector<char>(ReadNotes::BytesFor(kLimits));
  ReadNotes notes_{absl::MakeSpan(memory_), kLimits, kOwner};
};

TEST_F(ReadNotesTest, WhatWasReadIsThereAfterACrash) {
  const auto one = notes_.Open(1);
  const auto other = notes_.Open(2);
  one->Begin(10, "ab");
  other->Begin(0, "");
  Read(one.get(), "cd");
  Read(other.get(), "xy");
  Read(one.get(), "e");
  EXPECT_THAT(Left(1).After(10), Optional(std::string("abcde")));
  EXPECT_THAT(Left(1).After(13), Optional(std::string("de")));
  EXPECT_THAT(Left(1).After(15), Optional(std::string()));
  EXPECT_THAT(Left(2).After(0), Optional(std::string("xy")));
}

TEST_F(ReadNotesTest, ARunThatWasSavedBeforeItBeganHasNone) {
  const auto stream = notes_.Open(1);
  stream->Begin(10, "ab");
  EXPECT_EQ(Left(1).After(9), std::nullopt);
  EXPECT_EQ(Left(1).After(13), std::nullopt);
}

TEST_F(ReadNotesTest, OneThatHasNotBegunOrHasEndedLeavesNothing) {
  auto stream = notes_.Open(1);
  Read(stream.get(), "ab");
  EXPECT_EQ(ReadNotes::ReadBack({memory_.data(), memory_.size()}, kOwner)->size(), 0u);
  stream->Begin(5, "");
  Read(stream.get(), "cd");
  EXPECT_THAT(Left(1).After(5), Optional(std::string("cd")));
  stream.reset();
  EXPECT_EQ(ReadNotes::ReadBack({memory_.data(), memory_.size()}, kOwner)->size(), 0u);
  EXPECT_EQ(notes_.used_blocks(), 0u);
}

TEST_F(ReadNotesTest, AKillRightAfterTheReadLosesNothing) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  Read(stream.get(), "a longer one before it\r\n");
  notes_.BeginRead(stream.get());
  std::memcpy(notes_.desk().data(), "and\r\n", 5);
  EXPECT_THAT(Left(1).After(0), Optional(std::string("a longer one before it\r\nand\r\n")));
  notes_.EndRead(5);
  EXPECT_THAT(Left(1).After(0), Optional(std::string("a longer one before it\r\nand\r\n")));
}

TEST_F(ReadNotesTest, AKillBeforeTheReadAddsNothing) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  Read(stream.get(), "one\r\n");
  notes_.BeginRead(stream.get());
  EXPECT_THAT(Left(1).After(0), Optional(std::string("one\r\n")));
}

TEST_F(ReadNotesTest, WhatIsReadOfAnotherMonitorIsNotItsOwn) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  Read(nullptr, "of somebody else");
  notes_.BeginRead(stream.get());
  EXPECT_THAT(Left(1).After(0), Optional(std::string()));
}

TEST_F(ReadNotesTest, WhatTheJournalHasIsForgottenAndNotBefore) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  Read(stream.get(), std::string(1000, 'a'));
  stream->Cover(600, 1000);
  notes_.EndTurn({.pushed = 7, .committed = 6});
  EXPECT_EQ(Left(1).After(0)->size(), 1000u);
  Read(stream.get(), "bb");
  stream->Cover(1001, 1001);
  notes_.EndTurn({.pushed = 8, .committed = 7});
  EXPECT_EQ(Left(1).After(599), std::nullopt) << "the journal has a newer one";
  EXPECT_THAT(Left(1).After(600), Optional(std::string("bb")));
  EXPECT_EQ(notes_.used_blocks(), 1u);
  notes_.EndTurn({.pushed = 8, .committed = 8});
  EXPECT_THAT(Left(1).After(1001), Optional(std::string("b")));
}

TEST_F(ReadNotesTest, OfManyStatesThatWaitTheOldestAndTheNewestCount) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  for (uint64_t turn = 1; turn <= 5; ++turn) {
    Read(stream.get(), "x");
    stream->Cover(turn, turn);
    notes_.EndTurn({.pushed = turn, .committed = 0});
  }
  notes_.EndTurn({.pushed = 5, .committed = 1});
  EXPECT_THAT(Left(1).After(1), Optional(std::string("xxxx")));
  notes_.EndTurn({.pushed = 5, .committed = 5});
  EXPECT_THAT(Left(1).After(5), Optional(std::string()));
  EXPECT_EQ(notes_.used_blocks(), 0u);
}

TEST_F(ReadNotesTest, BeyondItsBoundWhatIsNotSavedIsNotKnown) {
  const auto stream = notes_.Open(1);
  const auto other = notes_.Open(2);
  stream->Begin(0, "");
  other->Begin(0, "");
  Read(other.get(), "mine");
  const std::string much(20'000, 'x');
  for (int i = 0; i < 4; ++i) Read(stream.get(), much);
  EXPECT_EQ(notes_.left_out(), 1u);
  EXPECT_EQ(Left(1).After(0), std::nullopt);
  EXPECT_EQ(Left(1).After(79'999), std::nullopt);
  EXPECT_THAT(Left(1).After(80'000), Optional(std::string()));
  EXPECT_THAT(Left(2).After(0), Optional(std::string("mine")));
  // A state that is newer begins again, and one that is as it was.
  Read(stream.get(), "abc");
  stream->Cover(5, 80'002);
  notes_.EndTurn({});
  EXPECT_THAT(Left(1).After(5), Optional(std::string("c")));
}

TEST_F(ReadNotesTest, WhoseSpeakerIsNotKnownHasNone) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  Read(stream.get(), "ab");
  stream->GiveUp();
  Read(stream.get(), "cd");
  EXPECT_EQ(Left(1).After(0), std::nullopt);
  EXPECT_EQ(Left(1).After(4), std::nullopt);
  stream->Cover(4, 4);
  notes_.EndTurn({});
  EXPECT_EQ(Left(1).After(4), std::nullopt);
  EXPECT_EQ(notes_.left_out(), 1u);
}

TEST_F(ReadNotesTest, OfAStopThatIsNotFinishedTheyStay) {
  auto stream = notes_.Open(1);
  stream->Begin(0, "");
  Read(stream.get(), "ab");
  stream->Leave();
  stream.reset();
  EXPECT_THAT(Left(1).After(0), Optional(std::string("ab")));
}

TEST_F(ReadNotesTest, BeyondTheLimitOfRunsThereIsNone) {
  std::vector<std::unique_ptr<ReadNotes::Stream>> streams;
  for (uint64_t serial = 1; serial <= 4; ++serial) streams.push_back(notes_.Open(serial));
  EXPECT_EQ(notes_.Open(5), nullptr);
  EXPECT_EQ(notes_.left_out(), 1u);
  streams.pop_back();
  EXPECT_NE(notes_.Open(6), nullptr);
}

TEST_F(ReadNotesTest, AnotherMemoryIsRefused) {
  const absl::string_view memory(memory_.data(), memory_.size());
  EXPECT_TRUE(ReadNotes::ReadBack(memory, kOwner).ok());
  EXPECT_FALSE(ReadNotes::ReadBack(memory, kOwner + 1).ok());
  EXPECT_FALSE(ReadNotes::ReadBack(memory.substr(1), kOwner).ok());
  EXPECT_FALSE(ReadNotes::ReadBack("", kOwner).ok());
  EXPECT_FALSE(ReadNotes::ReadBack(std::string(10'000, '\0'), 0).ok());
}

// A kill may come between any two stores: what is found at each step of a read is what was read
// before, or that and all that the socket has given.
TEST_F(ReadNotesTest, EachStepOfAnAppendLeavesTheSame) {
  const auto stream = notes_.Open(1);
  stream->Begin(0, "");
  const std::string line(700, 'z');
  Read(stream.get(), line);
  notes_.BeginRead(stream.get());
  std::memcpy(notes_.desk().data(), line.data(), line.size());
  const std::vector<char> before = memory_;
  notes_.EndRead(line.size());
  const std::vector<char> after = memory_;
  // Whatever part of the blocks was written: the desk has the rest until the end is published.
  const size_t blocks = memory_.size() - kLimits.blocks * ReadNotes::kBlockBytes;
  for (size_t at = blocks; at < memory_.size(); at += ReadNotes::kBlockBytes) {
    std::vector<char> torn = before;
    std::copy(after.begin() + static_cast<ptrdiff_t>(blocks),
              after.begin() + static_cast<ptrdiff_t>(at),
              torn.begin() + static_cast<ptrdiff_t>(blocks));
    const auto left = ReadNotes::ReadBack({torn.data(), torn.size()}, kOwner);
    ASSERT_TRUE(left.ok());
    ASSERT_THAT(left->at(1).After(0), Optional(line + line)) << at;
  }
}

}  // namespace
}  // namespace vmeventd
