#include "watcher/qmp/directory_look.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/files.h"
#include "tests/support/full_descriptor_table.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

std::vector<std::string> NamesOf(const std::vector<SeenEntry>& entries) {
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (const SeenEntry& entry : entries) names.push_back(entry.name);
  return names;
}

class DirectoryLookTest : public testing::Test {
 protected:
  DirectoryLookTest() { directory_.MakeDirectory("watched"); }

  std::string Path(const std::string& name) const { return EntryPath(target_.path, name); }
  void Bind(const std::string& name) const { const UniqueFd fd(e2e::ListenUnix(Path(name))); }
  void Link(const std::string& to, const std::string& name) const {
    ASSERT_EQ(symlink(to.c_str(), Path(name).c_str()), 0);
  }
  DirectoryLook Look(const std::optional<ScanRequest>& request) const {
    return LookAtDirectory(inotify_.get(), target_, request);
  }
  DirectoryScan Scan(const ScanRequest& request = {.max_fresh = 100}) const {
    return Look(request).scan.value();
  }

  TemporaryDirectory directory_;
  UniqueFd inotify_{inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
  LookTarget target_{.path = directory_.Path("watched"),
                     .spec = {directory_.Path("watched"), "*.kvmd"}};
};

TEST_F(DirectoryLookTest, AMissingDirectoryHasNoWatchAndIsNoProblem) {
  e2e::Touch(directory_.Path("file"));
  for (const char* name : {"missing", "file", "file/below"}) {
    target_.path = directory_.Path(name);
    const DirectoryLook look = Look(ScanRequest{});
    EXPECT_EQ(look.watch, -1) << name;
    EXPECT_EQ(look.problem, "") << name;
    EXPECT_FALSE(look.scan.has_value()) << name;
  }
}

TEST_F(DirectoryLookTest, WithoutARequestNothingIsRead) {
  const FullDescriptorTable full;
  const DirectoryLook look = Look(std::nullopt);
  EXPECT_GE(look.watch, 0);
  EXPECT_EQ(look.problem, "");
  EXPECT_FALSE(look.scan.has_value());
}

TEST_F(DirectoryLookTest, AnotherDirectoryAtThePathHasAnotherWatch) {
  const int before = Look(std::nullopt).watch;
  EXPECT_EQ(Look(std::nullopt).watch, before);
  ASSERT_EQ(rename(target_.path.c_str(), directory_.Path("old").c_str()), 0);
  directory_.MakeDirectory("watched");
  EXPECT_NE(Look(std::nullopt).watch, before);
}

TEST_F(DirectoryLookTest, ADirectoryThatWasRemovedBelowItsMountIsAProblem) {
  // As a mount does, the descriptor leads to a directory that has no name any more.
  const UniqueFd removed(open(target_.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(rmdir(target_.path.c_str()), 0);
  target_.path = "/proc/self/fd/" + std::to_string(removed.get());
  const DirectoryLook look = Look(ScanRequest{});
  EXPECT_EQ(look.watch, -1);
  EXPECT_THAT(look.problem, HasSubstr("mount its parent"));
}

TEST_F(DirectoryLookTest, AScanSeparatesKnownSocketsFromOthers) {
  for (const char* name : {"a.kvmd", "b.kvmd", "c.kvmd"}) Bind(name);
  const DirectoryScan scan = Scan({.known = {"b.kvmd", "gone.kvmd"}, .max_fresh = 100});
  EXPECT_TRUE(scan.opened);
  EXPECT_TRUE(scan.complete);
  EXPECT_THAT(NamesOf(scan.known), ElementsAre("b.kvmd"));
  EXPECT_THAT(NamesOf(scan.fresh), UnorderedElementsAre("a.kvmd", "c.kvmd"));
  EXPECT_NE(scan.known[0].socket.identity.inode, 0u);
}

TEST_F(DirectoryLookTest, AScanReturnsAtMostSoManySocketsThatWereNotKnown) {
  for (const char* name : {"a.kvmd", "b.kvmd", "c.kvmd", "d.kvmd"}) Bind(name);
  const DirectoryScan scan = Scan({.known = {"a.kvmd", "d.kvmd"}, .max_fresh = 1});
  EXPECT_THAT(scan.fresh, SizeIs(1));
  EXPECT_THAT(NamesOf(scan.known), UnorderedElementsAre("a.kvmd", "d.kvmd"));
}

TEST_F(DirectoryLookTest, ASocketThatDoesNotMatchIsNamed) {
  e2e::Touch(Path("file.txt"));
  EXPECT_EQ(Scan().unmatched, "");
  Bind("a.qmp");
  const DirectoryScan scan = Scan();
  EXPECT_EQ(scan.unmatched, "a.qmp");
  EXPECT_THAT(scan.fresh, IsEmpty());
}

TEST_F(DirectoryLookTest, ALinkIsNamedIfItLeadsToASocketAndMatches) {
  e2e::Touch(Path("file"));
  Link("file", "file.kvmd");
  Link("nothing", "nothing.kvmd");
  Bind("a.kvmd");
  Link("a.kvmd", "a.link");
  EXPECT_EQ(Scan().link, "");
  Link("a.kvmd", "b.kvmd");
  const DirectoryScan scan = Scan();
  EXPECT_EQ(scan.link, "b.kvmd");
  EXPECT_THAT(NamesOf(scan.fresh), ElementsAre("a.kvmd"));
}

TEST_F(DirectoryLookTest, ADirectoryThatCannotBeOpenedIsWatchedAndAProblem) {
  const FullDescriptorTable full;
  const DirectoryLook look = Look(ScanRequest{});
  EXPECT_GE(look.watch, 0);
  EXPECT_THAT(look.problem, HasSubstr("cannot read " + target_.path));
  ASSERT_TRUE(look.scan.has_value());
  EXPECT_FALSE(look.scan->opened);
}

TEST_F(DirectoryLookTest, AScanThatBreaksOffIsNotComplete) {
  Bind("a.kvmd");
  const FaultyReaddir faulty(0);
  const DirectoryLook look = Look(ScanRequest{.max_fresh = 100});
  EXPECT_THAT(look.problem, HasSubstr("cannot read all of"));
  EXPECT_TRUE(look.scan.value().opened);
  EXPECT_FALSE(look.scan.value().complete);
}

TEST_F(DirectoryLookTest, ARootHasTheDirectoriesThatMatch) {
  target_.spec = {target_.path + "/vm-*", "qmp.sock"};
  target_.has_directories = true;
  directory_.MakeDirectory("watched/vm-1");
  directory_.MakeDirectory("watched/other");
  e2e::Touch(Path("vm-file"));
  Bind("qmp.sock");
  Link("vm-1", "vm-link");
  EXPECT_THAT(NamesOf(Scan().fresh), UnorderedElementsAre("vm-1", "vm-link"));
}

TEST_F(DirectoryLookTest, EntriesAreThereIfTheyMatchAndGoneOtherwise) {
  Bind("a.kvmd");
  Bind("a.qmp");
  e2e::Touch(Path("file.kvmd"));
  Link("a.kvmd", "link.kvmd");
  const EntriesLook look =
      LookAtEntries(target_, {"a.kvmd", "a.qmp", "file.kvmd", "link.kvmd", "nothing.kvmd"});
  EXPECT_THAT(NamesOf(look.there), ElementsAre("a.kvmd"));
  EXPECT_THAT(look.gone, ElementsAre("a.qmp", "file.kvmd", "link.kvmd", "nothing.kvmd"));
  EXPECT_EQ(look.link, "link.kvmd");
}

TEST_F(DirectoryLookTest, AnEntrysPathHasOneSlash) {
  EXPECT_EQ(EntryPath("/run/kvm", "a.kvmd"), "/run/kvm/a.kvmd");
  EXPECT_EQ(EntryPath("/", "a.kvmd"), "/a.kvmd");
}

}  // namespace
}  // namespace vmeventd
