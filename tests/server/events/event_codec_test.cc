#include "server/events/event_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/events/event_block.h"
#include "tests/support/proto_text.h"
#include "tests/support/test_events.h"
#include "watcher/session/classification.h"

namespace vmeventd {
namespace {

VmEvent FullEvent() {
  VmEvent event;
  event.type = EventType::kStopped;
  event.observe_time = At(5) + absl::Nanoseconds(7);
  event.qemu_time = At(4);
  event.qmp_event = "SHUTDOWN";
  event.detail_json = R"({"guest":true})";
  event.message = "the guest powered itself off";
  ShutdownDetail detail;
  detail.shutdown_class = ShutdownClass::kAdmin;
  detail.cause = ShutdownCause::kHostPowerdown;
  detail.rule = "powerdown-obeyed";
  detail.powerdown_age = absl::Milliseconds(1500);
  detail.evidence = {{At(1), "POWERDOWN"}, {At(2), "SHUTDOWN reason=guest-shutdown"}};
  detail.shutdown_file_written = true;
  detail.sender = SignalSender{.signal = 15,
                               .pid = 812,
                               .uid = 0,
                               .command = std::string("virtqemud"),
                               .executable = std::string("/usr/sbin/virtqemud"),
                               .cgroup = std::string("/system.slice/virtqemud.service"),
                               .of_qemu = true};
  event.shutdown = detail;
  return event;
}

v1::Vm FullStatus() {
  v1::Vm status = Status("web1", "r1", VmState::kGuestDown);
  status.mutable_ref()->set_uuid("u1");
  *status.add_problems() = ToProto(Problem{ProblemCode::kMonitorLost, "monitor lost"});
  return status;
}

TEST(EventCodec, CarriesEveryFieldOfAnEvent) {
  const v1::Vm status = FullStatus();
  const auto expected = FromText<v1::Event>(R"(
      sequence: 9 type: EVENT_TYPE_STOPPED state: VM_STATE_GUEST_DOWN problems { code: PROBLEM_CODE_MONITOR_LOST text: 'monitor lost' }
      observe_time { seconds: 1800000005 nanos: 7 } qemu_time { seconds: 1800000004 }
      vm { name: 'web1' run_id: 'r1' uuid: 'u1' pid: 4711 source: 'qmp:/run/vms' }
      qmp_event: 'SHUTDOWN' detail_json: '{"guest":true}' message: 'the guest powered itself off'
      shutdown {
        shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_POWERDOWN rule: 'powerdown-obeyed'
        powerdown_age { seconds: 1 nanos: 500000000 }
        evidence { time { seconds: 1800000001 } what: 'POWERDOWN' }
        evidence { time { seconds: 1800000002 } what: 'SHUTDOWN reason=guest-shutdown' }
        exit_unknown: true shutdown_file_written: true
        sender { signal: 15 pid: 812 uid: 0 command: 'virtqemud'
                 executable: '/usr/sbin/virtqemud' cgroup: '/system.slice/virtqemud.service'
                 of_qemu: true }
      })");
  EXPECT_EQ(EventToProto(FullEvent(), &status, 9).DebugString(), expected.DebugString());
}

TEST(EventCodec, ASenderThatMayBeQemusIsNotCalledIt) {
  VmEvent event = FullEvent();
  event.shutdown->sender->descent_unproven = true;
  EXPECT_FALSE(EventToProto(event, nullptr, 1).shutdown().sender().of_qemu());
}

TEST(EventCodec, TheEndOfAProcessIsOneOfThree) {
  VmEvent event = FullEvent();
  const auto end = [&] { return EventToProto(event, nullptr, 1).shutdown(); };
  event.shutdown->exit_status = ExitStatus{3, 0};
  EXPECT_EQ(end().exit_code(), 3);
  event.shutdown->exit_status = ExitStatus{0, 11, true};
  EXPECT_EQ(end().exit_signal().number(), 11);
  EXPECT_TRUE(end().exit_signal().core_dumped());
  event.type = EventType::kGuestShutdown;
  event.shutdown->exit_status.reset();
  EXPECT_EQ(end().process_end_case(), v1::ShutdownDetail::PROCESS_END_NOT_SET) << "it runs";
}

TEST(EventCodec, AnEndHasLastWordsACoreAndNumbers) {
  VmEvent event = FullEvent();
  v1::ShutdownDetail& facts = event.shutdown->end.emplace();
  facts.mutable_last_words()->add_lines("a");
  facts.mutable_last_words()->set_source(v1::LAST_WORDS_SOURCE_JOURNAL);
  facts.set_core("coredumpctl info 7");
  facts.mutable_numbers()->set_peak_memory_bytes(5);
  const v1::ShutdownDetail end = EventToProto(event, nullptr, 1).shutdown();
  EXPECT_EQ(end.last_words().ShortDebugString(), R"(lines: "a" source: LAST_WORDS_SOURCE_JOURNAL)");
  EXPECT_EQ(end.core(), "coredumpctl info 7");
  EXPECT_EQ(end.numbers().ShortDebugString(), "peak_memory_bytes: 5");
  EXPECT_EQ(end.rule(), event.shutdown->rule);
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

TEST(EventCodec, LeavesUnsetWhatIsNotKnown) {
  VmEvent gap;
  gap.observe_time = At(0);
  const v1::Event event = EventToProto(gap, nullptr, 1);
  EXPECT_FALSE(event.has_vm());
  EXPECT_FALSE(event.has_qemu_time());
  EXPECT_FALSE(event.has_shutdown());
  EXPECT_FALSE(event.has_state());
  EXPECT_FALSE(EventToProto(FullEvent(), nullptr, 1).has_gap_reason());
  EXPECT_FALSE(EventToProto(FullEvent(), nullptr, 1).has_intent_end());
}

TEST(EventCodec, ClampsTimesThatATimestampCannotHold) {
  EXPECT_EQ(ToTimestamp(absl::InfiniteFuture()).seconds(), 253402300799);
  EXPECT_EQ(ToTimestamp(absl::InfinitePast()).seconds(), -62135596800);
  const google::protobuf::Timestamp before_1970 =
      ToTimestamp(absl::FromUnixSeconds(0) - absl::Nanoseconds(1));
  EXPECT_EQ(before_1970.seconds(), -1);
  EXPECT_EQ(before_1970.nanos(), 999999999);
}

TEST(EventCodec, ABlockFindsInEachEventWhatFiltersLookAt) {
  EventBlockBuilder builder;
  std::vector<v1::Vm> vms = {Status("web1", "r1"), Status(std::string(200, 'n'), ""),
                             Status("", ""), Status("web2", std::string(128, 'r'))};
  vms[0].mutable_ref()->set_source("libvirt:qemu:///system");
  vms[2].mutable_ref()->clear_source();
  for (size_t i = 0; i < vms.size(); ++i) {
    const v1::Event event = EventToProto(FullEvent(), &vms[i], i + 1);
    builder.Add(event);
  }
  builder.Add(EventToProto(FullEvent(), nullptr, vms.size() + 1));
  vms.emplace_back();
  const EventBlockPtr block = builder.Finish();
  for (size_t i = 0; i < block->size(); ++i) {
    const EventBlock::Entry entry = block->at(i);
    EXPECT_EQ(entry.stored.vm_ref, vms[i].ref().SerializeAsString());
    EXPECT_EQ(entry.is_of_node(), i == vms.size() - 1);
    EXPECT_EQ(entry.sequence, i + 1);
    EXPECT_EQ(entry.type, v1::EVENT_TYPE_STOPPED);
    EXPECT_EQ(entry.shutdown_class, v1::SHUTDOWN_CLASS_ADMIN);
    EXPECT_EQ(entry.observe_time, At(5) + absl::Nanoseconds(7));
    builder.AddStored(entry);
    EXPECT_EQ(builder.Finish()->EncodedView(0), block->EncodedView(i));
  }
}

TEST(EventCodec, AVmFieldReadsInEveryAnswer) {
  const std::string bytes = EncodeSnapshotVmField(Status("web1", "r1"));
  v1::WatchEventsResponse watch;
  v1::ListVmsResponse list;
  v1::GetVmResponse get;
  ASSERT_TRUE(watch.ParseFromString(bytes));
  ASSERT_TRUE(list.ParseFromString(ListedVmField(bytes)));
  ASSERT_TRUE(get.ParseFromString(ListedVmField(bytes)));
  EXPECT_EQ(watch.snapshot_vms(0).monitor_path(), "/run/vms/web1.kvmd");
  EXPECT_EQ(list.vms(0).qemu_version(), "7.2.22");
  EXPECT_EQ(get.vm().ref().run_id(), "r1");
  EXPECT_EQ(get.vm().ref().source(), "qmp:/run/vms");
  EXPECT_EQ(get.vm().state(), v1::VM_STATE_RUNNING);
}

}  // namespace
}  // namespace vmeventd
