"""WatchEvents: what a stream promises, how it starts, and what a client does with it."""

import random
import signal
import time

import grpc
from promises import elsewhere, promise
from patience import patience
from world import Stream, details, facts, pb, qmp, reason, type_name, wait_until


def lives(world, names, stream=None):
    """VMs that start and end; the events of the last one are there."""
    stream = stream or world.oldest()
    for name in names:
        qemu = world.started_vm(stream, name)
        qemu.send(qmp("STOP") + qmp("RESUME"))
        qemu.kill(signal.SIGKILL)
        stream.wait_event("STOPPED", name)
    return stream


def sequences(stream):
    return [event.sequence for event in stream.events]


@promise("VmEventService", "1", "2", "3")
@promise("WatchEvents")
@promise("WatchEventsRequest.from_oldest")
@promise("WatchEventsRequest.filter")
def ordered_unique_reliable(world):
    world.start()
    lives(world, "ab")
    stream = world.oldest()  # history, and live from here
    lives(world, "cd", stream)
    assert sequences(stream) == list(range(1, 17)), sequences(stream)
    assert [event.sequence for event in world.events()] == list(range(1, 17))


@promise("VmEventService", "4")
@promise("WatchEventsRequest.after_sequence")
@promise("WatchEventsRequest.journal_id")
@promise("Progress.sequence")
@promise("Progress.journal_id")
def resumable(world):
    world.start()
    lives(world, "ab")
    journal_id = world.info().journal_id
    for after in range(9):
        stream = world.watch(after_sequence=after, journal_id=journal_id)
        if after < 8:
            stream.wait("the last is there", lambda s=stream: sequences(s)[-1:] == [8])
        assert sequences(stream) == list(range(after + 1, 9))
    stream = world.watch(after_sequence=0, journal_id=journal_id,
                         filter={"types": [pb.EVENT_TYPE_STOPPED]})
    stream.wait("both ends are there", lambda: len(stream.events) == 2)
    assert world.watch(after_sequence=1).wait_end() == grpc.StatusCode.INVALID_ARGUMENT


@promise("VmEventService", "6")
@promise("EventFilter")
@promise("EventFilter.types")
@promise("EventFilter.classes")
def filters(world):
    world.start()
    lives(world, ["web1", "web2", "db1"])
    unknown, user = pb.SHUTDOWN_CLASS_UNKNOWN, pb.SHUTDOWN_CLASS_USER
    stopped, paused = pb.EVENT_TYPE_STOPPED, pb.EVENT_TYPE_PAUSED
    for fields, expected in (
            ({"types": [stopped]}, ["web1 STOPPED", "web2 STOPPED", "db1 STOPPED"]),
            ({"types": [stopped, paused], "vm_names": ["db*"]}, ["db1 PAUSED", "db1 STOPPED"]),
            ({"classes": [unknown], "vm_names": ["db1", "web2"]}, ["web2 STOPPED", "db1 STOPPED"]),
            ({"classes": [user]}, [])):
        listed = [f"{e.vm.name} {type_name(e)}" for e in world.events(filter=fields)]
        assert listed == expected, (fields, listed)
        stream = world.oldest(filter=fields, progress_interval={"seconds": 1})
        stream.wait("the stream is idle", lambda s=stream: sum(m.HasField("progress") for m in s.messages) > 1)
        assert [f"{e.vm.name} {type_name(e)}" for e in stream.events] == expected
    for field, values in (("types", [stopped] * 1001), ("classes", [unknown] * 1001)):
        message = world.refused("INVALID_ARGUMENT", "ListEvents", filter={field: values})
        assert field in message and "1001" in message, message


@promise("VmEventService")
@promise("Progress")
@promise("WatchEventsRequest.progress_interval")
def a_position_moves_on(world):
    world.start()
    only_ends = {"types": [pb.EVENT_TYPE_STOPPED]}
    stream = world.oldest(filter=only_ends, progress_interval={"seconds": 1})
    qemu = world.vm()
    qemu.send("")
    wait_until("the VM is followed", lambda: world.get().qemu_version)
    newest = world.info().newest_sequence
    assert newest > 0
    stream.wait("a Progress passes what the filter left out",
                lambda: any(m.progress.sequence == newest for m in stream.messages))
    assert not stream.events
    assert world.watch(progress_interval={"nanos": 999_999_999}).wait_end() == \
        grpc.StatusCode.INVALID_ARGUMENT
    position = stream.messages[-1].progress
    stream.close()
    qemu.exit()
    resumed = world.watch(after_sequence=position.sequence, journal_id=position.journal_id,
                          filter=only_ends)
    resumed.wait_event("STOPPED")
    assert len(resumed.events) == 1


def progresses_of(stream):
    return [message.progress for message in stream.messages if message.HasField("progress")]


@promise("WatchEvents")
@promise("Progress.time")
def progress(world):
    world.start()
    lives(world, "a")
    for fields in ({}, {"from_oldest": True}, {"snapshot": True}):
        before = time.time_ns()
        stream = world.watch(progress_interval={"seconds": 1}, **fields)
        stream.wait("two Progresses came",
                    lambda s=stream: sum(m.HasField("progress") for m in s.messages) >= 3)
        first = stream.messages[0]
        assert first.HasField("progress") and not first.events
        assert first.progress.journal_id == world.info().journal_id
        times = [m.progress.time.ToNanoseconds() for m in stream.messages if m.HasField("progress")]
        assert before <= times[0] and times == sorted(times) and times[-1] <= time.time_ns()
        if not fields:
            assert not stream.events


@promise("VmEventService")
@promise("WatchEvents", "OUT_OF_RANGE")
@promise("ErrorReason.ERROR_REASON_RETENTION_PASSED")
@promise("ErrorReason.ERROR_REASON_BEYOND_NEWEST")
@promise("ErrorReason.ERROR_REASON_JOURNAL_REPLACED")
@promise("ErrorReason.ERROR_REASON_JOURNAL_DAMAGED")
@promise("ProblemCode.PROBLEM_CODE_JOURNAL_DAMAGED")
@promise("GetServerInfoResponse.journal_path")
def out_of_range(world):
    world.start("--retention-events", "4")
    lives(world, "abc")
    wait_until("retention is done",
               lambda: world.info().oldest_sequence > 2 and len(world.events()) == 4)
    info = world.info()
    for after, journal_id, why in (
            (0, info.journal_id, "RETENTION_PASSED"), (info.newest_sequence + 1, info.journal_id, "BEYOND_NEWEST"),
            (info.newest_sequence, "00000000-0000-0000-0000-000000000000", "JOURNAL_REPLACED")):
        stream = world.watch(after_sequence=after, journal_id=journal_id)
        stream.wait_end()
        assert reason(stream.error) == f"OUT_OF_RANGE {why}", stream.error
        assert after != 0 or str(info.oldest_sequence) in stream.error.details(), stream.error.details()
    oldest = world.oldest()
    oldest.wait("the oldest is there", lambda: oldest.events)
    assert oldest.events[0].sequence == world.info().oldest_sequence
    world.restart()  # nothing is in memory
    wait_until("the GAP of the absence is written, and retention is done again",
               lambda: world.info().events == 4 and world.info().oldest_sequence > info.oldest_sequence)
    live = world.watch()
    live.wait("it has begun", lambda: live.messages)
    for file, start in (("journal.db", 4096), ("journal.db-wal", 32)):
        with open(world.state / file, "r+b") as journal:
            size = journal.seek(0, 2)
            journal.seek(start)
            journal.write(b"x" * (size - start))
    damaged = world.oldest()
    damaged.wait_end()
    assert reason(damaged.error) == "OUT_OF_RANGE JOURNAL_DAMAGED", damaged.error
    world.refused("OUT_OF_RANGE JOURNAL_DAMAGED", "ListEvents")
    world.vm()
    assert not live.wait_event("STARTED").durable, "it disturbs no other stream"
    info_then = world.info()
    assert not info_then.journal_writable, info_then
    assert info_then.journal_problem.code == pb.PROBLEM_CODE_JOURNAL_DAMAGED, info_then
    assert info_then.journal_path == f"{world.state}/journal.db", info_then
    world.restart()
    assert world.info().journal_id != info.journal_id


@promise("VmEventService", "7")
def thinned_out(world):
    stream, _ = world.follow("--retention-events", "8")
    noisy = world.started_vm(stream, "noisy")
    noisy.send((qmp("STOP") + qmp("RESUME")) * 20)
    stream.wait_event("RESUMED", "noisy", 20)
    wait_until("retention is done", lambda: len(world.events()) == 8)
    retained = [event.sequence for event in world.events()]
    assert retained == [1, 2, *range(37, 43)], retained
    world.restart()  # nothing is in memory; the GAP of the absence costs one more
    wait_until("retention is done again",
               lambda: [event.sequence for event in world.events()] == [1, 2, *range(38, 44)])
    thinned = world.oldest()
    thinned.wait("the newest is there", lambda: sequences(thinned)[-1:] == [43])
    assert sequences(thinned) == [1, 2, 37, *range(38, 44)], sequences(thinned)
    gap = thinned.events[2]
    assert gap.type == pb.EVENT_TYPE_GAP and gap.missing.last == gap.sequence, gap


@promise("VmEventService")
def too_many_pings(world):
    world.start()
    hasty = world.connect(options=[("grpc.keepalive_time_ms", 1000),
                                   ("grpc.http2.max_pings_without_data", 0)])
    patient = world.connect(options=[("grpc.keepalive_time_ms", 10000),
                                     ("grpc.http2.max_pings_without_data", 0)])
    streams = [world.watch(channel) for channel in (hasty, patient)]
    assert streams[0].wait_end() == grpc.StatusCode.UNAVAILABLE
    assert not streams[1].error


@promise("VmEventService")
def sizes_of_what_comes_with_a_call(world):
    world.start()
    channel = world.connect()
    stream = world.watch(channel)
    get = channel.unary_unary("/vmeventd.v1.VmEventService/GetServerInfo")

    def outcome(request=b"", **options):
        try:
            get(request, timeout=patience(), **options)
            return "OK", ""
        except grpc.RpcError as error:
            return error.code().name, error.details()
    # Adds a field that this version does not know, which may have any value; noise does not compress.
    noise = random.Random(1).randbytes(6000)
    unknown = b"\xfa\x7f" + bytes([len(noise) % 128 + 128, len(noise) // 128]) + noise
    assert outcome(unknown)[0] == "OK"
    half_noise = b"\xfa\x7f\x80\x80\x01" + noise + bytes(16384 - len(noise))
    assert outcome(half_noise)[0] == "OK"
    assert outcome(half_noise, compression=grpc.Compression.Gzip)[0] == "UNIMPLEMENTED"
    assert outcome(metadata=[("name", "x" * 7500)])[0] == "OK"
    assert not stream.error
    assert outcome(metadata=[("name", "x" * 15500)])[0] != "OK"
    wait_until("a new connection is made", lambda: outcome()[0] == "OK")


@promise("VmEventService", "RESOURCE_EXHAUSTED")
@promise("WatchEvents", "RESOURCE_EXHAUSTED")
@promise("ListEvents", "RESOURCE_EXHAUSTED")
@promise("ListVms", "RESOURCE_EXHAUSTED")
@promise("ListStreams", "RESOURCE_EXHAUSTED")
@promise("ErrorReason.ERROR_REASON_LISTS_TOO_OFTEN")
@promise("ErrorReason.ERROR_REASON_TOO_MANY_STREAMS")
def exhausted(world):
    world.start("--max-streams", "4", tuning=["list-rate=1"])  # two of one peer
    streams = [world.watch(), world.watch()]
    for stream in streams:
        stream.wait("it has begun", lambda s=stream: s.messages)
    third = world.watch()
    third.wait_end()
    assert reason(third.error) == "RESOURCE_EXHAUSTED TOO_MANY_STREAMS", third.error
    assert facts(third.error) == {"limit": "2"}
    streams[0].close()

    def another():
        stream = Stream(world, pb.WatchEventsRequest())
        try:
            stream.wait("it has begun or ended", lambda: stream.messages or stream.error)
            return bool(stream.messages)
        finally:
            stream.close()
    wait_until("there is room again", another)
    for method, fields in (("ListEvents", {}), ("ListVms", {}), ("ListStreams", {}), ("CountEvents", {"by": pb.COUNT_KEY_VM})):
        refused = [a for a in (world.call(method, **fields) for _ in range(20)) if isinstance(a, grpc.RpcError)]
        assert {reason(error) for error in refused} == {"RESOURCE_EXHAUSTED LISTS_TOO_OFTEN"}, method
        assert 0 < details(refused[-1])["RetryInfo"].retry_delay.ToNanoseconds() <= 20 * 10**9, method
    too_large = {"vm_names": ["x" * 1024] * 1000 + ["y" * (1 << 20)]}
    world.refused("INVALID_ARGUMENT", "ListVms", **too_large)


elsewhere("tests/server/rpc/incoming_call_grpc_test.cc:IncomingCall.ACallOfAnyMethodCountsForItsPeer",
          "ErrorReason.ERROR_REASON_TOO_MANY_CALLS")
elsewhere("tests/server/stream/watch_events_grpc_test.cc:WatchEvents.RefusesFiltersThatTakeTooMuchMemory",
          "ErrorReason.ERROR_REASON_TOO_MUCH_UNREAD")


@promise("WatchEventsRequest.since")
def since(world):
    world.start()
    stream = lives(world, "abc")
    for event in stream.events:
        later = world.watch(since=event.observe_time)
        expected = [e.sequence for e in stream.events
                    if e.observe_time.ToNanoseconds() >= event.observe_time.ToNanoseconds()]
        later.wait("all are there", lambda s=later, n=len(expected): len(s.events) >= n)
        assert sequences(later) == expected


@promise("WatchEventsRequest.since")
def since_too_long_ago(world):
    world.start("--retention-events", "4")
    stream = lives(world, "abcd")
    wait_until("retention is done", lambda: len(world.events()) == 4)
    first, old = world.events()[0], stream.events[0]
    assert world.watch(since=old.observe_time).wait_end() == grpc.StatusCode.OUT_OF_RANGE
    retained = world.watch(since=first.observe_time)
    retained.wait("all are there", lambda: len(retained.events) >= 4)
    world.damage_journal()
    assert world.watch(since=first.observe_time).wait_end() == grpc.StatusCode.OUT_OF_RANGE


@promise("WatchEventsRequest.snapshot")
@promise("WatchEventsResponse.snapshot_vms")
@promise("WatchEventsResponse.snapshot_done")
@promise("Progress.sequence")
def snapshot(world):
    stream = world.begin()
    qemus = {name: world.started_vm(stream, name) for name in ("a", "b")}
    qemus["a"].send(qmp("STOP"))
    stream.wait_event("PAUSED", "a")
    fresh = world.watch(snapshot=True)
    fresh.wait("the snapshot is done",
               lambda: any(m.HasField("snapshot_done") for m in fresh.messages))
    done = next(i for i, m in enumerate(fresh.messages) if m.HasField("snapshot_done"))
    assert fresh.messages[0].HasField("progress")
    assert fresh.messages[0].progress.sequence == 0
    vms = [vm for message in fresh.messages[:done + 1] for vm in message.snapshot_vms]
    assert {vm.ref.name: vm.state for vm in vms} == {
        "a": pb.VM_STATE_PAUSED, "b": pb.VM_STATE_RUNNING}
    position = fresh.messages[done].snapshot_done.sequence
    qemus["b"].exit()
    fresh.wait_event("STOPPED", "b")
    assert min(sequences(fresh)) > position and "STARTED" not in fresh.types("b")


@promise("WatchEventsRequest.snapshot_stopped")
def snapshot_with_the_stopped(world):
    world.start()
    stream = lives(world, "a")
    world.started_vm(stream, "b")
    for stopped, names in ((False, {"b"}), (True, {"a", "b"})):
        fresh = world.watch(snapshot=True, snapshot_stopped=stopped)
        fresh.wait("the snapshot is done",
                   lambda s=fresh: any(m.HasField("snapshot_done") for m in s.messages))
        vms = [vm for message in fresh.messages for vm in message.snapshot_vms]
        assert {vm.ref.name for vm in vms} == names, vms
        assert all(vm.HasField("shutdown") == (vm.ref.name == "a") for vm in vms), vms
    assert world.watch(from_oldest=True, snapshot_stopped=True).wait_end() == grpc.StatusCode.INVALID_ARGUMENT


@promise("VmEventService")
@promise("WatchEventsResponse")
@promise("WatchEventsResponse.events")
def batches(world):
    stream, qemu = world.follow()
    pad = "x" * 3000
    for _ in range(60):
        qemu.send(qmp("BLOCK_IO_ERROR", {"pad": pad}) * 3)
    qemu.send(qmp("POWERDOWN"))
    stream.wait_event("POWERDOWN_REQUESTED")
    behind = world.oldest()
    behind.wait_event("POWERDOWN_REQUESTED")
    assert behind.events == stream.events
    assert max(len(message.events) for message in behind.messages) > 1
    assert world.call("ListEvents", page_size=1000).ByteSize() <= 1 << 20
    for message in stream.messages + behind.messages:
        assert message.ByteSize() <= 256 << 10
        parts = b"".join(pb.WatchEventsResponse(events=[e]).SerializeToString()
                         for e in message.events)
        assert pb.WatchEventsResponse.FromString(parts).events == message.events


elsewhere("tests/server/stream/stream_cursor_test.cc:StreamCursor.SinceIsEveryEventObservedAtThatTimeOrLater",
          "VmEventService", "9")


@promise("VmEventService", "8")
def the_order_of_a_run(world):
    stream = world.begin()
    qemus = {name: world.started_vm(stream, name) for name in ("a", "b")}
    names = ["STOP", "RESUME", "SUSPEND", "WAKEUP", "POWERDOWN"]
    for what in names:
        for qemu in qemus.values():
            qemu.send(qmp(what))
    for name in qemus:
        stream.wait_event("POWERDOWN_REQUESTED", name)
        assert [e.qmp_event for e in stream.events if e.vm.name == name and e.qmp_event] == names


@promise("EventFilter")
def what_a_filter_does_to_a_snapshot(world):
    stream = world.begin()
    for name in ("a1", "a2", "b1"):
        world.started_vm(stream, name)
    for fields, expected in (({"vm_names": ["a*"]}, {"a1", "a2"}), ({"vm_names": ["b1"]}, {"b1"}),
                             ({"sources": ["qmp:*"]}, {"a1", "a2", "b1"}),
                             ({"sources": ["libvirt:*"]}, set()),
                             ({"sources": ["qmp:*"], "vm_names": ["b*"]}, {"b1"}),
                             ({"types": [pb.EVENT_TYPE_STOPPED]}, {"a1", "a2", "b1"}),
                             ({"classes": [pb.SHUTDOWN_CLASS_USER]}, {"a1", "a2", "b1"})):
        fresh = world.watch(snapshot=True, filter=fields)
        fresh.wait("the snapshot is done",
                   lambda s=fresh: any(m.HasField("snapshot_done") for m in s.messages))
        names = {vm.ref.name for message in fresh.messages for vm in message.snapshot_vms}
        assert names == expected, (fields, names)
