#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/output/end_text.h"
#include "client/output/table_style.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/formatters.h"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

absl::Time TwelveOClock() { return absl::FromUnixSeconds(1782907200); }

const TableStyle kTerminal = {.width = 80, .now = TwelveOClock};

// A QEMU that crashed 14 minutes before noon, and runs again.
VmStory Crashed() {
  VmStory story;
  story.name = "web1";
  story.end.emplace();
  story.end->event = FromText<v1::Event>(R"(
      vm { name: 'web1' run_id: 'run-1' pid: 5432 } type: EVENT_TYPE_STOPPED
      observe_time { seconds: 1782906360 nanos: 51000000 }
      message: 'QEMU was killed by SIGSEGV, whose sender is not recorded: it counts as a crash of QEMU'
      shutdown { shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_QEMU_CRASHED rule: 'qemu-crashed'
        exit_signal { number: 11 core_dumped: true } numbers { ran_for { seconds: 29 } }
        evidence { time { seconds: 1782906360 nanos: 44000000 } what: 'monitor closed' }
        evidence { time { seconds: 1782906360 nanos: 50000000 } what: 'process gone' }
        evidence { time { seconds: 1782906360 nanos: 50000000 } what: 'exit signal 11 (SIGSEGV)' } })");
  story.vm = NodeVm{FromText<v1::Vm>(R"(
      ref { name: 'web1' run_id: 'run-2' pid: 6489 source: 'qmp:/run/qemu' }
      state: VM_STATE_RUNNING state_time { seconds: 1782906361 }
      start_time { seconds: 1782906361 })"),
                    {}};
  story.ends = {{v1::SHUTDOWN_CLASS_USER, 1}, {v1::SHUTDOWN_CLASS_CRASH, 2}};
  return story;
}

std::string Why(const VmStory& story, const TableStyle& style = kTerminal) {
  return *TableFormatter(style).FormatWhy(story);
}

TEST(FormatWhy, ShowsQemusLastWordsAndWhereToFindMore) {
  VmStory story = Crashed();
  story.end->event.mutable_vm()->set_unit("machine-qemu\\x2d1.scope");
  v1::ShutdownDetail* const end = story.end->event.mutable_shutdown();
  *end->mutable_last_words() = FromText<v1::LastWords>(
      "lines: 'a' lines: 'a' lines: 'b\\033' source: LAST_WORDS_SOURCE_LIBVIRT_LOG truncated: "
      "true");
  end->set_core("core in QEMU's working directory");
  const std::string text = Why(story);
  EXPECT_THAT(text,
              HasSubstr("  QEMU's last words, in libvirt's log:\n    ...\n    a (2 times)\n    b"));
  EXPECT_THAT(text, HasSubstr("journalctl -u 'machine-qemu\\x2d1.scope'"));
  EXPECT_THAT(text, HasSubstr("core: core in QEMU's working directory"));
  EXPECT_THAT(text, Not(HasSubstr("coredumpctl")));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
}

TEST(FormatWhy, AnUnseenEndHasTheTimesBetweenWhichItHappened) {
  VmStory story = Crashed();
  story.end->event.mutable_shutdown()->mutable_last_seen_time()->set_seconds(1782906346);
  EXPECT_THAT(Why(story), HasSubstr("between 2026-07-01 11:45:46 and 11:46:00 UTC (13 min ago)"));
}

TEST(FormatWhy, AnotherQemuOfTheNameThatRanAlreadyAtTheEndIsCalledSo) {
  VmStory story = Crashed();
  EXPECT_THAT(Why(story), Not(HasSubstr("another QEMU"))) << "it began after the end";
  v1::Vm& now = story.vm->vm;
  now.mutable_start_time()->set_seconds(1782906358);
  now.mutable_state_time()->set_seconds(1782906358);
  EXPECT_THAT(Why(story), HasSubstr("Now    RUNNING since 11:45:58 (pid 6489)\n"
                                    "       another QEMU of that name (pid 6489): it began before "
                                    "that end\n"));
  now.mutable_start_time()->set_seconds(1782906360);
  EXPECT_THAT(Why(story), Not(HasSubstr("another QEMU"))) << "a restart, as exactly as is known";
  now.clear_start_time();
  EXPECT_THAT(Why(story), HasSubstr("another QEMU"));
  v1::ShutdownDetail* const end = story.end->event.mutable_shutdown();
  end->mutable_last_seen_time()->set_seconds(1782906350);
  EXPECT_THAT(Why(story), Not(HasSubstr("another QEMU"))) << "the end may have been before";
  end->clear_last_seen_time();
  now.mutable_ref()->set_run_id("run-1");
  EXPECT_THAT(Why(story), Not(HasSubstr("another QEMU"))) << "it is the one that ended";
  now.mutable_ref()->set_run_id("run-2");
  story.vm->node.name = "node2";
  EXPECT_THAT(Why(story), Not(HasSubstr("another QEMU"))) << "it has moved";
}

TEST(FormatWhy, ThePresentProblemOfTheVmComesFirst) {
  VmStory story = Crashed();
  EXPECT_THAT(Why(story), StartsWith("web1 CRASHED"));
  story.vm->vm.set_state(v1::VM_STATE_PAUSED);
  EXPECT_THAT(Why(story), StartsWith("web1 is PAUSED since 11:46:01\nweb1 CRASHED   Wed"));
  story.vm->vm.add_problems()->set_text("I/O error on disk0");
  EXPECT_THAT(Why(story),
              StartsWith("web1 is PAUSED since 11:46:01: I/O error on disk0\nweb1 CRASHED   Wed"));
  const TableStyle markdown = {.markdown = true, .width = 80, .now = TwelveOClock};
  EXPECT_THAT(Why(story, markdown),
              StartsWith("**web1 is PAUSED since Wed 2026-07-01 11:46:01 UTC: I/O error on "
                         "disk0**\n\n**web1 CRASHED** Wed"));
  story.vm->vm.set_state(v1::VM_STATE_STOPPED);
  EXPECT_THAT(Why(story), StartsWith("web1 CRASHED")) << "what is gone has no trouble";
}

TEST(FormatWhy, AFormerVmOfTheSameNameIsShownWithItsUuid) {
  VmStory story = Crashed();
  story.vm.reset();
  story.end->event.mutable_vm()->set_uuid("1111");
  story.is_former = true;
  EXPECT_THAT(Why(story), StartsWith("web1, another VM of this name, UUID 1111, gone: CRASHED"));
}

TEST(FormatWhy, ShowsThePeakMemoryAndTheErrorThatPausedTheVm) {
  VmStory story = Crashed();
  v1::ShutdownDetail* const end = story.end->event.mutable_shutdown();
  end->mutable_numbers()->set_peak_memory_bytes(2047 << 20);
  EXPECT_THAT(Why(story), HasSubstr("\n  memory: at most 2047 MiB\n  rule "));
  end->mutable_numbers()->set_memory_limit_bytes(uint64_t{2048} << 20);
  EXPECT_THAT(Why(story), HasSubstr("\n  memory: at most 2047 MiB, of a limit of 2048 MiB\n"));
  end->mutable_evidence(0)->set_what("I/O error, for which QEMU paused the VM: No space left");
  EXPECT_THAT(Why(story), HasSubstr("  11:46:00.044  I/O error, for which QEMU paused the VM"));
}

TEST(FormatWhy, SuggestsKubectlForAPod) {
  VmStory story = Crashed();
  v1::VmRef* const vm = story.end->event.mutable_vm();
  vm->set_name("tenant_web-1_a");
  vm->set_unit("cri-containerd-0123.scope");
  vm->set_source(
      "libvirt:qemu+unix:///session?socket=/var/lib/kubelet/pods/7b7c/volumes/"
      "kubernetes.io~empty-dir/libvirt-runtime/virtqemud-sock");
  EXPECT_THAT(
      Why(story),
      HasSubstr(
          "\n       kubectl describe pod -n tenant -l vm.kubevirt.io/name=web-1_a\n"
          "       kubectl logs -n tenant -l vm.kubevirt.io/name=web-1_a -c compute --tail=50\n"));
  EXPECT_THAT(Why(story), Not(HasSubstr("journalctl")));
}

TEST(FormatWhy, SuggestsGanetisLogForAQemuOfGaneti) {
  VmStory story = Crashed();
  v1::VmRef* const vm = story.end->event.mutable_vm();
  vm->set_unit("ganeti.service");
  vm->set_source("qmp:/var/run/ganeti/kvm-hypervisor/ctrl");
  EXPECT_THAT(Why(story), AllOf(HasSubstr("\n       tail /var/log/ganeti/kvm/web1.log\n"),
                                Not(HasSubstr("journalctl"))));
}

TEST(FormatWhy, TheNodeWithTheLogsIsNamedIfThereAreSeveral) {
  TableStyle style = kTerminal;
  style.nodes = true;
  VmStory story = Crashed();
  story.end->node.name = "node1";
  story.end->event.mutable_vm()->set_source("qmp:/var/run/ganeti/kvm-hypervisor/ctrl");
  EXPECT_THAT(Why(story, style),
              AllOf(HasSubstr("\n       on node1: tail /var/log/ganeti/kvm/web1.log\n"),
                    HasSubstr("\n       on node1: coredumpctl info 5432\n")));
  story.end->event.mutable_vm()->set_source("qmp:/run/qemu");
  story.end->event.mutable_vm()->set_unit("web1.service");
  EXPECT_THAT(Why(story, style), HasSubstr("\n       on node1: journalctl -u web1.service\n"));
}

TEST(FormatWhy, ANameIsQuotedForTheShell) {
  VmStory story = Crashed();
  const auto name_of = [&story](const char* name) {
    story.name = name;
    return Why(story);
  };
  EXPECT_THAT(name_of("müller"), HasSubstr("More   vmevents events müller\n"));
  EXPECT_THAT(name_of("my vm"), HasSubstr("More   vmevents events 'my vm'\n"));
  EXPECT_THAT(name_of("we[b]1*"), HasSubstr("More   vmevents events 'we[[]b]1[*]'\n"));
  EXPECT_THAT(name_of("ctl\033[31mred\nnl\ttab"),
              HasSubstr("More   vmevents events $'ctl\\x1b[[]31mred\\nnl\\ttab'\n"));
  EXPECT_THAT(name_of("-v m"), HasSubstr("More   vmevents events -- '-v m'\n"));
  EXPECT_THAT(name_of("-vm"), HasSubstr("More   vmevents events -- -vm\n"));
  TableStyle style;
  style.invocation.client = "vmevents --server node1";
  EXPECT_THAT(Why(story, style), HasSubstr("More   vmevents --server node1 events -- -vm\n"));
}

TEST(FormatWhy, TheVerdictComesFirstThenTheFactsThenTheVmsPresentState) {
  EXPECT_EQ(Why(Crashed()),
            R"(web1 CRASHED   Wed 2026-07-01 11:46:00 UTC (13 min ago), after running 29 s
  QEMU was killed by SIGSEGV, whose sender is not recorded: it counts as a crash
  of QEMU.
  11:46:00.044  monitor closed
  11:46:00.050  process gone
                exit signal 11 (SIGSEGV)
  rule qemu-crashed (class CRASH, cause qemu crashed)

Now    RUNNING since 11:46:01 (pid 6489)
Ends   3 in the last 24 h: USER 1, CRASH 2
More   vmevents events web1
       coredumpctl info 5432
)");
}

TEST(FormatWhy, AFailedStartIsNotReportedAsAnUnknownEnd) {
  VmStory story = Crashed();
  v1::ShutdownDetail* const end = story.end->event.mutable_shutdown();
  end->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  end->set_cause(v1::SHUTDOWN_CAUSE_NEVER_RAN);
  end->mutable_numbers()->mutable_ran_for()->set_seconds(0);
  EXPECT_THAT(Why(story), StartsWith("web1 FAILED TO START\n  Wed 2026-07-01 11:46:00 UTC (13 min "
                                     "ago), before it was seen running\n"));
}

TEST(FormatWhy, AVmThatQemuHeldUntilItsEndIsReportedAsNeverRun) {
  VmStory story = Crashed();
  v1::ShutdownDetail* const end = story.end->event.mutable_shutdown();
  end->set_never_ran(true);
  end->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  end->set_cause(v1::SHUTDOWN_CAUSE_NEVER_RAN);
  EXPECT_THAT(Why(story), StartsWith("web1 ENDED BEFORE IT RAN\n  Wed 2026-07-01 11:46:00 UTC (13 "
                                     "min ago), before it ran, held for 29 s\n"));
  end->set_shutdown_class(v1::SHUTDOWN_CLASS_ADMIN);
  end->set_cause(v1::SHUTDOWN_CAUSE_HOST_QUIT);
  EXPECT_THAT(Why(story), AllOf(HasSubstr("ENDED BY AN ADMIN"), HasSubstr(", before it ran, held"),
                                HasSubstr(" The VM never ran in this QEMU.\n"),
                                Not(HasSubstr("It may still run"))));
  end->set_may_still_run(true);
  EXPECT_THAT(Why(story), HasSubstr("It may still run, here or on another host: "));
}

TEST(FormatWhy, ShowsTheReasonOfAPause) {
  VmStory story = Crashed();
  story.vm->vm.set_state(v1::VM_STATE_PAUSED);
  story.vm->vm.set_pause_reason("inmigrate");
  EXPECT_THAT(
      Why(story),
      AllOf(StartsWith("web1 is PAUSED since 11:46:01: waits for an incoming migration\n"),
            HasSubstr("PAUSED since 11:46:01 (pid 6489): waits for an incoming migration\n")));
  story.vm->vm.set_pause_reason("new\033state");
  EXPECT_THAT(Why(story), HasSubstr("(pid 6489): run state new\\x1bstate\n"));
}

TEST(FormatWhy, AnAdminMayEndAVmBeforeItRan) {
  VmStory story = Crashed();
  v1::ShutdownDetail* const end = story.end->event.mutable_shutdown();
  end->set_shutdown_class(v1::SHUTDOWN_CLASS_ADMIN);
  end->set_cause(v1::SHUTDOWN_CAUSE_NEVER_RAN);
  EXPECT_THAT(Why(story),
              StartsWith("web1 ENDED BY AN ADMIN\n  Wed 2026-07-01 11:46:00 UTC (13 min "
                         "ago), before it was seen running\n"));
}

TEST(FormatWhy, VmsWithTheSameNameAreDistinguishedByUuidOrRun) {
  VmStory story = Crashed();
  story.shared = true;
  EXPECT_THAT(Why(story), HasSubstr("Run    run-2\nMore   vmevents events --run run-2\n"));
  story.vm->vm.mutable_ref()->set_uuid("uuid-1");
  EXPECT_THAT(Why(story), HasSubstr("UUID   uuid-1\nMore   vmevents events --uuid uuid-1\n"));
}

TEST(FormatWhy, NovasNameIsShown) {
  VmStory story = Crashed();
  (*story.vm->vm.mutable_ref()->mutable_labels())["nova.name"] = "shop";
  EXPECT_THAT(Why(story), HasSubstr("nova   shop\nMore   "));
}

TEST(FormatWhy, AnIntentComesBeforeEverythingElse) {
  VmStory story = Crashed();
  v1::ShutdownDetail* const shutdown = story.end->event.mutable_shutdown();
  *shutdown = FromText<v1::ShutdownDetail>(R"(
      shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_QUIT rule: 'host-quit'
      intent { actor: 'alice' declared_by: 'user 1000' reason: 'ticket 4711: kernel update' }
      numbers { ran_for { seconds: 29 } })");
  story.end->event.set_message("the host sent QEMU a quit command");
  EXPECT_THAT(Why(story), HasSubstr("after running 29 s\n"
                                    "  Intent of alice (user 1000): ticket 4711: kernel update\n"
                                    "  The host sent QEMU a quit command.\n"
                                    "  rule host-quit (class ADMIN, cause host quit)\n"));
  EXPECT_THAT(Why(story), StartsWith("web1 ENDED BY AN ADMIN"));
}

std::string Sentence(const std::string& shutdown, const std::string& message = "") {
  return EndSentence(FromText<v1::ShutdownDetail>(shutdown), message);
}

TEST(EndSentence, MakesASentenceOfTheMessage) {
  EXPECT_EQ(Sentence("", "the guest powered itself off"), "The guest powered itself off.");
  EXPECT_EQ(Sentence("", "any other words\033"), "Any other words\\x1b.");
  EXPECT_EQ(Sentence("cause: SHUTDOWN_CAUSE_HOST_KILL"), "Host kill.");
}

TEST(EndSentence, DoesNotCapitalizeALeadingProcessName) {
  for (const char* cause : {"HOST_SIGNAL", "HOST_KILL", "QEMU_KILLED", "QEMU_CRASHED"}) {
    EXPECT_EQ(Sentence(absl::StrCat("sender { command: 'bash' } cause: SHUTDOWN_CAUSE_", cause),
                       "bash (pid 7, uid 0) sent QEMU SIGTERM"),
              "bash (pid 7, uid 0) sent QEMU SIGTERM.");
  }
  EXPECT_EQ(Sentence("sender { kernel: true } cause: SHUTDOWN_CAUSE_QEMU_KILLED",
                     "the kernel sent QEMU SIGKILL"),
            "The kernel sent QEMU SIGKILL.");
  EXPECT_EQ(Sentence("sender { command: ' ' } cause: SHUTDOWN_CAUSE_HOST_KILL",
                     "a process without a name (pid 7, uid 0) sent QEMU SIGKILL"),
            "A process without a name (pid 7, uid 0) sent QEMU SIGKILL.");
  EXPECT_EQ(Sentence("sender { command: 'the' } cause: SHUTDOWN_CAUSE_HOST_SHUTDOWN",
                     "the VM ended because its host shut down"),
            "The VM ended because its host shut down.");
  EXPECT_EQ(Sentence("sender { command: 'bash' } cause: SHUTDOWN_CAUSE_HOST_KILL"), "Host kill.");
}

TEST(EndSentence, MentionsEachCaveat) {
  EXPECT_EQ(Sentence("shutdown_class: SHUTDOWN_CLASS_USER cause: SHUTDOWN_CAUSE_GUEST_POWEROFF "
                     "powerdown_age { seconds: 900 } caveats: SHUTDOWN_CAVEAT_POWERDOWN_EARLIER",
                     "the guest powered itself off"),
            "The guest powered itself off. The host had pressed the power button 15 min earlier.");
  for (int caveat = 1; caveat <= v1::ShutdownCaveat_MAX; ++caveat) {
    v1::ShutdownDetail end;
    end.set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
    end.add_caveats(static_cast<v1::ShutdownCaveat>(caveat));
    EXPECT_THAT(EndSentence(end, ""), StartsWith("Guest poweroff. ")) << caveat;
  }
}

TEST(FormatWhy, AnIntentThatCameTooLateFollowsTheEvidence) {
  VmStory story = Crashed();
  v1::Event late;
  late.set_type(v1::EVENT_TYPE_INTENT_LATE);
  *late.mutable_observe_time() = story.end->event.observe_time();
  late.mutable_intent()->set_actor("nova");
  late.mutable_intent()->set_reason("power off by alice");
  story.late_intents.push_back(late);
  EXPECT_THAT(Why(story),
              HasSubstr("  11:46:00.051  Intent of nova: power off by alice (came too late)\n"));
  const auto json = nlohmann::json::parse(*JsonFormatter().FormatWhy(story));
  EXPECT_EQ(json["late_intents"][0]["intent"]["actor"], "nova");
}

TEST(FormatWhy, AVmThatHasNotEndedIsShownWithItsStart) {
  VmStory story = Crashed();
  story.end.reset();
  story.ends.clear();
  EXPECT_EQ(Why(story),
            "web1 has not ended since its start, Wed 2026-07-01 11:46:01 UTC (13 min ago)\n"
            "Now    RUNNING since 11:46:01 (pid 6489)\n"
            "More   vmevents events web1\n");
}

TEST(FormatWhy, NamesTheNodesOfAVmThatMoved) {
  VmStory story = Crashed();
  story.end->node.name = "n1";
  story.vm->node.name = "n2";
  EXPECT_THAT(Why(story), StartsWith("web1 on n1 CRASHED"));
  EXPECT_THAT(Why(story), HasSubstr("RUNNING since 11:46:01 (pid 6489) on n2\n"));
  story.vm->node.stale_since = absl::FromUnixSeconds(1782906400);
  EXPECT_THAT(Why(story), HasSubstr("RUNNING (stale: the node was last seen at 11:46:40)"));
  story.vm->node.stale_since = absl::InfinitePast();
  EXPECT_THAT(Why(story),
              HasSubstr("RUNNING (stale: the node has no heartbeat, or has lost its journal)"));
}

TEST(FormatWhy, ShowsOpenIntentsAndProblems) {
  VmStory story = Crashed();
  *story.vm->vm.mutable_intent() = FromText<v1::Intent>(
      "intent_id: 'intent-7' actor: 'alice' reason: 'move' expire_time { seconds: 1782907260 }");
  story.vm->vm.add_problems()->set_text("monitor held by another client");
  EXPECT_THAT(Why(story), HasSubstr("\n       Intent of alice: move (until 12:01:00)\n"
                                    "       monitor held by another client\n"));
}

TEST(FormatWhy, MarkdownHasAHeadingAndACodeBlock) {
  const TableStyle style = {.markdown = true, .width = 80, .now = TwelveOClock};
  VmStory story = Crashed();
  story.name = "web_1*";
  const std::string text = Why(story, style);
  EXPECT_THAT(text, StartsWith("**web\\_1\\* CRASHED** Wed 2026-07-01 11:46:00 UTC (13 min ago), "
                               "after running 29 s\n\n```text\n  QEMU was killed by SIGSEGV"));
  EXPECT_THAT(text, testing::EndsWith("coredumpctl info 5432\n```\n"));
  EXPECT_THAT(text, HasSubstr("vmevents events 'web_1[*]'"));
  EXPECT_THAT(text, HasSubstr("it counts as a crash of QEMU.\n")) << "no line is wrapped";
  EXPECT_THAT(text, HasSubstr("RUNNING since Wed 2026-07-01 11:46:01 UTC")) << "it is read later";
}

TEST(FormatWhy, JsonHasTheVmItsLastEndAndTheCounts) {
  const auto json = nlohmann::json::parse(*JsonFormatter().FormatWhy(Crashed()));
  EXPECT_EQ(json["name"], "web1");
  EXPECT_EQ(json["vm"]["state"], "VM_STATE_RUNNING");
  EXPECT_EQ(json["last_end"]["shutdown"]["rule"], "qemu-crashed");
  EXPECT_EQ(json["ends_in_24h"]["CRASH"], 2);
}

}  // namespace
}  // namespace vmeventd::client
