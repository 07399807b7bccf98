#include "server/events/event_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/events/complete_event.h"
#include "server/events/event_record.h"
#include "server/events/logged_event.h"
#include "tests/support/client_events.h"
#include "tests/support/filled_message.h"
#include "tests/support/proto_text.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/problem.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

// An event as the watcher publishes it.
v1::Event FullEvent() {
  return FromText<v1::Event>(R"(
      type: EVENT_TYPE_STOPPED
      observe_time { seconds: 1800000005 nanos: 7 } qemu_time { seconds: 1800000004 }
      qmp_event: 'SHUTDOWN' detail_json: '{"guest":true}' message: 'the guest powered itself off'
      shutdown { shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_POWERDOWN
                 evidence { time { seconds: 1800000001 } what: 'POWERDOWN' } })");
}

v1::Event Completed(const v1::Vm* vm, uint64_t sequence) {
  v1::Event event = FullEvent();
  CompleteEvent(vm, sequence, &event);
  return event;
}

v1::Vm FullStatus() {
  v1::Vm status = Status("web1", "r1", VmState::kGuestDown);
  status.mutable_ref()->set_uuid("u1");
  *status.add_problems() = ToProto(Problem{ProblemCode::kMonitorLost, "monitor lost"});
  return status;
}

TEST(EventCodec, AddsToAnEventItsSequenceAndItsVm) {
  v1::Vm status = FullStatus();
  status.set_pause_reason("debug");
  v1::Event expected = FullEvent();
  expected.MergeFrom(FromText<v1::Event>(R"(
      sequence: 9 state: VM_STATE_GUEST_DOWN pause_reason: 'debug'
      problems { code: PROBLEM_CODE_MONITOR_LOST text: 'monitor lost' }
      vm { name: 'web1' run_id: 'r1' uuid: 'u1' pid: 4711 source: 'qmp:/run/vms' })"));
  EXPECT_EQ(Completed(&status, 9).DebugString(), expected.DebugString());
}

TEST(EventCodec, ClassesAndCausesHaveTheContractsNumbers) {
  for (int number = 1; number <= v1::ShutdownClass_MAX; ++number) {
    EXPECT_EQ(
        v1::ShutdownClass_Name(static_cast<v1::ShutdownClass>(number)),
        absl::StrCat("SHUTDOWN_CLASS_", ShutdownClassName(static_cast<ShutdownClass>(number))));
  }
  for (int number = 1; number <= v1::ShutdownCause_MAX; ++number) {
    EXPECT_EQ(
        v1::ShutdownCause_Name(static_cast<v1::ShutdownCause>(number)),
        absl::StrCat("SHUTDOWN_CAUSE_", ShutdownCauseName(static_cast<ShutdownCause>(number))));
  }
}

TEST(EventCodec, AnEventOfTheNodeHasNoVm) {
  const v1::Event event = Completed(nullptr, 1);
  EXPECT_FALSE(event.has_vm());
  EXPECT_FALSE(event.has_state());
}

TEST(EventCodec, ClampsTimesThatATimestampCannotHold) {
  EXPECT_EQ(ToTimestamp(absl::InfiniteFuture()).seconds(), 253402300799);
  EXPECT_EQ(ToTimestamp(absl::InfinitePast()).seconds(), -62135596800);
  const google::protobuf::Timestamp before_1970 =
      ToTimestamp(absl::FromUnixSeconds(0) - absl::Nanoseconds(1));
  EXPECT_EQ(before_1970.seconds(), -1);
  EXPECT_EQ(before_1970.nanos(), 999999999);
}

TEST(EventCodec, ALoggedEventHasTheFieldsThatFiltersRead) {
  std::vector<v1::Vm> vms = {Status("web1", "r1"), Status(std::string(200, 'n'), ""),
                             Status("", ""), Status("web2", std::string(128, 'r'))};
  vms[0].mutable_ref()->set_source("libvirt:qemu:///system");
  vms[2].mutable_ref()->clear_source();
  for (const v1::Vm& vm : vms) {
    const EventPtr event = Logged(Completed(&vm, 7));
    EXPECT_EQ(event->vm_ref, vm.ref().SerializeAsString());
    EXPECT_FALSE(event->is_of_node());
    EXPECT_EQ(event->sequence, 7u);
    EXPECT_EQ(event->type, v1::EVENT_TYPE_STOPPED);
    EXPECT_EQ(event->shutdown_class, v1::SHUTDOWN_CLASS_ADMIN);
    EXPECT_EQ(event->observe_time, At(5) + absl::Nanoseconds(7));
  }
  EXPECT_TRUE(Logged(Completed(nullptr, 8))->is_of_node());
}

TEST(EventCodec, AnEventIsReadAsItWasLogged) {
  const v1::Vm status = FullStatus();
  for (const v1::Vm* vm : {&status, static_cast<const v1::Vm*>(nullptr)}) {
    v1::Event event = Completed(vm, 9);
    const EventPtr logged = Logged(event);
    const LoggedEvent copy(EventRecord{*logged});
    for (const bool durable : {true, false}) {
      event.set_durable(durable);
      EXPECT_EQ(EventOf(copy, durable).DebugString(), event.DebugString());
    }
  }
}

TEST(EventCodec, EachFieldOfAnEventIsReadAsItWasLogged) {
  v1::Event event;
  Fill(true, &event);
  EXPECT_EQ(Differences(event, EventOf(LoggedEvent(EventRecord{*Logged(event)}))), "");
}

TEST(EventCodec, ALongMessageIsReadUnchanged) {
  v1::Event event = Completed(nullptr, 9);
  event.set_message(std::string(100'000, 'x'));
  EXPECT_EQ(EventOf(*Logged(event)).message(), event.message());
}

TEST(EventCodec, ASerializedVmCanBeAppendedToEachResponse) {
  const std::string vm = Serialized(Status("web1", "r1"));
  std::string watch;
  std::string list;
  std::string get;
  AppendField(v1::WatchEventsResponse::kSnapshotVmsFieldNumber, vm, &watch);
  AppendField(v1::ListVmsResponse::kVmsFieldNumber, vm, &list);
  AppendField(v1::GetVmResponse::kVmFieldNumber, vm, &get);
  EXPECT_EQ(Parsed<v1::WatchEventsResponse>(watch).snapshot_vms(0).monitor_path(),
            "/run/vms/web1.kvmd");
  EXPECT_EQ(Parsed<v1::ListVmsResponse>(list).vms(0).qemu_version(), "7.2.22");
  const v1::Vm got = Parsed<v1::GetVmResponse>(get).vm();
  EXPECT_EQ(got.ref().run_id(), "r1");
  EXPECT_EQ(got.ref().source(), "qmp:/run/vms");
  EXPECT_EQ(got.state(), v1::VM_STATE_RUNNING);
}

}  // namespace
}  // namespace vmeventd
