"""Who ended a VM and how: ShutdownClass, ShutdownCause, ShutdownDetail."""

import pathlib
import re
import signal
import time

from elsewhere_tests import has_word, spellings
from promises import CHECKS, elsewhere, promise
from world import pb, qmp

REAL_GUESTS = "tests/system/endings_test.cc"

USER, ADMIN, CRASH, UNKNOWN = "USER", "ADMIN", "CRASH", "UNKNOWN"


def shutdown(guest, reason):
    return qmp("SHUTDOWN", {"guest": guest, "reason": reason})


def expect(stopped, class_name, cause):
    assert pb.ShutdownClass.Name(stopped.shutdown.shutdown_class) == f"SHUTDOWN_CLASS_{class_name}", stopped
    assert pb.ShutdownCause.Name(stopped.shutdown.cause) == f"SHUTDOWN_CAUSE_{cause}", stopped


elsewhere("tests/watcher/node/node_watcher_exit_test.cc:OomKillTest.IsAttributedToItsVictim",
          "ShutdownCause.SHUTDOWN_CAUSE_OUT_OF_MEMORY")
HOST_SHUTDOWN_STORIES = "tests/watcher/session/vm_session_host_shutdown_test.cc:HostShutdownStoryTest"
MIGRATION_STORIES = "tests/watcher/session/vm_session_migration_test.cc:MigrationStoryTest"
SENDER_STORIES = "tests/watcher/session/vm_session_sender_test.cc:SenderStoryTest"
elsewhere(f"{SENDER_STORIES}.AKillByTheKernelIsACrash", "ShutdownCause.SHUTDOWN_CAUSE_QEMU_KILLED")
elsewhere(f"{SENDER_STORIES}.AKillByAnotherProcessIsAHostKill", "ShutdownCause.SHUTDOWN_CAUSE_HOST_KILL")
elsewhere(f"{SENDER_STORIES}.AKillOfTheContainerIsAHostKill", "ShutdownCause.SHUTDOWN_CAUSE_HOST_KILL")
elsewhere(f"{SENDER_STORIES}.AKillByAnotherProcessIsAHostKill", "ShutdownDetail.sender")
for field in ("login_uid", "login_user", "login_session", "remote_host"):
    elsewhere(f"{SENDER_STORIES}.ASenderWhoLoggedInIsNamed", f"SignalSender.{field}")
SENDERS = "tests/watcher/session/vm_session_sender_test.cc:VmSessionSenderTest"
for field in ("signal", "pid", "uid", "executable", "cgroup", "command"):
    elsewhere(f"{SENDERS}.ARestartAndAResetKeepTheSender", f"SignalSender.{field}")
elsewhere(f"{SENDER_STORIES}.AKillByTheKernelIsACrash", "SignalSender.kernel")
for field in ("container_pid", "container_signal"):
    elsewhere(f"{SENDER_STORIES}.AKillOfTheContainerIsAHostKill", f"SignalSender.{field}")
elsewhere(f"{SENDER_STORIES}.AKernelsKillForItsParentIsUnknown", "SignalSender.parent_ended")
elsewhere(f"{SENDERS}.ASenderThatMayBeQemusChildIsNotAttributedToQemu", "SignalSender.of_qemu")
WORDS = "tests/watcher/session/vm_session_words_test.cc:VmSessionWordsTest"
elsewhere(f"{WORDS}.LastWordsNameTheSenderIfTheKernelDidNot", "SignalSender.from_last_words")
LAST_WORDS = "tests/system/last_words_test.cc:LastWordsTest"
for test, fields in (
        (f"{WORDS}.ACoreIsEvidence", ("ShutdownDetail.core", "ExitSignal.core_dumped")),
        (f"{WORDS}.ACrashHasLastWords", ("ShutdownDetail.numbers", "ShutdownDetail.last_words")),
        ("tests/watcher/runs/last_words_test.cc:LastWordsTest.AFileOfThisLifeAloneIsReadFromItsBeginning",
         ("LastWordsSource.LAST_WORDS_SOURCE_STANDARD_ERROR", "LastWords.source")),
        (f"{WORDS}.LastWordsNameTheSenderIfTheKernelDidNot", ("LastWordsSource.LAST_WORDS_SOURCE_JOURNAL",)),
        (f"{WORDS}.AFailedStartHasLastWords", ("LastWordsSource.LAST_WORDS_SOURCE_LIBVIRT_LOG",)),
        (f"{LAST_WORDS}.AQemuThatIsKilledForMemoryHasItsPeakAndTheLimit", ("EndNumbers.peak_memory_bytes",
                                                                           "EndNumbers.memory_limit_bytes")),
        ("tests/watcher/core/qemu_words_test.cc:QemuWordsTest.AllLinesTogetherHaveAtMostTwoKibibytes",
         ("LastWords.lines", "LastWords.truncated"))):
    for field in fields:
        elsewhere(test, field)
elsewhere("tests/watcher/session/vm_session_restart_test.cc:VmSessionSaveTest.ARunIsRestoredWithRawNamesAndOddText",
          "VmRef.unit")
elsewhere(f"{HOST_SHUTDOWN_STORIES}.AKillOfSystemd", "ShutdownCause.SHUTDOWN_CAUSE_HOST_SHUTDOWN")
elsewhere(f"{HOST_SHUTDOWN_STORIES}.AGuestThatPowersItselfOffHasACaveat",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_HOST_SHUTTING_DOWN")
PANIC = "tests/watcher/session/vm_session_events_test.cc:VmSessionPanicTest"
for test, fields in (
        ("TheEndHasTheProgramStatusWordOfAnS390Guest", ("S390Panic.core", "S390Panic.psw_mask", "S390Panic.psw_addr",
                                                     "S390Panic.reason", "GuestPanic.s390")),
        ("TheEndHasHyperVsArguments", ("GuestPanic.hyper_v",)),
        ("ATdxGuestsMessageIsOneLineAndCut", ("GuestPanic.tdx", "TdxPanic.error_code", "TdxPanic.message",
                                              "TdxPanic.gpa"))):
    for field in fields:
        elsewhere(f"{PANIC}.{test}", field)


@promise("Event.panic")
@promise("ShutdownDetail.panic")
@promise("GuestPanic.action")
@promise("HyperVPanic.args")
def guest_panic(world):
    stream = world.begin()
    info = {"type": "hyper-v", **{f"arg{i}": 2**64 - i for i in range(1, 6)}}
    windows = world.started_vm(stream, "windows")
    silent = world.started_vm(stream, "silent")
    reset = world.started_vm(stream, "reset")
    windows.send(qmp("GUEST_PANICKED", {"action": "poweroff", "info": info}))
    silent.send(qmp("GUEST_PANICKED", {"action": "run", "info": {"type": "newer"}}))
    reset.send(qmp("GUEST_PANICKED", {"action": "run", "info": info}) + qmp("RESET"))
    panicked = stream.wait_event("GUEST_PANICKED", "windows")
    for qemu in (windows, silent, reset):
        qemu.send(shutdown(True, "guest-shutdown"))
        qemu.exit()
    stopped = {name: stream.wait_event("STOPPED", name).shutdown for name in ("windows", "silent", "reset")}
    assert panicked.panic == stopped["windows"].panic, panicked
    assert list(panicked.panic.hyper_v.args) == [2**64 - i for i in range(1, 6)], panicked
    assert panicked.panic.action == "poweroff"
    assert stopped["silent"].panic.action == "run" and not stopped["silent"].panic.WhichOneof("info")
    assert not stopped["reset"].HasField("panic")


elsewhere("tests/watcher/libvirt/libvirt_process_test.cc:"
          "LibvirtProcessTest.TheRunEndsWithItsProcessOnceLibvirtHasReported",
          "ShutdownCause.SHUTDOWN_CAUSE_HOST_DESTROY")
elsewhere("tests/watcher/libvirt/libvirt_source_test.cc:LibvirtSourceTest.TheNextLifeOfADomainIsAnotherRun",
          "ShutdownCause.SHUTDOWN_CAUSE_HOST_SAVE")
elsewhere(f"{MIGRATION_STORIES}.AnArrivalThatFailsIsNoCrash", "ShutdownCause.SHUTDOWN_CAUSE_MIGRATION_FAILED")


@promise("ShutdownDetail.never_ran")
def a_vm_that_was_only_held(world):
    stream = world.begin()
    held = world.vm("held", status="inmigrate")
    stream.wait_event("STARTED", "held")
    held.send(shutdown(False, "host-qmp-quit"))
    held.kill()
    end = stream.wait_event("STOPPED", "held").shutdown
    assert end.never_ran and end.may_still_run
    ran = world.started_vm(stream, "ran")
    ran.send(shutdown(False, "host-qmp-quit"))
    ran.kill()
    end = stream.wait_event("STOPPED", "ran").shutdown
    assert not end.never_ran and not end.may_still_run


@promise("ShutdownClass.SHUTDOWN_CLASS_ADMIN")
@promise("ShutdownCause.SHUTDOWN_CAUSE_HOST_POWERDOWN")
@promise("ShutdownDetail.powerdown_age")
@promise("EndNumbers.ran_for")
def host_powerdown(world):
    stream = world.begin()
    pressed = world.started_vm(stream, "pressed")
    alone = world.started_vm(stream, "alone")
    intended = world.started_vm(stream, "intended")
    world.declare("intended")
    pressed.send(qmp("POWERDOWN") + shutdown(True, "guest-shutdown"))
    for qemu in (alone, intended):
        qemu.send(shutdown(True, "guest-shutdown"))
    for qemu in (pressed, alone, intended):
        qemu.exit()
    stopped = stream.wait_event("STOPPED", "pressed")
    expect(stopped, ADMIN, "HOST_POWERDOWN")
    assert stopped.shutdown.HasField("powerdown_age")
    assert stopped.shutdown.numbers.ran_for.ToNanoseconds() > 0, stopped
    stopped = stream.wait_event("STOPPED", "alone")
    expect(stopped, USER, "GUEST_POWEROFF")
    assert not stopped.shutdown.HasField("powerdown_age")
    expect(stream.wait_event("STOPPED", "intended"), ADMIN, "GUEST_POWEROFF")


@promise("ShutdownCause.SHUTDOWN_CAUSE_MIGRATED_AWAY")
@promise("ShutdownCause.SHUTDOWN_CAUSE_NEVER_RAN")
@promise("ShutdownCause.SHUTDOWN_CAUSE_MIGRATION_UNFINISHED")
@promise("ShutdownDetail.may_still_run")
def ends_of_vms_that_moved(world):
    stream = world.begin()
    for status, class_name, cause in (("postmigrate", ADMIN, "MIGRATED_AWAY"),
                                      ("inmigrate", UNKNOWN, "NEVER_RAN"),
                                      ("finish-migrate", UNKNOWN, "MIGRATION_UNFINISHED")):
        world.started_vm(stream, status, status=status).exit()
        stopped = stream.wait_event("STOPPED", status)
        expect(stopped, class_name, cause)
        assert stopped.shutdown.may_still_run, stopped
    world.started_vm(stream, "here", status="running").exit()
    assert not stream.wait_event("STOPPED", "here").shutdown.may_still_run


@promise("ShutdownClass.SHUTDOWN_CLASS_UNKNOWN")
@promise("ShutdownCause.SHUTDOWN_CAUSE_UNOBSERVED")
@promise("ShutdownDetail.last_seen_time")
@promise("GapReason.GAP_REASON_NOT_WATCHED")
@promise("Event.gap_reason")
@promise("Event.unwatched")
@promise("TimeRange.start")
@promise("TimeRange.end")
def unobserved(world):
    _, qemu = world.follow()
    world.stop()
    stopped_at = time.time_ns()
    qemu.exit()
    world.start()
    stream = world.oldest()
    stopped = stream.wait_event("STOPPED")
    expect(stopped, UNKNOWN, "UNOBSERVED")
    assert 0 < stopped.shutdown.last_seen_time.ToNanoseconds() <= stopped_at, stopped
    gap = stream.wait_event("GAP", "")
    assert gap.gap_reason == pb.GAP_REASON_NOT_WATCHED, gap
    unwatched = gap.unwatched
    assert 0 < unwatched.start.ToNanoseconds() <= stopped_at < unwatched.end.ToNanoseconds(), gap


elsewhere("tests/watcher/node/node_watcher_exit_test.cc:NodeWatcherExitTest.WithoutASourceTheExitStatusOfAReapedProcessIsUnknown",
          "ShutdownCause.SHUTDOWN_CAUSE_PROCESS_EXITED")


# QEMU's words and the signal that kills it (None: it exits); then class, cause and rule.
ENDS = (
    (shutdown(False, "host-ui"), None, ADMIN, "HOST_UI", "host-ui"),
    (shutdown(False, "host-error"), None, CRASH, "HOST_ERROR", "shutdown-host-error"),
    (qmp("SHUTDOWN", {"guest": False}), None, ADMIN, "HOST_REQUEST", "legacy-host"),
    (qmp("SHUTDOWN", {"guest": True}), None, USER, "GUEST_REQUEST", "legacy-guest"),
    (shutdown(True, "guest-shutdown"), None, USER, "GUEST_POWEROFF", "guest-poweroff"),
    (shutdown(True, "guest-reset"), None, USER, "GUEST_REBOOT_EXIT", "guest-reboot-exit"),
    (qmp("SUSPEND_DISK") + shutdown(True, "guest-shutdown"), None, USER, "GUEST_HIBERNATE", "guest-hibernate"),
    (shutdown(True, "guest-panic"), None, CRASH, "GUEST_PANIC", "shutdown-guest-panic"),
    (shutdown(False, "host-qmp-quit"), None, ADMIN, "HOST_QUIT", "host-quit"),
    (shutdown(False, "host-signal"), None, ADMIN, "HOST_SIGNAL", "host-signal"),
    (shutdown(False, "host-qmp-system-reset"), None, ADMIN, "HOST_RESET_EXIT", "host-reset-exit"),
    (qmp("WATCHDOG", {"action": "poweroff"}), None, CRASH, "WATCHDOG", "watchdog"),
    ("", signal.SIGSEGV, CRASH, "QEMU_CRASHED", "qemu-crashed"),
    ("", signal.SIGKILL, UNKNOWN, "UNOBSERVED", "killed-unseen"),
    ("", None, UNKNOWN, "UNOBSERVED", "clean-exit"))


@promise("ShutdownClass.SHUTDOWN_CLASS_UNSPECIFIED")
@promise("ShutdownClass.SHUTDOWN_CLASS_USER")
@promise("ShutdownClass.SHUTDOWN_CLASS_CRASH")
@promise("ShutdownCause.SHUTDOWN_CAUSE_UNSPECIFIED")
@promise("ShutdownDetail.shutdown_class")
@promise("ShutdownDetail.cause")
@promise("ShutdownDetail.rule")
@promise("ShutdownDetail.exit_signal")
@promise("ExitSignal.number")
@promise("ShutdownDetail.exit_unknown")
@promise("ShutdownDetail.exit_code")
@promise("ShutdownDetail.shutdown_file_written")
def every_verdict_is_whole(world):
    world.start()
    known = world.info().exit_status_source != pb.EXIT_STATUS_SOURCE_NONE
    stream = world.oldest()
    for number, (messages, killed_by, class_name, cause, rule) in enumerate(ENDS):
        name = f"vm{number}"
        qemu = world.started_vm(stream, name)
        qemu.send(messages)
        if killed_by:
            qemu.kill(killed_by)
        else:
            qemu.exit()
        stopped = stream.wait_event("STOPPED", name)
        expect(stopped, class_name, cause)
        detail = stopped.shutdown
        assert detail.rule == rule, detail
        end = "exit_unknown" if not known else "exit_signal" if killed_by else "exit_code"
        assert detail.WhichOneof("process_end") == end, detail
        assert (detail.exit_code, detail.exit_signal.number) == (0, killed_by or 0), detail
        assert detail.shutdown_file_written == (class_name == USER), detail
        assert (world.monitors / f"{name}.shutdown").exists() == (class_name == USER)


for *_, end_cause, _ in ENDS:
    promise(f"ShutdownCause.SHUTDOWN_CAUSE_{end_cause}")(every_verdict_is_whole)


@promise("ShutdownCause")
@promise("ShutdownDetail.intent")
def the_intent_of_an_end(world):
    stream = world.begin()
    for name, class_name in (("free", UNKNOWN), ("intended", ADMIN)):
        qemu = world.started_vm(stream, name)
        intent = world.declare(name) if class_name == ADMIN else None
        qemu.kill()
        stopped = stream.wait_event("STOPPED", name)
        expect(stopped, class_name, "UNOBSERVED")
        assert stopped.shutdown.HasField("intent") == bool(intent)
        assert not intent or stopped.shutdown.intent == intent


@promise("ShutdownDetail.evidence")
@promise("Evidence.time")
@promise("Evidence.what")
def evidence(world):
    stream, qemu = world.follow()
    qemu.send(qmp("POWERDOWN") + shutdown(True, "guest-shutdown"))
    qemu.kill()
    stopped = stream.wait_event("STOPPED")
    what = [entry.what for entry in stopped.shutdown.evidence]
    assert "SHUTDOWN reason=guest-shutdown" in what, what
    assert what.index("POWERDOWN") < what.index("SHUTDOWN reason=guest-shutdown"), what
    assert any(entry.startswith("exit signal 9") for entry in what), what
    times = [entry.time.ToNanoseconds() for entry in stopped.shutdown.evidence]
    assert times == sorted(times) and times[-1] <= stopped.observe_time.ToNanoseconds(), times


def causes_of_real_guests():
    """The causes in the table of tests/system/endings_test.cc that no check holds."""
    text = (pathlib.Path(__file__).resolve().parents[3] / REAL_GUESTS).read_text()
    table = re.search(r"^const std::vector<Ending>& Endings\(\) \{.*?^\}", text, re.M | re.S)[0]
    for name in pb.ShutdownCause.keys():
        cause = f"ShutdownCause.{name}"
        if has_word(spellings(cause), table) and (cause, "") not in CHECKS:
            yield cause


for real_cause in causes_of_real_guests():
    elsewhere(f"{REAL_GUESTS}:EndingTest.IsClassifiedRight", real_cause)
