#include "tests/system/crash/checks.h"

#include <algorithm>
#include <functional>

#include "gmock/gmock.h"

namespace vmeventd::crash {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kJournal[] = "journal";

v1::Event& AddEvent(const std::string& name, v1::EventType type, History* history) {
  v1::Event event;
  event.set_sequence(history->journal.size() + 1);
  event.mutable_vm()->set_name(name);
  event.mutable_vm()->set_pid(name == "vm1" ? 11 : 12);
  event.mutable_vm()->set_run_id("run of " + name);
  event.set_type(type);
  event.set_durable(true);
  history->journal.push_back(event);
  return history->journal.back();
}

// A stream that delivered the events (after, last].
StreamHistory StreamOf(const History& history, uint64_t after, uint64_t last) {
  StreamHistory stream;
  stream.start = after == 0 ? StreamStart::kOldest : StreamStart::kAfter;
  stream.after = after;
  stream.journal_id = kJournal;
  stream.position = last;
  stream.end = grpc::StatusCode::UNAVAILABLE;
  for (uint64_t i = after; i < last; ++i) {
    stream.deliveries.push_back({i + 1, true, history.journal[i].SerializeAsString()});
  }
  return stream;
}

// Sequences 1 and 2 are a run of vm1, 3 and 4 one of vm2; a client has read two streams of two.
History GoodHistory() {
  History history;
  history.journal_id = kJournal;
  for (const std::string name : {"vm1", "vm2"}) {
    AddEvent(name, v1::EVENT_TYPE_STARTED, &history);
    const v1::Event& stopped = AddEvent(name, v1::EVENT_TYPE_STOPPED, &history);
    history.runs.push_back({name, stopped.vm().pid(), true, {"made by the test"}});
  }
  ClientHistory client;
  client.name = "all";
  client.resumes = true;
  client.streams = {StreamOf(history, 0, 2), StreamOf(history, 2, 4)};
  history.clients = {client};
  return history;
}

// The events of the second run name this VM.
void GiveTheSecondRun(const v1::VmRef& to, History* history) {
  for (const size_t i : {2, 3}) *history->journal[i].mutable_vm() = to;
}

TEST(CrashChecksTest, EachFaultAddedToACorrectHistoryIsFound) {
  ASSERT_THAT(Check(GoodHistory()), IsEmpty());
  const struct {
    const char* finding;
    std::function<void(History*, std::vector<StreamHistory>*)> put;
  } kFaults[] = {
      {"does not have it", [](auto* history, auto*) { history->journal.pop_back(); }},
      {"has sequence: 2", [](auto* history, auto*) { history->journal[1].set_message("other"); }},
      {"#1 STARTED vm1/11 was left out",
       [](auto*, auto* streams) {
         streams->front().deliveries.erase(streams->front().deliveries.begin());
       }},
      {"#4 STOPPED vm2/12 was left out",  // a Progress passes over it
       [](auto*, auto* streams) { streams->back().deliveries.pop_back(); }},
      {"event 1 came after 2",
       [](auto*, auto* streams) {
         std::swap(streams->front().deliveries[0], streams->front().deliveries[1]);
       }},
      {"event 2 came after 3",  // a Progress overtakes it
       [](auto*, auto* streams) { streams->front().deliveries[1].passed = 3; }},
      {"event 2 came after 2",
       [](auto*, auto* streams) {
         streams->front().deliveries.push_back(streams->front().deliveries.back());
       }},
      {"began after 1", [](auto*, auto* streams) { streams->back().after = 1; }},
      {"event 2 was repeated",
       [](auto*, auto* streams) {
         streams->back().after = 1;
         streams->back().deliveries.insert(streams->back().deliveries.begin(),
                                           streams->front().deliveries.back());
       }},
      {"beyond the newest",
       [](auto*, auto* streams) {
         streams->back().end = grpc::StatusCode::OUT_OF_RANGE;
         streams->back().end_message = "beyond the newest";
       }},
      {"the journal was another",
       [](auto*, auto* streams) { streams->back().journal_id = "another"; }},
      {"where 2 is due",
       [](auto* history, auto*) { history->journal.erase(history->journal.begin() + 1); }},
      {"not durable", [](auto* history, auto*) { history->journal[0].set_durable(false); }},
      {"2 STARTED",
       [](auto* history, auto*) { history->journal[1].set_type(v1::EVENT_TYPE_STARTED); }},
      {"0 STOPPED",
       [](auto* history, auto*) { history->journal[1].set_type(v1::EVENT_TYPE_STARTED); }},
      {"2 STOPPED", [](auto* history, auto*) { AddEvent("vm1", v1::EVENT_TYPE_STOPPED, history); }},
      {"1 STOPPED, one is due, last",
       [](auto* history, auto*) { AddEvent("vm1", v1::EVENT_TYPE_RESET, history); }},
      {"is run run of vm1 already",
       [](auto* history, auto*) {
         v1::VmRef again = history->journal[0].vm();
         again.set_run_id("z");
         GiveTheSecondRun(again, history);
       }},
      {"no process of the harness", [](auto* history, auto*) { history->runs.pop_back(); }},
      {"no process of the harness",
       [](auto* history, auto*) {
         v1::VmRef without_pid = history->journal[2].vm();
         without_pid.clear_pid();
         GiveTheSecondRun(without_pid, history);
         history->runs.pop_back();
       }},
      {"vm2/12 was published", [](auto* history, auto*) { history->journal.resize(2); }},
  };
  for (const auto& fault : kFaults) {
    History history = GoodHistory();
    fault.put(&history, &history.clients[0].streams);
    EXPECT_THAT(Check(history), Contains(HasSubstr(fault.finding)));
  }
}

TEST(CrashChecksTest, PermittedLossesAfterAKillAreNoFault) {
  const std::function<void(History*, std::vector<StreamHistory>*)> kLosses[] = {
      // An event that was not durable.
      [](auto*, auto* streams) {
        streams->back().deliveries.push_back({5, false, "lost"});
      },
      // An event after the stream's position.
      [](auto*, auto* streams) {
        streams->back().deliveries.pop_back();
        streams->back().position = 3;
      },
      // A run without a pid is the process that has no run.
      [](auto* history, auto* streams) {
        v1::VmRef without_pid = history->journal[2].vm();
        without_pid.clear_pid();
        GiveTheSecondRun(without_pid, history);
        history->runs[1].must_be_published = false;
        streams->back() = StreamOf(*history, 2, 4);
      }};
  for (const auto& lose : kLosses) {
    History history = GoodHistory();
    lose(&history, &history.clients[0].streams);
    EXPECT_THAT(Check(history), IsEmpty());
  }
}

}  // namespace
}  // namespace vmeventd::crash
