"""Who ended a VM and how: ShutdownClass, ShutdownCause, ShutdownDetail."""

import signal

from promises import elsewhere, headline, promise
from world import pb, qmp

USER, ADMIN, CRASH, UNKNOWN = "USER", "ADMIN", "CRASH", "UNKNOWN"


def shutdown(guest, reason):
    return qmp("SHUTDOWN", {"guest": guest, "reason": reason})


def expect(stopped, class_name, cause):
    assert pb.ShutdownClass.Name(getattr(stopped.shutdown, "class")) == f"SHUTDOWN_CLASS_{class_name}", stopped
    assert pb.ShutdownCause.Name(stopped.shutdown.cause) == f"SHUTDOWN_CAUSE_{cause}", stopped


headline("ShutdownClass", "Who ended a VM.")
headline("ShutdownCause", "How a VM ended.")
headline("ShutdownDetail", "How a VM ended, who ended it, and how that is known.")
headline("Evidence", "One fact behind a verdict.")
elsewhere("tests/watcher/qmp/node_watcher_exit_test.cc:OomKillTest.IsPutDownToTheOneThatItWasOf",
          "ShutdownCause.SHUTDOWN_CAUSE_OUT_OF_MEMORY",
          "SIGKILL because memory ran out: the kernel named it as its victim, or sent it while the "
          "cgroup's oom_kill count rose, or a memory killer did (systemd-oomd, earlyoom, nohang or oomd, of root "
          "or of another user than QEMU's), whose SIGTERM counts as well")
SENDERS = "tests/watcher/session/vm_session_sender_test.cc:VmSessionSenderTest"
elsewhere(f"{SENDERS}.ASigkillOfAnotherProcessIsTheHosts", "ShutdownCause.SHUTDOWN_CAUSE_HOST_KILL",
          "SIGKILL or SIGQUIT from another process of the host, as the kernel shows: `sender` names it.")
elsewhere(f"{SENDERS}.AKillOfItsContainerIsTheHosts", "ShutdownCause.SHUTDOWN_CAUSE_HOST_KILL",
          "Also the kernel's SIGKILL to a container's processes, where such a process had ended its first one")
elsewhere(f"{SENDERS}.ASigkillOfAnotherProcessIsTheHosts", "ShutdownDetail.sender",
          "Who sent the signal that ended the VM.")
elsewhere(f"{SENDERS}.WhyNobodySawTheSenderIsSaid", "ShutdownDetail.sender",
          "Unset: no signal did, or nobody saw its sender, for which the evidence has the reason.")
for field, sentence in (
        ("signal", "its number, as 9"),
        ("pid", "as the host numbers its processes"),
        ("uid", "the real user's id; valid if details_known"),
        ("executable", "the path of its program; empty: it cannot be read"),
        ("cgroup", "as \"/system.slice/virtqemud.service\"; at most 512 bytes; empty: it cannot be read"),
        ("command", "The name that the process has given itself, at most 15 bytes."),
        ("command", "Here and below a byte that is a control character, a backslash or not UTF-8 becomes "
                    "the text \\\\xNN.")):
    elsewhere(f"{SENDERS}.ASigkillOfAnotherProcessIsTheHosts", f"SignalSender.{field}", sentence)
elsewhere("tests/watcher/session/classification_test.cc:ClassificationTest.ASenderIsDescribedForPeople",
          "SignalSender.details_known",
          "Whether more than its pid is known of the process.",
          "If not, user, command, executable and cgroup are empty.")
elsewhere("tests/watcher/signals/signal_watch_test.cc:SignalWatchTest.OfASenderThatIsGoneTheRecordSaysUserAndName",
          "SignalSender.details_known", "Of one that was gone too soon the last two are empty.")
elsewhere(f"{SENDERS}.ASigkillOfTheKernelIsACrashAndSaysSo", "SignalSender.kernel",
          "the kernel itself sent it: the fields below are empty")
elsewhere(f"{SENDERS}.ASigkillOfQemusOwnIsACrash", "SignalSender.of_qemu",
          "it is QEMU, or may have been started by it")
HOST = "tests/watcher/session/vm_session_host_test.cc:VmSessionHostTest"
elsewhere(f"{HOST}.WhatTheHostEndsAsItShutsDownEndsByThat", "ShutdownCause.SHUTDOWN_CAUSE_HOST_SHUTDOWN",
          "the host powered off, rebooted or began another kernel, and ended the VM for that, or asked its guest "
          "to shut down and it did")
elsewhere(f"{HOST}.AGuestThatPowersItselfOffInTheShutdownIsTheUsersWithACaveat",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_HOST_SHUTTING_DOWN",
          "The host was shutting down when the guest shut itself down: somebody on the host may have asked it by a "
          "way that leaves no trace on the monitor, as a command over SSH.")
PANIC = "tests/watcher/session/vm_session_events_test.cc:VmSessionPanicTest"
headline("GuestPanic", "A panic of a guest's kernel, as QEMU reported it.",
         "All of it but `action` is the guest's own word.")
headline("HyperVPanic", "A guest with Hyper-V's crash registers, as Windows and Linux have them.")
headline("S390Panic", "An s390x guest that stopped.")
headline("TdxPanic", "A confidential guest of Intel TDX (QEMU 10.1 and later).")
for test, field, *sentences in (
        ("OfAnS390GuestTheProgramStatusWordIsKept", "S390Panic.core", "the CPU"),
        ("OfAnS390GuestTheProgramStatusWordIsKept", "S390Panic.psw_mask", "its program status word"),
        ("OfAnS390GuestTheProgramStatusWordIsKept", "S390Panic.psw_addr", "likewise"),
        ("OfAnS390GuestTheProgramStatusWordIsKept", "S390Panic.reason", "as \"disabled-wait\"; at most 64 bytes"),
        ("HyperVsArgumentsAreKeptToTheEnd", "GuestPanic.hyper_v", "as Windows gives it"),
        ("OfAnS390GuestTheProgramStatusWordIsKept", "GuestPanic.s390", "of s390x"),
        ("ATdxGuestsMessageIsOneLineAndCut", "GuestPanic.tdx", "of Intel TDX"),
        ("ATdxGuestsMessageIsOneLineAndCut", "TdxPanic.error_code", "the guest's"),
        ("ATdxGuestsMessageIsOneLineAndCut", "TdxPanic.message",
         "One line: a byte that is a control character, a backslash or not UTF-8 becomes the text \\\\xNN.",
         "At most 256 bytes."),
        ("ATdxGuestsMessageIsOneLineAndCut", "TdxPanic.gpa",
         "the guest's address where it left more; unset: it left nothing")):
    elsewhere(f"{PANIC}.{test}", field, *sentences)


@promise("Event.panic", "with GUEST_PANICKED")
@promise("ShutdownDetail.panic", "What the guest's kernel said as it panicked.",
         "Unset: it did not, or was reset since.")
@promise("GuestPanic.action", "What QEMU did: \"pause\", \"poweroff\" or \"run\"; empty: it did not say.")
@promise("GuestPanic.info",
         "What the guest gave beside it; unset: nothing, or what this version does not know: see detail_json.")
@promise("HyperVPanic.args", "five: on Windows the bug check's code and its four parameters")
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


headline("SignalSenderWatch",
         "The kernel's records of signals, from which ShutdownDetail.sender comes.")
headline("SignalSender", "The sender of a signal, as the kernel showed it when the signal was sent.")


for cause, sentence in (
        ("GUEST_POWEROFF", "the guest shut itself down, in order"),
        ("GUEST_REBOOT_EXIT", "guest reboot under -no-reboot"),
        ("GUEST_HIBERNATE", "suspend to disk"),
        ("HOST_QUIT", "QMP or HMP quit"),
        ("HOST_SIGNAL", "SIGTERM, SIGINT or SIGHUP, not of a memory killer"),
        ("HOST_RESET_EXIT", "system_reset under -no-reboot"),
        ("GUEST_PANIC", "the guest's kernel panicked and reported it to QEMU"),
        ("WATCHDOG", "the guest stopped feeding its watchdog"),
        ("QEMU_CRASHED", "SIGSEGV, SIGABRT, SIGBUS, ... or a non-zero exit")):
    elsewhere("tests/system/endings_test.cc:EndingTest.HasTheRightVerdict",
              f"ShutdownCause.SHUTDOWN_CAUSE_{cause}", sentence)
for name, sentence in (
        ("USER", "from inside the guest, in order"),
        ("CRASH", "nobody asked: guest panic, watchdog, QEMU died or was killed")):
    elsewhere("tests/system/endings_test.cc:EndingTest.HasTheRightVerdict",
              f"ShutdownClass.SHUTDOWN_CLASS_{name}", sentence)
for cause, sentence in (
        ("HOST_DESTROY",
         "the manager destroyed the VM, as libvirt reports: virsh destroy"),
        ("HOST_SAVE",
         "the host saved the VM's memory to a file and ended QEMU: virsh save, managedsave")):
    elsewhere("tests/system/libvirt_test.cc:LibvirtEndingTest.IsClassifiedAndPublishedOnce",
              f"ShutdownCause.SHUTDOWN_CAUSE_{cause}", sentence)
for cause, test, sentence in (
        ("MIGRATION_FAILED", "AnIncomingMigrationThatFailsIsNoCrash",
         "an incoming migration or a restore failed, and QEMU gave up before its VM ran: the VM is "
         "where it was"),
        ("NEVER_RAN", "AQemuThatEndsBeforeItsVmRanIsNoCrash",
         "QEMU ended before its VM was seen running: the VM may run elsewhere"),
        ("MIGRATION_UNFINISHED", "AQemuThatEndsWhileItFinishesAMigrationIsUnknown",
         "QEMU ended without a SHUTDOWN while it finished a migration: the VM may run at its "
         "destination")):
    elsewhere(f"tests/watcher/session/vm_session_migration_test.cc:VmSessionMigrationTest.{test}",
              f"ShutdownCause.SHUTDOWN_CAUSE_{cause}", sentence)


@promise("ShutdownClass.SHUTDOWN_CLASS_ADMIN", "from the host, in order or by a declared intent")
@promise("ShutdownCause.SHUTDOWN_CAUSE_HOST_POWERDOWN",
         "the host pressed the ACPI power button, the guest obeyed")
@promise("ShutdownDetail.powerdown_age", "last POWERDOWN to shutdown; unset if none")
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
    stopped = stream.wait_event("STOPPED", "alone")
    expect(stopped, USER, "GUEST_POWEROFF")
    assert not stopped.shutdown.HasField("powerdown_age")
    expect(stream.wait_event("STOPPED", "intended"), ADMIN, "GUEST_POWEROFF")


elsewhere("tests/system/migration_test.cc:MigrationTest.SourceMigratesAndTheVmContinuesAtItsDestination",
          "ShutdownCause.SHUTDOWN_CAUSE_MIGRATED_AWAY",
          "the VM runs elsewhere; this process was the source")


@promise("ShutdownClass.SHUTDOWN_CLASS_UNKNOWN", "no evidence says who ended it")
@promise("ShutdownCause.SHUTDOWN_CAUSE_UNOBSERVED", "gone without evidence of who ended it")
def unobserved(world):
    stream, qemu = world.follow()
    world.stop()
    qemu.exit()
    world.start()
    expect(world.oldest().wait_event("STOPPED"), UNKNOWN, "UNOBSERVED")


elsewhere("tests/watcher/qmp/node_watcher_exit_test.cc:NodeWatcherExitTest.WithoutASourceAReapedProcessIsNotKnown",
          "ShutdownCause.SHUTDOWN_CAUSE_PROCESS_EXITED", "gone silently, and its exit status is unavailable")


# What QEMU says and the signal that kills it, or None where it exits: its class, cause and rule.
ENDS = (
    (shutdown(False, "host-ui"), None, ADMIN, "HOST_UI", "host-ui", "QEMU's window was closed"),
    (shutdown(False, "host-error"), None, CRASH, "HOST_ERROR", "shutdown-host-error",
     "QEMU gave up after an error of the host"),
    (qmp("SHUTDOWN", {"guest": False}), None, ADMIN, "HOST_REQUEST", "legacy-host",
     "from the host; QEMU before 4.0 does not report how"),
    (qmp("SHUTDOWN", {"guest": True}), None, USER, "GUEST_REQUEST", "legacy-guest",
     "from the guest; QEMU before 4.0 does not report how"),
    ("", signal.SIGKILL, CRASH, "QEMU_KILLED", "qemu-killed",
     "SIGKILL: from an unknown sender, from the kernel, or from QEMU itself or what it started"),
    ("", None, UNKNOWN, "UNOBSERVED", "clean-exit", None))


@promise("ShutdownClass.SHUTDOWN_CLASS_UNSPECIFIED", "never sent")
@promise("ShutdownCause.SHUTDOWN_CAUSE_UNSPECIFIED", "never sent")
@promise("ShutdownDetail.class", "who")
@promise("ShutdownDetail.cause", "how")
@promise("ShutdownDetail.rule", "id of the classification rule that matched")
@promise("ShutdownDetail.exit_signal", "what killed the process; 0 if it exited")
@promise("ShutdownDetail.exit_status_known", "whether the kernel reported how the process ended")
@promise("ShutdownDetail.exit_code", "valid if exit_status_known and exit_signal = 0")
@promise("ShutdownDetail.shutdown_file_written", "the legacy file")
def every_verdict_is_whole(world):
    world.start()
    known = world.info().exit_status_source != "none"
    stream = world.oldest()
    for number, (said, killed_by, class_name, cause, rule, _) in enumerate(ENDS):
        name = f"vm{number}"
        qemu = world.started_vm(stream, name)
        qemu.send(said)
        if killed_by:
            qemu.kill(killed_by)
        else:
            qemu.exit()
        stopped = stream.wait_event("STOPPED", name)
        expect(stopped, class_name, cause)
        detail = stopped.shutdown
        assert detail.rule == rule, detail
        assert detail.exit_status_known == known or killed_by, detail
        assert (detail.exit_code, detail.exit_signal) == (0, killed_by or 0), detail
        assert detail.shutdown_file_written == (class_name == USER), detail
        assert (world.monitors / f"{name}.shutdown").exists() == (class_name == USER)


for *_, end_cause, _, end_sentence in ENDS:
    if end_sentence:
        promise(f"ShutdownCause.SHUTDOWN_CAUSE_{end_cause}", end_sentence)(every_verdict_is_whole)


@promise("ShutdownCause", "Each cause belongs to one class, unless an intent overrides the class.")
@promise("ShutdownDetail.intent", "the intent that was open, if any")
def the_intent_of_an_end(world):
    stream = world.begin()
    for name, class_name in (("free", CRASH), ("intended", ADMIN)):
        qemu = world.started_vm(stream, name)
        intent = world.declare(name) if class_name == ADMIN else None
        qemu.kill()
        stopped = stream.wait_event("STOPPED", name)
        expect(stopped, class_name, "QEMU_KILLED")
        assert stopped.shutdown.HasField("intent") == bool(intent)
        assert not intent or stopped.shutdown.intent == intent


@promise("ShutdownDetail.evidence", "what the rule saw, oldest first")
@promise("Evidence.time", "when it was observed, by the node's clock")
@promise("Evidence.what", "as \"SHUTDOWN reason=guest-shutdown\" or \"exit signal 9\"")
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
