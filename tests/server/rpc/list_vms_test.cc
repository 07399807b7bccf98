#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/queries.h"
#include "tests/server/rpc/queries_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(QueriesTest, ListsVmsByNameWithTheirSequence) {
  pumped_.Push({Update("c", EventType::kStarted), Update("a", EventType::kStarted),
                Update("b", EventType::kStarted), Stopped("b", "run-b", ShutdownClass::kUser)});
  EXPECT_THAT(Names(Vms("")), ElementsAre("a/run-a", "c/run-c"));
  EXPECT_EQ(Vms("").sequence(), 4);
  EXPECT_EQ(Vms("").journal_id(), kJournal);
  EXPECT_THAT(Names(Vms("include_stopped: true")), ElementsAre("a/run-a", "b/run-b", "c/run-c"));
  EXPECT_THAT(Names(Vms("include_stopped: true states: VM_STATE_RUNNING")),
              ElementsAre("a/run-a", "c/run-c"));
  EXPECT_THAT(Names(Vms("states: VM_STATE_STOPPED")), ElementsAre("b/run-b"));
  EXPECT_THAT(Names(Vms("vm_names: '[ab]'")), ElementsAre("a/run-a"));
}

TEST_F(QueriesTest, EndsAPageOfVmsBeforeItIsTooLong) {
  std::vector<VmUpdate> updates;
  std::vector<std::string> expected;
  for (int i = 100; i < 400; ++i) {
    const std::string name = absl::StrCat("vm", i);
    updates.push_back(Update(name, EventType::kStarted));
    updates.back().status->problems = {{ProblemCode::kNoAnswer, std::string(8'000, 'x')}};
    expected.push_back(absl::StrCat(name, "/run-", name));
  }
  pumped_.Push(std::move(updates));
  v1::ListVmsRequest request = FromText<v1::ListVmsRequest>("page_size: 1000");
  std::vector<std::string> names;
  int pages = 0;
  do {
    const v1::ListVmsResponse page = Vms(request);
    EXPECT_LE(page.ByteSizeLong(), size_t{1} << 20);
    for (const std::string& name : Names(page)) names.push_back(name);
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(names, expected);
}

TEST_F(QueriesTest, ListsVmsOfASource) {
  pumped_.Push({UpdateFrom("libvirt:qemu:///system", "a", EventType::kStarted),
                Update("b", EventType::kStarted), Update("c", EventType::kStarted),
                UpdateFrom("libvirt:qemu:///system", "d", EventType::kStarted)});
  EXPECT_THAT(Names(Vms("sources: 'libvirt:*'")), ElementsAre("a/run-a", "d/run-d"));
  EXPECT_THAT(Names(Vms("sources: 'libvirt:*' vm_names: '[bd]'")), ElementsAre("d/run-d"));
  v1::ListVmsRequest request = FromText<v1::ListVmsRequest>("sources: 'libvirt:*' page_size: 1");
  const v1::ListVmsResponse first = Vms(request);
  EXPECT_THAT(Names(first), ElementsAre("a/run-a"));
  request.set_page_token(first.next_page_token());
  EXPECT_THAT(Names(Vms(request)), ElementsAre("d/run-d"));
  request.set_sources(0, "qmp:*");
  EXPECT_TRUE(absl::IsInvalidArgument(queries_.ListVms(request).status()))
      << "the token is of another question";
}

constexpr char kVmUuid[] = "550e8400-e29b-41d4-a716-446655440000";

TEST_F(QueriesTest, FindsVmsByTheirUuid) {
  VmUpdate a = Update("a", EventType::kStarted);
  a.status->ref.uuid = kVmUuid;
  pumped_.Push({a, Update("b", EventType::kStarted)});
  const std::string of_uuid = "uuids: '550E8400-E29B-41D4-A716-446655440000'";
  EXPECT_THAT(Names(Vms(of_uuid)), ElementsAre("a/run-a"));
  EXPECT_THAT(Names(Vms(of_uuid + "vm_names: 'b'")), IsEmpty());

  v1::GetVmRequest get;
  get.set_uuid(kVmUuid);
  EXPECT_EQ(Parsed<v1::GetVmResponse>(queries_.GetVm(get)).vm().ref().name(), "a");
  get.set_name("b");
  const absl::Status other = queries_.GetVm(get).status();
  EXPECT_TRUE(absl::IsNotFound(other));
  EXPECT_EQ(other.message(),
            absl::StrCat("uuid: no VM named \"b\" and with the UUID ", kVmUuid, " is known"));
  VmUpdate copy = Update("copy", EventType::kStarted);
  copy.status->ref.uuid = kVmUuid;
  pumped_.Push({copy});
  get.clear_name();
  EXPECT_THAT(queries_.GetVm(get), FailsAs(absl::IsFailedPrecondition, "run-a, run-copy"));
  get.set_run_id("run-copy");
  EXPECT_EQ(Parsed<v1::GetVmResponse>(queries_.GetVm(get)).vm().ref().name(), "copy");

  // A record that is replaced is found no more.
  get.clear_run_id();
  copy.status->ref.uuid = "00000000-e29b-41d4-a716-446655440000";
  pumped_.Push({copy, Update("a", EventType::kReset)});
  EXPECT_TRUE(absl::IsNotFound(queries_.GetVm(get).status()));
  get.set_uuid(std::string(copy.status->ref.uuid));
  EXPECT_EQ(Parsed<v1::GetVmResponse>(queries_.GetVm(get)).vm().ref().name(), "copy");
}

TEST_F(QueriesTest, PagesThroughVmsWhileTheyComeAndGo) {
  for (const char* name : {"a", "c", "e"}) pumped_.Push({Update(name, EventType::kStarted)});
  const v1::ListVmsResponse first = Vms("page_size: 1");
  EXPECT_THAT(Names(first), ElementsAre("a/run-a"));
  pumped_.Push({Stopped("a", "run-a", ShutdownClass::kUser), Update("b", EventType::kStarted)});
  v1::ListVmsRequest next;
  next.set_page_token(first.next_page_token());
  EXPECT_THAT(Names(Vms(next)), ElementsAre("b/run-b", "c/run-c", "e/run-e"));
}

TEST_F(QueriesTest, AnEntryThatEqualsANameMatchesIt) {
  for (const std::string name : {"[prod] db", "a,b", "web*", "x?", "["}) {
    pumped_.Push({Update(name, EventType::kStarted)});
    v1::ListVmsRequest vms;
    vms.add_vm_names(name);
    EXPECT_THAT(Names(Vms(vms)), ElementsAre(absl::StrCat(name, "/run-", name)));
    v1::ListEventsRequest events;
    events.mutable_filter()->add_vm_names(name);
    EXPECT_EQ(Events(events).events_size(), 1) << name;
  }
}

TEST_F(QueriesTest, GetsAVmByItsName) {
  pumped_.Push({Update("a", EventType::kStarted)});
  EXPECT_EQ(Vm("a").ref().run_id(), "run-a");
  EXPECT_EQ(Vm("a", "run-a").state(), v1::VM_STATE_RUNNING);
  EXPECT_TRUE(absl::IsNotFound(Get("x").status()));
  EXPECT_TRUE(absl::IsNotFound(Get("a*").status())) << "a name, not a pattern";
  EXPECT_THAT(Get("a", "run-x"), Says("run_id"));
}

TEST_F(QueriesTest, AnAmbiguousNameListsTheRuns) {
  VmUpdate second = Update("a", EventType::kStarted);
  second.status->ref.run_id = "run-2";
  pumped_.Push({Update("a", EventType::kStarted), second});
  EXPECT_THAT(Get("a"), FailsAs(absl::IsFailedPrecondition, "run-2, run-a"));
  EXPECT_EQ(Vm("a", "run-2").ref().run_id(), "run-2");
  pumped_.Push({Stopped("a", "run-a", ShutdownClass::kUser)});
  EXPECT_EQ(Vm("a").ref().run_id(), "run-2");
  pumped_.Push({Stopped("a", "run-2", ShutdownClass::kCrash)});
  EXPECT_EQ(Vm("a").ref().run_id(), "run-2") << "the one that stopped last";
  EXPECT_EQ(Vm("a").shutdown().evidence_size(), 1);
}

TEST_F(QueriesTest, ListsOnlySomeOfManyRunIds) {
  for (int i = 0; i < 500; ++i) {
    VmUpdate update = Update("a", EventType::kStarted);
    update.status->ref.run_id = absl::StrCat("run-", i);
    pumped_.Push({update});
  }
  EXPECT_LT(Get("a").status().message().size(), 1000);
}

}  // namespace
}  // namespace vmeventd
