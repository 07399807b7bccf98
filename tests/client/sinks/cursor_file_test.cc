#include "client/sinks/cursor_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/output/json.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/filled_message.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "vmeventd/internal/cursor.pb.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

class CursorFileTest : public testing::Test {
 protected:
  std::unique_ptr<CursorFile> Open(const std::vector<std::string>& servers = {"node1:9555"}) {
    auto file = CursorFile::Open(path(), servers);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? *std::move(file) : nullptr;
  }
  std::string Complaint() {
    const auto file = CursorFile::Open(path(), {"node1:9555"});
    EXPECT_TRUE(absl::IsFailedPrecondition(file.status())) << file.status();
    return std::string(file.status().message());
  }
  void Write(const std::string& content) { std::ofstream(path()) << content; }
  std::string path() const { return directory_ / "cursor"; }

  TemporaryDirectory directory_;
};

TEST_F(CursorFileTest, IsEmptyBeforeItExists) {
  EXPECT_EQ(Open()->Find("node1:9555"), std::nullopt);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(CursorFileTest, IsRefusedWhileAnotherVmeventsUsesIt) {
  auto first = Open();
  EXPECT_THAT(Complaint(), AllOf(HasSubstr("another vmevents uses the cursor file " + path()),
                                 HasSubstr("name another file")));
  EXPECT_TRUE(first->Save("node1:9555", {7, "journal-a"}).ok());
  EXPECT_THAT(Complaint(), HasSubstr(path())) << "the file was replaced";
  first.reset();
  EXPECT_EQ(Open()->Find("node1:9555"), (WatchPosition{7, "journal-a"}));
}

TEST_F(CursorFileTest, RemembersThePositionOfEachServer) {
  const std::vector<std::string> servers = {"node1:9555", "node2:9555"};
  {
    const auto file = Open(servers);
    EXPECT_TRUE(file->Save("node1:9555", {7, "journal-a"}).ok());
    EXPECT_TRUE(file->Save("node2:9555", {UINT64_MAX, "journal-b"}).ok());
    EXPECT_TRUE(file->Save("node1:9555", {8, "journal-a"}).ok());
  }
  const auto file = Open(servers);
  EXPECT_EQ(file->Find("node1:9555"), (WatchPosition{8, "journal-a"}));
  EXPECT_EQ(file->Find("node2:9555"), (WatchPosition{UINT64_MAX, "journal-b"}));
}

TEST_F(CursorFileTest, TheOnlyPositionIsFoundByAnyAddress) {
  EXPECT_TRUE(Open()->Save("node1:9555", {7, "journal-a"}).ok());
  const auto file = Open({"unix:/run/vmeventd/vmeventd.sock"});
  EXPECT_EQ(file->Find("unix:/run/vmeventd/vmeventd.sock"), (WatchPosition{7, "journal-a"}));
}

TEST_F(CursorFileTest, LeavesOnlyItsLockFileNextToIt) {
  std::ofstream(directory_ / ".cursor.new") << "of a crash";
  EXPECT_TRUE(Open()->Save("node1:9555", {7, "journal-a"}).ok());
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, UnorderedElementsAre("cursor", ".cursor.lock"));
}

TEST_F(CursorFileTest, IsReadableOnlyByItsOwner) {
  EXPECT_TRUE(Open()->Save("node1:9555", {7, "journal-a"}).ok());
  struct stat found {};
  ASSERT_EQ(stat(path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
}

TEST_F(CursorFileTest, AnUnchangedPositionIsNotWrittenAgain) {
  const auto file = Open();
  EXPECT_TRUE(file->Save("node1:9555", {7, "journal-a"}).ok());
  std::filesystem::remove(path());
  EXPECT_TRUE(file->Save("node1:9555", {7, "journal-a"}).ok());
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(CursorFileTest, RefusesAFileThatIsNoCursor) {
  const std::string begin = R"({"vmevents_cursor": 1, "positions": [)";
  const std::string rows[] = {"",
                              "root:x:0:0",
                              "{}",
                              R"({"vmevents_cursor": 2})",
                              begin + "1]}",
                              begin + R"({"server": "a", "sequence": "7"}]})",
                              begin + R"({"server": "a", "journal_id": "j", "sequence": "x"}]})"};
  for (const std::string& content : rows) {
    Write(content);
    EXPECT_THAT(Complaint(), AllOf(HasSubstr(path() + " is not a cursor"),
                                   HasSubstr("remove it, or name another file")))
        << content;
  }
}

TEST_F(CursorFileTest, IsJsonForOtherPrograms) {
  EXPECT_TRUE(Open()->Save("fleet", {7, "journal-a", absl::FromUnixMillis(1500)}).ok());
  EXPECT_EQ(e2e::ReadFile(path()),
            "{\"vmevents_cursor\":1,\"positions\":[{\"server\":\"fleet\",\"journal_id\":"
            "\"journal-a\",\"sequence\":\"7\",\"message_time\":\"1970-01-01T00:00:01.500Z\"}]}\n");
  EXPECT_EQ(Open()->Find("node1:9555"),
            (WatchPosition{7, "journal-a", absl::FromUnixMillis(1500)}));
}

TEST_F(CursorFileTest, SavingOnePositionKeepsEachFieldOfTheOthers) {
  internal::Cursor cursor;
  Fill(true, &cursor);
  cursor.set_vmevents_cursor(1);
  Write(ToJson(cursor).value());
  // Its name sorts after those of the others, which are numbers.
  EXPECT_TRUE(Open({"a", "b"})->Save("node1:9555", {7, "journal-a"}).ok());
  internal::Cursor again;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(e2e::ReadFile(path()), &again).ok());
  ASSERT_EQ(again.positions_size(), cursor.positions_size() + 1);
  again.mutable_positions()->RemoveLast();
  EXPECT_EQ(Differences(cursor, again), "");
}

TEST_F(CursorFileTest, RefusesLinksAndOtherKindsOfFiles) {
  Write("{}");
  const std::string link = directory_ / "link";
  std::filesystem::create_symlink(path(), link);
  EXPECT_THAT(CursorFile::Open(link, {"a"}), Says("is a symbolic link"));
  const std::string hard = directory_ / "hard";
  std::filesystem::create_hard_link(path(), hard);
  EXPECT_THAT(CursorFile::Open(hard, {"a"}), Says("a hard link"));
  const std::string directory = directory_ / "directory";
  std::filesystem::create_directory(directory);
  EXPECT_THAT(CursorFile::Open(directory, {"a"}), Says("is not a regular file"));
}

TEST_F(CursorFileTest, ALinkThatAppearsLaterIsNotReplaced) {
  const auto file = Open();
  std::filesystem::create_symlink(directory_ / "elsewhere", path());
  EXPECT_THAT(file->Save("node1:9555", {7, "j"}), Says("is a symbolic link"));
}

TEST_F(CursorFileTest, NamesADirectoryThatDoesNotExist) {
  const auto file = CursorFile::Open(directory_ / "no/cursor", {"a"});
  EXPECT_EQ(file.status().message(),
            absl::StrCat("there is no directory ", directory_ / "no", ": create it first"));
}

}  // namespace
}  // namespace vmeventd::client
