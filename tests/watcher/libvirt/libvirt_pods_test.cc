// Sockets that match a glob: each may be that of a pod, whose libvirt anybody may be.

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/health.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/libvirt/libvirt_source.h"

namespace vmeventd {
namespace {

class LibvirtPodsTest : public LibvirtSourceTest {
 protected:
  LibvirtPodsTest() {
    directory_.MakeDirectory("pods");
    options_.sources.libvirts = {
        ParseLibvirtUri("qemu+unix:///session?socket=" + directory_.Path("pods/*/sock")).value()};
  }
  ~LibvirtPodsTest() override {
    libvirt_->Hang(false);
    watcher_.reset();
  }

  void MakePod(const std::string& name) {
    directory_.MakeDirectory("pods/" + name);
    sockets_[name] = UniqueFd(e2e::ListenUnix(directory_.Path("pods/" + name + "/sock")));
  }
  void RemovePod(const std::string& name) {
    std::filesystem::remove_all(directory_.Path("pods/" + name));
  }
  bool UntilConnections(int count) {
    return UntilInTime([&] { return watcher_->Describe().libvirt_connections_size() == count; });
  }

  std::map<std::string, UniqueFd> sockets_;
};

TEST_F(LibvirtPodsTest, AHangingDirectoryOfAGlobIsReportedAsTroubleAndByHealth) {
  options_.directory_patience = absl::ZeroDuration();
  MakePod("a");
  Start();
  ASSERT_TRUE(UntilConnections(1));
  ASSERT_TRUE(UntilInTime([&] { return Serves(*watcher_, "libvirt"); }));
  // Without patience other directories are in trouble at times as well.
  const auto hangs = [&] {
    return absl::c_linear_search(watcher_->Troubles(), "looking for libvirt's sockets hangs");
  };
  {
    const HangingDirectory hang(directory_.Path("pods"));
    ASSERT_TRUE(UntilInTime([&] { return hangs() && !Serves(*watcher_, "libvirt"); }));
  }
  ASSERT_TRUE(UntilInTime([&] { return !hangs() && Serves(*watcher_, "libvirt"); }));
}

TEST_F(LibvirtPodsTest, ASocketThatIsMadeAgainAndAgainTakesOneThread) {
  libvirt_->Hang(true, "hostile");
  Start();
  for (int round = 0; round < 10; ++round) {
    MakePod("hostile");
    ASSERT_TRUE(UntilConnections(1));
    ASSERT_TRUE(UntilInTime([&] { return libvirt_->calls_under_way() == 1; }));
    RemovePod("hostile");
    ASSERT_TRUE(UntilConnections(0));
  }
  EXPECT_EQ(libvirt_->opened(), 1);
  EXPECT_EQ(libvirt_->calls_under_way(), 1);
  MakePod("hostile");
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilInTime([&] {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    return info.libvirt_connections_size() > 0 && info.libvirt_connections(0).connected();
  })) << "it answers after all";
}

TEST_F(LibvirtPodsTest, ASocketThatIsMadeAgainIsNotTriedSooner) {
  libvirt_->SetOpenError(absl::UnavailableError("broken"));
  Start();
  int tried = 0;
  absl::Duration first;
  for (int round = 0; round < 40; ++round) {
    MakePod("hostile");
    ASSERT_TRUE(UntilConnections(1));
    if (round == 20) {
      tried = libvirt_->opened();
      first = clock_.Now().monotonic;
    }
    RemovePod("hostile");
    ASSERT_TRUE(UntilConnections(0));
  }
  const absl::Duration passed = clock_.Now().monotonic - first;
  EXPECT_LE(libvirt_->opened() - tried, passed / absl::Seconds(5) + 1);
}

TEST_F(LibvirtPodsTest, HangingPodsBlockOthersOnlyAtTheLimitOfThreads) {
  libvirt_->Hang(true, "hostile");
  const auto is_there = [&](absl::string_view pod, absl::string_view problem) {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    const auto& states = info.libvirt_connections();
    return std::any_of(states.begin(), states.end(), [&](const v1::LibvirtConnection& state) {
      return absl::StrContains(state.uri(), pod) && state.connected() == problem.empty() &&
             absl::StartsWith(state.problem().text(), problem);
    });
  };
  for (int pod = 1; pod < LibvirtSource::kMaxThreads; ++pod) MakePod(absl::StrCat("hostile", pod));
  Start();
  ASSERT_TRUE(
      UntilInTime([&] { return libvirt_->calls_under_way() == LibvirtSource::kMaxThreads - 1; }));
  MakePod("good");
  ASSERT_TRUE(UntilInTime([&] { return is_there("/good/", ""); }));
  MakePod("hostile0");
  ASSERT_TRUE(
      UntilInTime([&] { return libvirt_->calls_under_way() == LibvirtSource::kMaxThreads; }));
  MakePod("late");
  ASSERT_TRUE(UntilInTime([&] { return is_there("/late/", "waiting for a free thread"); }));
  libvirt_->Hang(true, "hostile1");
  ASSERT_TRUE(UntilInTime([&] { return is_there("/late/", ""); }));
}

TEST_F(LibvirtPodsTest, AGlobWithoutMatchesIsHealthy) {
  options_.sources.watches.clear();
  libvirt_->SetOpenError(absl::UnavailableError("broken"));
  Start();
  ASSERT_TRUE(UntilInTime([&] { return watcher_->first_scan_done(); }));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  MakePod("broken");
  ASSERT_TRUE(UntilConnections(1));
  EXPECT_FALSE(Serves(*watcher_, "sources"));
}

TEST_F(LibvirtPodsTest, AMatchWithATooLongPathIsAProblemEvenIfOthersAreConnected) {
  options_.sources.watches.clear();
  options_.sources.libvirts = {
      ParseLibvirtUri("qemu+unix:///session?socket=" + directory_.Path("pods/*/*")).value()};
  MakePod("good");
  Start();
  ASSERT_TRUE(
      UntilInTime([&] { return Serves(*watcher_, "sources") && Serves(*watcher_, "libvirt"); }));
  const std::string name(83, 'n');
  const std::string path = directory_.MakeDirectory("pods/" + std::string(50, 'd')) + "/" + name;
  const UniqueFd socket(e2e::ListenUnix(directory_.Path(name)));
  std::filesystem::rename(directory_.Path(name), path);
  const std::string problem = path + ": its file name is too long for a Unix socket: 83 bytes";
  ASSERT_TRUE(UntilInTime([&] {
    std::vector<std::string> problems;
    const v1::GetServerInfoResponse info = watcher_->Describe();
    for (const v1::LibvirtConnection& state : info.libvirt_connections()) {
      if (!state.connected()) problems.push_back(state.problem().text());
    }
    return problems.size() == 1 && absl::StrContains(problems.front(), problem);
  }));
  EXPECT_FALSE(Serves(*watcher_, "libvirt"));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  std::filesystem::remove(path);
  EXPECT_TRUE(UntilInTime([&] { return Serves(*watcher_, "libvirt"); }));
}

}  // namespace
}  // namespace vmeventd
