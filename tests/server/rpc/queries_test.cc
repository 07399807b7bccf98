#include "server/rpc/queries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_log.h"
#include "tests/support/database_file.h"
#include "tests/support/proto_text.h"
#include "tests/support/pumped_state.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class QueriesTest : public ::testing::Test {
 protected:
  explicit QueriesTest(Ring options = {}, JournalOptions journal = {})
      : pumped_(options, std::move(journal)) {}

  // Runs all turns of one ListEvents call.
  absl::StatusOr<std::string> List(const v1::ListEventsRequest& request) {
    absl::StatusOr<std::string> out = absl::UnknownError("no answer");
    queries_.ListEvents(
        request, "peer", [] { return false; },
        [&out](const absl::StatusOr<std::string>& answer) { out = answer; });
    while (pumped_.log().StepHistory()) {
    }
    return out;
  }
  v1::ListEventsResponse Events(const v1::ListEventsRequest& request) {
    return Parsed<v1::ListEventsResponse>(List(request));
  }
  v1::ListEventsResponse Events(const std::string& request) {
    return Events(FromText<v1::ListEventsRequest>(request));
  }
  v1::ListVmsResponse Vms(const v1::ListVmsRequest& request) {
    return Parsed<v1::ListVmsResponse>(queries_.ListVms(request));
  }
  v1::ListVmsResponse Vms(const std::string& request) {
    return Vms(FromText<v1::ListVmsRequest>(request));
  }

  template <typename Response>
  Response Parsed(const absl::StatusOr<std::string>& bytes) {
    Response response;
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(bytes.ok() && response.ParseFromString(*bytes));
    return response;
  }

  PumpedState pumped_;
  Queries queries_{&pumped_.log()};
};

std::vector<std::string> Names(const v1::ListVmsResponse& response) {
  std::vector<std::string> out;
  for (const v1::Vm& vm : response.vms()) {
    out.push_back(absl::StrCat(vm.ref().name(), "/", vm.ref().run_id()));
  }
  return out;
}

std::vector<uint64_t> Sequences(const v1::ListEventsResponse& response) {
  std::vector<uint64_t> out;
  for (const v1::Event& event : response.events()) out.push_back(event.sequence());
  return out;
}

// Fields of a request: the times At(`seconds`).
std::string StartTime(int64_t seconds) {
  return absl::StrCat("start_time { seconds: ", absl::ToUnixSeconds(At(seconds)), " }");
}
std::string EndTime(int64_t seconds) {
  return absl::StrCat("end_time { seconds: ", absl::ToUnixSeconds(At(seconds)), " }");
}

TEST_F(QueriesTest, ThereIsNoTokenForAPageThatWouldBeEmpty) {
  pumped_.Push({Update("a", EventType::kReset), Update("a", EventType::kReset),
                Update("b", EventType::kReset)});
  const v1::ListEventsResponse page = Events("filter { vm_names: 'a' } page_size: 2");
  EXPECT_THAT(Sequences(page), ElementsAre(1, 2));
  EXPECT_THAT(page.next_page_token(), IsEmpty());
  EXPECT_FALSE(Events("filter { vm_names: 'a' } page_size: 1").next_page_token().empty());
}

TEST_F(QueriesTest, ATokenIsValidForOneMethod) {
  pumped_.PushEach("a", 2);
  v1::ListVmsRequest vms;
  vms.set_page_token(Events("page_size: 1").next_page_token());
  EXPECT_TRUE(absl::IsInvalidArgument(queries_.ListVms(vms).status()));
}

TEST_F(QueriesTest, ATokenIsValidForOneJournal) {
  pumped_.PushEach("a", 2);
  v1::ListEventsRequest request = FromText<v1::ListEventsRequest>("page_size: 1");
  request.set_page_token(Events(request).next_page_token());
  PumpedState replaced;
  replaced.PushEach("a", 2);
  GarbleDatabase(replaced.journal_options().path);
  replaced.Restart(/*in_order=*/false);
  Queries queries(&replaced.log());
  absl::Status status;
  queries.ListEvents(
      request, "peer", [] { return false; },
      [&status](const absl::StatusOr<std::string>& answer) { status = answer.status(); });
  EXPECT_THAT(status.message(), HasSubstr("before the journal was replaced"));
}

class SmallRingQueriesTest : public QueriesTest {
 protected:
  SmallRingQueriesTest() : QueriesTest(RingOf(5)) {}

  // Lists every page and concatenates them.
  std::vector<uint64_t> All(v1::ListEventsRequest request) {
    std::vector<uint64_t> out;
    for (bool more = true; more && !HasFailure();) {
      const v1::ListEventsResponse page = Events(request);
      for (const uint64_t sequence : Sequences(page)) out.push_back(sequence);
      request.set_page_token(page.next_page_token());
      more = !page.next_page_token().empty();
    }
    return out;
  }
  // The same in both orders, in small pages.
  std::vector<uint64_t> BothWays(const std::string& text) {
    v1::ListEventsRequest request = FromText<v1::ListEventsRequest>(text);
    request.set_page_size(2);
    std::vector<uint64_t> forward = All(request);
    request.set_newest_first(true);
    std::vector<uint64_t> backward = All(request);
    std::reverse(backward.begin(), backward.end());
    EXPECT_EQ(forward, backward);
    return forward;
  }
};

TEST_F(SmallRingQueriesTest, FiltersInTheJournalAsInTheRing) {
  for (int64_t i = 0; i < 5; ++i) {
    pumped_.Push({Update("web1", EventType::kReset, At(i * 10)),
                  Update("web2", EventType::kPaused, At(i * 10)),
                  Stopped("db[1]", absl::StrCat("run", i), ShutdownClass::kCrash)});
  }
  pumped_.log().Push({std::nullopt, MakeGap(GapReason::kQueueFull, "", At(1))});  // a GAP, at 16
  pumped_.Push({});
  pumped_.PushEach("other", 10);  // the ring then holds nothing else
  EXPECT_THAT(BothWays("filter { vm_names: 'web2' }"), ElementsAre(2, 5, 8, 11, 14, 16));
  EXPECT_THAT(BothWays("filter { vm_names: 'web?' }"),
              ElementsAre(1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16));
  EXPECT_THAT(BothWays("filter { vm_names: ['db[[]1]', 'web1'] }"),
              ElementsAre(1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16));
  EXPECT_THAT(BothWays("filter { types: EVENT_TYPE_PAUSED }"), ElementsAre(2, 5, 8, 11, 14, 16));
  EXPECT_THAT(BothWays("filter { classes: SHUTDOWN_CLASS_CRASH }"),
              ElementsAre(3, 6, 9, 12, 15, 16));
  EXPECT_THAT(BothWays("filter { classes: SHUTDOWN_CLASS_USER }"), ElementsAre(16));
  EXPECT_THAT(BothWays(StartTime(20) + EndTime(40)), ElementsAre(7, 8, 10, 11));
  EXPECT_THAT(BothWays(StartTime(99)), IsEmpty());
  EXPECT_THAT(BothWays(EndTime(-99)), IsEmpty());
}

TEST_F(SmallRingQueriesTest, FiltersSourcesInTheJournalAsInTheRing) {
  for (int i = 0; i < 3; ++i) {
    pumped_.Push({Update("web1", EventType::kReset),
                  UpdateFrom("libvirt:qemu:///system", "web1", EventType::kReset),
                  UpdateFrom("libvirt:qemu:///session", "db1", EventType::kReset),
                  UpdateFrom("", "web1", EventType::kReset)});
  }
  pumped_.log().Push({std::nullopt, MakeGap(GapReason::kQueueFull, "", At(1))});  // a GAP, at 13
  pumped_.Push({});
  EXPECT_THAT(BothWays("filter { sources: 'qmp:/run/vms' }"), ElementsAre(1, 5, 9, 13));
  EXPECT_THAT(BothWays("filter { sources: 'libvirt:*' }"), ElementsAre(2, 3, 6, 7, 10, 11, 13));
  EXPECT_THAT(BothWays("filter { sources: 'libvirt:*' vm_names: 'web1' }"),
              ElementsAre(2, 6, 10, 13));
  EXPECT_THAT(BothWays("filter { sources: ['libvirt:*/session', 'qmp:/run/vms'] vm_names: '*b1' }"),
              ElementsAre(1, 3, 5, 7, 9, 11, 13));
  EXPECT_THAT(BothWays("filter { sources: 'libvirt:qemu:///other' }"), ElementsAre(13));
}

TEST_F(QueriesTest, EndsAPageOfEventsBeforeItIsTooLong) {
  VmUpdate large = Update("a", EventType::kReset);
  large.event->set_detail_json(std::string(4000, 'x'));
  pumped_.Push(std::vector<VmUpdate>(600, large));
  v1::ListEventsRequest request;
  request.set_page_size(1000);
  EXPECT_LE(List(request)->size(), Queries::kMaxResponseBytes);
}

TEST_F(QueriesTest, PublicEventsThatAreNotInTheJournalYetAreListed) {
  pumped_.PushEach("a", 2);
  pumped_.PushUnwritten({Update("a", EventType::kReset), Update("a", EventType::kReset)});
  pumped_.clock().Advance(PublicationQueue::kPatience);
  pumped_.PushUnwritten({});
  EXPECT_THAT(Sequences(Events("")), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Sequences(Events("newest_first: true page_size: 3")), ElementsAre(4, 3, 2));
  EXPECT_TRUE(Events("").events(1).durable());
  EXPECT_FALSE(Events("").events(2).durable());
}

TEST_F(QueriesTest, ASearchOfManyGroupsOfSequencesFindsTheNewestOfAVm) {
  pumped_.PushEach("rare", 2);
  for (int i = 0; i < 30; ++i) {
    pumped_.PushUnwritten(std::vector<VmUpdate>(1'000, Update("noisy", EventType::kReset)));
  }
  pumped_.Write();
  EXPECT_THAT(Sequences(Events("filter { vm_names: 'rare' } newest_first: true")),
              ElementsAre(2, 1));
  EXPECT_THAT(Sequences(Events("filter { vm_names: ['rare', 'none'] } page_size: 1")),
              ElementsAre(1));
}

TEST_F(QueriesTest, EndsAPageOfVmsBeforeItIsTooLong) {
  std::vector<VmUpdate> updates;
  std::vector<std::string> expected;
  for (int i = 100; i < 400; ++i) {
    const std::string name = absl::StrCat("vm", i);
    updates.push_back(Update(name, EventType::kStarted));
    *updates.back().status->add_problems() =
        ToProto(Problem{ProblemCode::kNoAnswer, std::string(8'000, 'x')});
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

TEST_F(QueriesTest, AUuidFindsOnlyRunsThatStillHaveIt) {
  const std::string uuid = "550e8400-e29b-41d4-a716-446655440000";
  VmUpdate update = Update("a", EventType::kStarted);
  update.status->mutable_ref()->set_uuid(uuid);
  v1::GetVmRequest request;
  request.set_uuid(uuid);
  for (const EventType type : {EventType::kStarted, EventType::kPaused}) {
    update.event->set_type(ToProto(type));
    pumped_.Push({update});
    EXPECT_EQ(Parsed<v1::GetVmResponse>(queries_.GetVm(request)).vm().ref().name(), "a");
  }
  update.status->mutable_ref()->set_uuid("");
  pumped_.Push({update});
  EXPECT_TRUE(absl::IsNotFound(queries_.GetVm(request).status()));
}

TEST_F(QueriesTest, ListsThatWaitForADiskThatHangsAreAnswered) {
  std::vector<absl::Status> answers;
  const auto list = [&](const std::string& request) {
    queries_.ListEvents(
        FromText<v1::ListEventsRequest>(request), "peer", [] { return false; },
        [&](const absl::StatusOr<std::string>& answer) { answers.push_back(answer.status()); });
  };
  pumped_.log().PostQuery("peer", [&](const auto&) {
    list("");
    queries_.EndHung();
    EXPECT_THAT(answers, IsEmpty()) << "a disk may be slow";
    pumped_.clock().Advance(History::kMaxRead);
    queries_.EndHung();
    EXPECT_EQ(answers.size(), 1u) << "it waited";
    list("");
    list("page_size: -1");
    return true;
  });
  while (pumped_.log().StepHistory()) {
  }
  list("");
  while (pumped_.log().StepHistory()) {
  }
  ASSERT_EQ(answers.size(), 4u);
  for (const absl::Status& hung : {answers[0], answers[1]}) {
    EXPECT_TRUE(absl::IsUnavailable(hung)) << hung;
    EXPECT_THAT(hung.message(), HasSubstr("the disk does not answer, for 10s now"));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(answers[2]));
  EXPECT_TRUE(answers[3].ok()) << answers[3];
}

TEST_F(QueriesTest, TheErrorForAnAmbiguousNameListsABoundedNumberOfRuns) {
  for (int i = 0; i < 500; ++i) {
    VmUpdate update = Update("a", EventType::kStarted);
    update.status->mutable_ref()->set_run_id(absl::StrCat("run-", i));
    pumped_.Push({update});
  }
  EXPECT_LT(queries_.GetVm(FromText<v1::GetVmRequest>("vm_name: 'a'")).status().message().size(),
            1000);
}

}  // namespace
}  // namespace vmeventd
