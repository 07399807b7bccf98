#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/queries.h"
#include "tests/server/rpc/queries_fixture.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

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

TEST_F(QueriesTest, PagesThroughVmsWhileTheyComeAndGo) {
  for (const char* name : {"a", "c", "e"}) pumped_.Push({Update(name, EventType::kStarted)});
  const v1::ListVmsResponse first = Vms("page_size: 1");
  EXPECT_THAT(Names(first), ElementsAre("a/run-a"));
  pumped_.Push({Stopped("a", "run-a", ShutdownClass::kUser), Update("b", EventType::kStarted)});
  v1::ListVmsRequest next;
  next.set_page_token(first.next_page_token());
  EXPECT_THAT(Names(Vms(next)), ElementsAre("b/run-b", "c/run-c", "e/run-e"));
}

TEST_F(QueriesTest, AUuidFindsTheRunsThatHaveItNow) {
  const std::string uuid = "550e8400-e29b-41d4-a716-446655440000";
  VmUpdate update = Update("a", EventType::kStarted);
  update.status->ref.uuid = uuid;
  v1::GetVmRequest request;
  request.set_uuid(uuid);
  for (const EventType type : {EventType::kStarted, EventType::kPaused}) {
    update.event->type = type;
    pumped_.Push({update});
    EXPECT_EQ(Parsed<v1::GetVmResponse>(queries_.GetVm(request)).vm().ref().name(), "a");
  }
  update.status->ref.uuid = "";
  pumped_.Push({update});
  EXPECT_TRUE(absl::IsNotFound(queries_.GetVm(request).status()));
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
