#include "watcher/qmp/path_conflicts.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using NodeQemu = NamedMonitors::Qemu;

constexpr InodeKey kSocket = {1, 100};

FollowedVm Vm(absl::string_view name, absl::string_view path, int64_t pid,
              InodeKey socket = kSocket) {
  return {.name = name, .path = path, .pid = pid, .socket = socket};
}

TEST(PathConflicts, TwoFollowedVmsWithOnePathBothHaveTheProblem) {
  std::vector<FollowedVm> vms = {Vm("a1", "/q/a1.qmp", 10, {1, 99}), Vm("a1", "/q/a1.qmp", 20)};
  vms[0].at_path = false;
  const std::vector<NodeQemu> qemus = {{.pid = 10, .name = "a1", .sockets = {kSocket}},
                                       {.pid = 20, .name = "b1", .sockets = {kSocket}}};
  for (const auto& seen : {qemus, std::vector<NodeQemu>()}) {
    const PathConflicts found = FindPathConflicts(vms, seen);
    EXPECT_THAT(found.of_vms, ElementsAre(AllOf(HasSubstr("another running QEMU"),
                                                HasSubstr("has bound the path")),
                                          HasSubstr("is also that of the running QEMU")));
    EXPECT_THAT(found.of_vms[0], HasSubstr(seen.empty() ? "pid 20" : "b1 (pid 20)"));
    EXPECT_THAT(found.of_vms[1], HasSubstr(seen.empty() ? "pid 10" : "a1 (pid 10)"));
    EXPECT_THAT(found.hidden, IsEmpty());
  }
}

TEST(PathConflicts, AnUnfollowedQemuIsHiddenByTheOneThatBoundItsPath) {
  const PathConflicts found = FindPathConflicts({Vm("a1", "/q/a1.qmp", 20)},
                                                {{.pid = 10, .name = "a1", .sockets = {kSocket}},
                                                 {.pid = 20, .name = "b1", .sockets = {kSocket}}});
  EXPECT_THAT(found.of_vms, ElementsAre(HasSubstr("the running QEMU a1 (pid 10)")));
  ASSERT_THAT(found.hidden, SizeIs(1));
  EXPECT_EQ(found.hidden[0].pid, 10);
  EXPECT_EQ(found.hidden[0].name, "a1");
  EXPECT_THAT(found.hidden[0].problem, HasSubstr("b1 (pid 20), has bound the path"));
}

// A second QEMU that has the socket of the VM a1, of pid 20 and user 7, on its command line.
struct OtherCase {
  const char* what;
  NodeQemu other;
  bool shares;
};

TEST(PathConflicts, AnotherProcessIsAConflictOnlyIfItMayHaveBoundThePath) {
  const OtherCase cases[] = {
      {"root's", {.pid = 10, .user = 0}, true},
      {"the same user's", {.pid = 10, .user = 7}, true},
      {"another user's", {.pid = 10, .user = 8}, false},
      {"its parent, which waits as it starts", {.pid = 10, .user = 7}, false},
      {"its child", {.pid = 30, .parent = 20, .user = 7}, false},
  };
  for (const OtherCase& one : cases) {
    NodeQemu other = one.other;
    other.sockets = {kSocket};
    const bool is_parent = std::string(one.what).starts_with("its parent");
    const NodeQemu own = {
        .pid = 20, .parent = is_parent ? 10 : 1, .user = 7, .name = "a1", .sockets = {kSocket}};
    const PathConflicts found = FindPathConflicts({Vm("a1", "/q/a1.qmp", 20)}, {own, other});
    EXPECT_EQ(!found.of_vms[0].empty(), one.shares) << one.what;
  }
}

// The layouts of docs/connect.md, and clones in them. The VM is followed at the socket `socket`,
// its QEMU has `name` and `id`, and another VM runs.
struct NameCase {
  const char* socket;
  const char* name;
  const char* id;
  const char* others_name;
  const char* others_id;
  bool contradicts;
};

TEST(PathConflicts, ASocketIsNamedAfterAnotherVmOnlyIfThatIsCertain) {
  const NameCase cases[] = {
      {"web1", "web1", "", "web2", "", false},        // plain QEMU, Ganeti, Incus
      {"100", "web1", "100", "web2", "101", false},   // Proxmox VE
      {"100", "101", "100", "100", "101", false},     // VMs that are called like ids
      {"100", "web2", "101", "web3", "102", true},    // its clone, while 100 is off
      {"100", "web2", "101", "web1", "100", true},    // and while 100 runs
      {"web1", "web1", "101", "web1", "100", false},  // sockets named after the VMs
      {"prod-web1", "web1", "", "web2", "", false},   // a name that no VM has
      {"web1", "web2", "", "web3", "", false},        // a clone, while nothing proves that
      {"web1", "web2", "", "web1", "", true},         // and while its original runs
      {"web1", "", "", "web1", "", false},            // no -name
      {"1", "web1", "", "web2", "", false},           // a counter
  };
  for (const NameCase& one : cases) {
    const std::vector<NodeQemu> qemus = {{.pid = 10, .name = one.others_name, .id = one.others_id},
                                         {.pid = 20, .name = one.name, .id = one.id}};
    const PathConflicts found = FindPathConflicts(
        {Vm(one.socket, "/q/s.qmp", 20), Vm("x", "/q/x.qmp", 30, {1, 101})}, qemus);
    EXPECT_EQ(!found.of_vms[0].empty(), one.contradicts)
        << one.socket << " " << one.name << " " << one.id << ": " << found.of_vms[0];
    EXPECT_THAT(found.of_vms[1], IsEmpty());
    EXPECT_THAT(found.hidden, IsEmpty());
  }
}

TEST(PathConflicts, TheVmAfterWhichASocketIsNamedHasTheProblemToo) {
  const PathConflicts found =
      FindPathConflicts({Vm("a1", "/q/a1.qmp", 20), Vm("other", "/q/other.qmp", 10, {1, 101})},
                        {{.pid = 10, .name = "a1"}, {.pid = 20, .name = "b1"}});
  EXPECT_THAT(found.of_vms[0], HasSubstr("is named a1, as the running QEMU a1 (pid 10) is, and its "
                                         "own name is b1"));
  EXPECT_THAT(found.of_vms[1], HasSubstr("b1 (pid 20) has a socket of its name, /q/a1.qmp"));
}

}  // namespace
}  // namespace vmeventd
