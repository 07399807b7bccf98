#include "server/fleet/fleet_position.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

FleetStored Tail(absl::string_view sent_after, absl::string_view sent_to) {
  return ToStored({kJournal, 12}, 30, "this", sent_after, sent_to);
}

TEST(FleetPosition, AMessageSaysBehindWhichPositionItWasSent) {
  for (const char* sent_to : {"this", "" /* an earlier version's */}) {
    const FleetStored tail = Tail(ToSentAfter({kJournal, 7, 25, ""}), sent_to);
    EXPECT_EQ(tail.position.journal_id, kJournal);
    EXPECT_EQ(tail.position.sequence, 12u);
    EXPECT_EQ(tail.position.stream_sequence, 30u);
    EXPECT_EQ(tail.sent_after.journal_id, kJournal);
    EXPECT_EQ(tail.sent_after.sequence, 7u);
    EXPECT_EQ(tail.sent_after.stream_sequence, 25u);
  }
}

TEST(FleetPosition, AMessageThatCannotSaySoStandsForItself) {
  for (const char* text :
       {"", "7", ":", "7:", ":25", "7:x", "-1:25", "7:25:1", "12:25", "18446744073709551616:25"}) {
    const FleetStored tail = Tail(text, "this");
    EXPECT_EQ(tail.sent_after.sequence, 12u) << text;
    EXPECT_EQ(tail.sent_after.stream_sequence, 30u) << text;
  }
}

TEST(FleetPosition, AMessageForAnotherStreamSaysNothingOfThisOne) {
  for (const FleetStored& tail :
       {Tail("7:25", "another"), Tail("7:30", "this"), Tail("7:30", "")}) {
    EXPECT_EQ(tail.sent_after.journal_id, kJournal);
    EXPECT_EQ(tail.sent_after.sequence, 0u);
    EXPECT_EQ(tail.sent_after.stream_sequence, 0u);
  }
}

TEST(PositionFile, KeepsThePositionOfItsTarget) {
  const TemporaryDirectory directory;
  {
    const auto file = PositionFile::Open(directory / "fleet", "a").value();
    EXPECT_EQ(file->value().journal_id, "");
    ASSERT_TRUE(file->Set({kJournal, 1000, 5000, ""}).ok());
    ASSERT_TRUE(file->Set({kJournal, 7, 30, "2026-07-01T12:00:00Z", 9, {33, 10}, {31, 8}}).ok());
  }
  const auto file = PositionFile::Open(directory / "fleet", "a").value();
  EXPECT_EQ(file->value().journal_id, kJournal);
  EXPECT_EQ(file->value().sequence, 7u);
  EXPECT_EQ(file->value().stream_sequence, 30u);
  EXPECT_EQ(file->value().log_id, "2026-07-01T12:00:00Z");
  EXPECT_EQ(file->value().lost_up_to, 9u);
  EXPECT_EQ(file->value().own.place, 33u);
  EXPECT_EQ(file->value().own.sequence, 10u);
  EXPECT_EQ(file->value().looked_at.place, 31u);
  EXPECT_EQ(file->value().looked_at.sequence, 8u);
  EXPECT_EQ(file->target_before(), "");
  const auto renamed = PositionFile::Open(directory / "fleet", "b").value();
  EXPECT_EQ(renamed->value().journal_id, "");
  EXPECT_EQ(renamed->target_before(), "a");
}

TEST(PositionFile, WhatIsNotWholeCountsAsNothing) {
  const TemporaryDirectory directory;
  const std::string path = directory / "fleet";
  ASSERT_TRUE(PositionFile::Open(path, "a").value()->Set({kJournal, 7, 30, ""}).ok());
  std::string text;
  std::getline(std::ifstream(path), text);
  std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  for (words.pop_back(); !words.empty(); words.pop_back()) {
    std::ofstream(path) << absl::StrJoin(words, " ");
    EXPECT_EQ(PositionFile::Open(path, "a").value()->value().journal_id, "") << words.size();
  }
}

TEST(PositionFile, SaysWhatIsWrong) {
  const auto file = PositionFile::Open("/nowhere/fleet", "a");
  ASSERT_FALSE(file.ok());
  EXPECT_TRUE(absl::StrContains(file.status().message(), "/nowhere/fleet"));
}

}  // namespace
}  // namespace vmeventd
