#include "server/eventlog/sequence_mark.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd {
namespace {

constexpr char kMarksId[] = "6a6f7572-6e61-4c00-8000-000000000001";

TEST(SequenceMark, IsReadAgainAsItWasSet) {
  const TemporaryDirectory directory;
  {
    const auto mark = SequenceMark::Open(directory / "sequence").value();
    EXPECT_EQ(mark->Of(kMarksId).published, 0u);
    EXPECT_TRUE(mark->Set({kMarksId, 7, 9}).ok());
    EXPECT_EQ(mark->Of(kMarksId).committed, 7u);
  }
  const auto mark = SequenceMark::Open(directory / "sequence").value();
  EXPECT_EQ(mark->Of(kMarksId).committed, 7u);
  EXPECT_EQ(mark->Of(kMarksId).published, 9u);
  EXPECT_EQ(mark->Of("another journal").published, 0u);
}

TEST(SequenceMark, KeepsItsSizeSoThatAFullDiskDoesNotStopIt) {
  const TemporaryDirectory directory;
  const auto mark = SequenceMark::Open(directory / "sequence").value();
  const auto size = std::filesystem::file_size(directory / "sequence");
  ASSERT_TRUE(mark->Set({kMarksId, UINT64_MAX, UINT64_MAX}).ok());
  EXPECT_EQ(std::filesystem::file_size(directory / "sequence"), size);
  EXPECT_EQ(SequenceMark::Open(directory / "sequence").value()->Of(kMarksId).committed, UINT64_MAX);
}

TEST(SequenceMark, AnythingElseInTheFileIsNoMark) {
  const TemporaryDirectory directory;
  for (const std::string& text :
       {std::string(), std::string("garbage"), std::string("a committed 1 published"),
        std::string("a committed x published 2 "), std::string("a committed 1 published 2 more"),
        std::string("\xff\xfe"), std::string(300, 'x')}) {
    std::ofstream(directory / "sequence", std::ios::trunc) << text;
    {
      const auto mark = SequenceMark::Open(directory / "sequence").value();
      EXPECT_EQ(mark->Of("a").published, 0u) << text;
      EXPECT_TRUE(mark->Set({"a", 1, 2}).ok());
    }
    EXPECT_EQ(SequenceMark::Open(directory / "sequence").value()->Of("a").published, 2u) << text;
  }
}

TEST(SequenceMark, FollowsNoLink) {
  const TemporaryDirectory directory;
  ASSERT_EQ(symlink("/etc/hostname", (directory / "sequence").c_str()), 0);
  EXPECT_THAT(SequenceMark::Open(directory / "sequence"), Says("sequence"));
}

}  // namespace
}  // namespace vmeventd
