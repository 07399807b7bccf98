"""What the contract says of a journal that cannot be written or opened, or that is damaged."""

import os
import signal
import sqlite3

import grpc
from check_streams import sequences
from promises import elsewhere, promise
from world import code, pb, qmp, reason, wait_until

OVERFLOW = "tests/server/eventlog/event_log_test.cc:EventLog.BeyondTheBoundTheOldestEventsAreDroppedAndOneGapNamesThem"
elsewhere(OVERFLOW, "Event.missing")
elsewhere(OVERFLOW, "SequenceRange")
elsewhere(OVERFLOW, "SequenceRange.first")
elsewhere(OVERFLOW, "SequenceRange.last")
elsewhere("tests/server/eventlog/event_log_start_test.cc:"
          "EventLog.AfterACrashNoSequenceIsReusedAndAGapNamesTheMissingOnes",
          "Event.missing")


def fill(world):
    """A VM under a daemon whose disk is full, and the stream that sees both."""
    world.small_disk()
    stream, qemu = world.follow()
    world.fill_disk()
    # There is room for some events in the journal still.
    number = 0
    while world.info().journal_writable:
        number += 1
        qemu.send(qmp("BLOCK_IO_ERROR", {"pad": "x" * 3000}))
        stream.wait_event("IO_ERROR", nth=number)
    return stream, qemu


@promise("Event.durable")
@promise("GetServerInfoResponse.journal_problem")
@promise("ProblemCode.PROBLEM_CODE_JOURNAL_UNAVAILABLE")
def not_durable_and_then_it_is(world):
    stream, qemu = fill(world)
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    assert not paused.durable and world.health("journal") == "NOT_SERVING"
    problem = world.info().journal_problem
    assert problem.code == pb.PROBLEM_CODE_JOURNAL_UNAVAILABLE, problem
    assert problem.text.startswith(f"{world.state}/journal.db") and "full" in problem.text, problem
    assert world.health("") == "SERVING"
    position = max(event.sequence for event in stream.events if event.durable)
    world.empty_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    again = world.watch(after_sequence=position, journal_id=world.info().journal_id)
    read = again.wait_event("PAUSED")
    assert read.durable and read.sequence == paused.sequence
    retained = world.events()
    for event in stream.events:
        event.durable = True
    assert retained == stream.events
    world.restart(signal.SIGKILL)
    assert world.events()[:len(retained)] == retained


@promise("DeclareIntent", "UNAVAILABLE")
@promise("WithdrawIntent", "UNAVAILABLE")
def no_intent_that_would_be_lost(world):
    fill(world)
    world.refused("UNAVAILABLE", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    world.refused("UNAVAILABLE", "WithdrawIntent", intent_id="any")
    world.empty_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    wait_until("an intent can be declared", lambda: code(
        world.call("DeclareIntent", vm_name="vm1", actor="a", reason="r")) in ("OK", "ALREADY_EXISTS"))
    assert world.get().state == pb.VM_STATE_RUNNING


@promise("WatchEvents", "UNAVAILABLE")
@promise("ListEvents", "UNAVAILABLE")
@promise("ErrorReason.ERROR_REASON_SHUTTING_DOWN")
def a_journal_that_cannot_be_opened(world):
    stream, qemu = world.follow()
    started = stream.wait_event("STARTED")
    journal_id = world.info().journal_id
    world.stop()
    stream.wait_end()
    assert reason(stream.error) == "UNAVAILABLE SHUTTING_DOWN", stream.error
    journal = world.state / "journal.db"
    journal.unlink()
    log = world.state / "journal.db-wal"
    log.unlink(missing_ok=True)
    log.mkdir()  # the journal cannot be opened
    world.start()
    for fields in ({"from_oldest": True}, {"since": started.observe_time},
                   {"after_sequence": 0, "journal_id": journal_id}):
        assert world.watch(**fields).wait_end() == grpc.StatusCode.UNAVAILABLE, fields
    world.refused("UNAVAILABLE JOURNAL_UNAVAILABLE", "ListEvents")
    live = world.watch()
    live.wait("it has begun", lambda: live.messages)
    world.wait_attached("vm1")
    qemu.send(qmp("STOP"))
    paused = live.wait_event("PAUSED")
    assert not paused.durable and paused.sequence > started.sequence
    log.rmdir()
    gap = live.wait("a GAP of the node comes",
                    lambda: next((e for e in live.events if e.HasField("missing")), None))
    assert gap.type == pb.EVENT_TYPE_GAP and gap.missing.last >= started.sequence, gap
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    qemu.send(qmp("RESUME"))
    assert live.wait_event("RESUMED").durable
    found = [event.sequence for event in live.events]
    assert found == sorted(set(found)), found
    world.oldest().wait_event("PAUSED")


def cut_to_its_half(journal):
    os.truncate(journal, journal.stat().st_size // 2)


def overwrite_pages(journal):
    """Overwrites so many pages that some are of the events, and not of an index that no reader needs."""
    with open(journal, "r+b") as file:
        file.seek(journal.stat().st_size // 8192 * 4096)
        file.write(b"x" * 4096 * 16)


def remove_the_database(journal):
    journal.unlink()


def remove_the_log(journal):
    journal.with_name("journal.db-wal").unlink()


@promise("GetServerInfoResponse.journal_id")
@promise("Event.durable")
def damages(world):
    world.start(tuning=["event-limits=off"])
    qemu = world.started_vm(world.oldest())
    run_id = world.get().ref.run_id
    for damage in (cut_to_its_half, overwrite_pages, remove_the_database, remove_the_log):
        before = world.info()
        newest = before.newest_sequence + 1000
        for _ in range(5):
            qemu.send(qmp("POWERDOWN") * 200)
        wait_until("all is published", lambda n=newest: world.info().newest_sequence >= n)
        world.stop(signal.SIGKILL)
        if damage in (cut_to_its_half, overwrite_pages):
            with sqlite3.connect(world.state / "journal.db") as journal:
                journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        damage(world.state / "journal.db")
        world.start()
        # A read finds damage that the start has not found, and the next start replaces the journal.
        last = world.info().newest_sequence
        whole = world.oldest()
        whole.wait("it has the newest event, or ends", lambda s=whole, n=last: s.error or sequences(s)[-1:] >= [n])
        world.stop(signal.SIGKILL)
        world.start(tuning=["event-limits=off"])
        assert world.info().journal_id != before.journal_id, damage.__name__
        wait_until("its run continues", lambda: world.get().ref.run_id == run_id)
        ended = world.watch(after_sequence=newest, journal_id=before.journal_id)
        assert ended.wait_end() == grpc.StatusCode.OUT_OF_RANGE, damage.__name__
        stream = world.watch()
        stream.wait("it has begun", lambda s=stream: s.messages)
        world.wait_attached("vm1")
        qemu.send(qmp("POWERDOWN"))
        assert stream.wait_event("POWERDOWN_REQUESTED").durable, damage.__name__
        reasons = [event.gap_reason for event in world.events()]
        assert reasons.count(pb.GAP_REASON_JOURNAL_REPLACED) == 1, (damage.__name__, reasons)
