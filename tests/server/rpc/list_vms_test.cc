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
