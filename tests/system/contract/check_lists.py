"""ListEvents and ListVms, and the patterns of names."""

import os
import signal
import time

from check_streams import lives
from promises import elsewhere, promise
from world import code, pb, qmp, wait_until

elsewhere("tests/server/access/access_grpc_test.cc:Tls.AStreamIsListedWithItsCertificatesNames",
          "Stream.certificate_names")
elsewhere("tests/server/rpc/event_counts_test.cc:EventCountsTest.KeysBeyondTheLimitsAreCountedAsOthers",
          "CountEventsResponse.others")


def page_by_page(world, method, field, **fields):
    """The pages' lengths and everything on them."""
    lengths, found, token = [], [], ""
    while True:
        page = world.call(method, page_token=token, **fields)
        assert code(page) == "OK", page
        lengths.append(len(getattr(page, field)))
        found += getattr(page, field)
        token = page.next_page_token
        if not token:
            return lengths, found


@promise("ListStreams")
@promise("ListStreamsRequest.page_size")
@promise("ListStreamsRequest.page_token")
@promise("ListStreamsResponse.streams")
@promise("ListStreamsResponse.next_page_token")
@promise("Stream.stream_id")
@promise("Progress.stream_id")
@promise("Stream.peer")
@promise("Stream.filter")
@promise("Stream.sequence")
@promise("Stream.lag")
@promise("Stream.open_time")
def the_open_streams(world):
    before = time.time_ns()
    stream, _ = world.follow()
    others = [world.oldest(filter={"vm_names": ["a*"]}) for _ in range(4)]
    for each in [stream, *others]:
        each.wait("it has begun", lambda s=each: s.messages)
    ids = {each.messages[0].progress.stream_id for each in [stream, *others]}
    assert "" not in ids and not any(message.progress.stream_id for message in stream.messages[1:])
    _, found = page_by_page(world, "ListStreams", "streams", page_size=2)
    assert [each.stream_id for each in found] == sorted(ids), found
    filtered = [each for each in found if each.HasField("filter")]
    assert len(filtered) == 4 and all(list(each.filter.vm_names) == ["a*"] for each in filtered), found
    for each in found:
        assert each.peer == f"user {os.getuid()}" and not each.certificate_names, each
        assert before <= each.open_time.ToNanoseconds() <= time.time_ns(), each
    wait_until("all are at the newest event", lambda: all(
        (each.sequence, each.lag) == (world.info().newest_sequence, 0) for each in world.call("ListStreams").streams))
    world.refused("INVALID_ARGUMENT", "ListStreams", page_token="no token")
    world.refused("INVALID_ARGUMENT", "ListStreams", page_size=-1)


@promise("ListEventsRequest.filter")
@promise("ListEventsRequest.page_size")
@promise("ListEventsRequest.newest_first")
@promise("ListEventsResponse.events")
@promise("ListEventsResponse.next_page_token")
@promise("ListEventsResponse")
def pages_of_events(world):
    world.start()
    stream = lives(world, "a")
    qemu = world.started_vm(stream, "b")
    for _ in range(60):
        qemu.send(qmp("STOP") + qmp("RESUME"))
    qemu.send(qmp("POWERDOWN"))
    stream.wait_event("POWERDOWN_REQUESTED", "b")
    every = list(stream.events)
    assert len(every) > 100
    assert len(world.call("ListEvents").events) == 100
    assert len(world.call("ListEvents", page_size=1000).events) == len(every)
    assert code(world.call("ListEvents", page_size=1001)) == "OK"
    for newest_first in (False, True):
        lengths, found = page_by_page(world, "ListEvents", "events", page_size=7,
                                      newest_first=newest_first)
        assert found == (every[::-1] if newest_first else every)
        assert max(lengths) <= 7
    no_match = world.call("ListEvents", filter={"vm_names": ["no such VM"]})
    assert not no_match.events and not no_match.next_page_token
    assert world.events(filter={}) == world.events() == every


@promise("ListEventsRequest.page_token")
@promise("ListVmsRequest.page_token")
def page_tokens(world):
    world.start()
    lives(world, "abc")
    page = world.call("ListEvents", page_size=2)
    other = {"page_token": page.next_page_token}
    for fields in ({"newest_first": True}, {"filter": {"vm_names": ["a"]}},
                   {"start_time": page.events[0].observe_time}):
        world.refused("INVALID_ARGUMENT", "ListEvents", page_size=2, **other, **fields)
    assert code(world.call("ListEvents", page_size=2, **other)) == "OK"
    every = list(world.call("ListEvents").events)
    for size in (1, 3, 100):
        assert list(world.call("ListEvents", page_size=size, **other).events) == every[2:2 + size]
    page = world.call("ListVms", page_size=1, include_stopped=True)
    other = {"page_token": page.next_page_token}
    world.refused("INVALID_ARGUMENT", "ListVms", page_size=1, **other)
    assert code(world.call("ListVms", page_size=1, include_stopped=True, **other)) == "OK"
    every = list(world.call("ListVms", include_stopped=True).vms)
    world.restart(signal.SIGKILL)  # which leaves tokens and stopped VMs as they are
    assert list(world.call("ListVms", include_stopped=True).vms) == every
    for size in (2, 100):
        next_page = world.call("ListVms", page_size=size, include_stopped=True, **other)
        assert list(next_page.vms) == every[1:1 + size]
    changed = ("B" if page.next_page_token[0] == "A" else "A") + page.next_page_token[1:]
    for method in ("ListEvents", "ListVms"):
        for token in ("forged", changed):
            world.refused("INVALID_ARGUMENT", method, page_token=token)


@promise("CountEvents")
@promise("CountEventsRequest.filter")
@promise("CountEventsRequest.start_time")
@promise("CountEventsRequest.end_time")
@promise("CountEventsRequest.by")
@promise("CountEventsRequest.utc_offset")
@promise("CountEventsRequest.page_token")
@promise("CountEventsResponse.counts")
@promise("CountEventsResponse.next_page_token")
@promise("EventCount.key")
@promise("EventCount.events")
@promise("CountKey.COUNT_KEY_WHO")
@promise("CountKey.COUNT_KEY_VM")
@promise("CountKey.COUNT_KEY_CLASS")
@promise("CountKey.COUNT_KEY_CAUSE")
@promise("CountKey.COUNT_KEY_TYPE")
@promise("CountKey.COUNT_KEY_DAY")
@promise("CountKey.COUNT_KEY_HOUR")
@promise("CountKey.COUNT_KEY_MINUTE")
def counts_of_events(world):
    world.start()
    every = list(lives(world, "aab").events)
    ends = [each for each in every if each.type == pb.EVENT_TYPE_STOPPED]

    def count(by, **fields):
        answer = world.call("CountEvents", by=by, **fields)
        assert code(answer) == "OK", answer
        assert not answer.next_page_token and not answer.others, answer
        return [(each.key, each.events) for each in answer.counts]

    stopped = {"filter": {"types": [pb.EVENT_TYPE_STOPPED]}}
    assert count(pb.COUNT_KEY_VM, **stopped) == [("a", 2), ("b", 1)]
    assert count(pb.COUNT_KEY_VM) == [("a", 8), ("b", 4)]
    assert dict(count(pb.COUNT_KEY_TYPE))["STARTED"] == 3
    name = pb.ShutdownClass.Name(ends[0].shutdown.shutdown_class).removeprefix("SHUTDOWN_CLASS_")
    assert count(pb.COUNT_KEY_CLASS, **stopped) == [(name, 3)]
    name = pb.ShutdownCause.Name(ends[0].shutdown.cause).removeprefix("SHUTDOWN_CAUSE_")
    assert count(pb.COUNT_KEY_CAUSE, **stopped) == [(name, 3)]
    assert [events for _, events in count(pb.COUNT_KEY_WHO, **stopped)] == [3]
    for key, text in ((pb.COUNT_KEY_DAY, "%Y-%m-%d"), (pb.COUNT_KEY_HOUR, "%Y-%m-%d %H"), (pb.COUNT_KEY_MINUTE, "%Y-%m-%d %H:%M")):
        times = {time.strftime(text, time.gmtime(each.observe_time.seconds + 3600)) for each in ends}
        assert {found for found, _ in count(key, utc_offset={"seconds": 3600}, **stopped)} == times
    one = {"start_time": ends[1].observe_time, "end_time": ends[2].observe_time}
    assert sum(events for _, events in count(pb.COUNT_KEY_VM, **one, **stopped)) == len(
        [each for each in ends if one["start_time"].ToNanoseconds() <= each.observe_time.ToNanoseconds()
         < one["end_time"].ToNanoseconds()])
    assert count(pb.COUNT_KEY_VM, filter={"vm_names": ["b"], **stopped["filter"]}) == [("b", 1)]
    world.restart(signal.SIGKILL)
    gaps = {"filter": {"types": [pb.EVENT_TYPE_GAP]}}
    wait_until("the GAP of the whole node", lambda: count(pb.COUNT_KEY_TYPE, **gaps))
    assert [key for key, _ in count(pb.COUNT_KEY_TYPE, **gaps)] == ["GAP"]
    assert "GAP" not in dict(count(pb.COUNT_KEY_TYPE))
    world.refused("INVALID_ARGUMENT", "CountEvents")
    world.refused("INVALID_ARGUMENT", "CountEvents", by=pb.COUNT_KEY_VM, page_token="forged")
    world.refused("INVALID_ARGUMENT", "CountEvents", by=pb.COUNT_KEY_DAY, utc_offset={"seconds": 90000})


@promise("ListEventsRequest.start_time")
@promise("ListEventsRequest.end_time")
def times(world):
    world.start()
    every = list(lives(world, "abc").events)
    for middle in every:
        at = middle.observe_time.ToNanoseconds()
        assert world.events(start_time=middle.observe_time) == [
            e for e in every if e.observe_time.ToNanoseconds() >= at]
        assert world.events(end_time=middle.observe_time) == [
            e for e in every if e.observe_time.ToNanoseconds() < at]


@promise("ListEvents", "INVALID_ARGUMENT", "")
def an_empty_filter(world):
    world.start()
    lives(world, "a")
    page = world.call("ListEvents", page_size=1)
    empty = world.call("ListEvents", page_size=1, filter={}, page_token=page.next_page_token)
    assert code(empty) == "OK", empty
    assert code(world.call("ListEvents", page_size=1, page_token=empty.next_page_token)) == "OK"


@promise("ListVms", "OUT_OF_RANGE", "")
@promise("ErrorReason.ERROR_REASON_JOURNAL_REPLACED")
def a_token_of_a_replaced_journal(world):
    world.start()
    lives(world, "ab")
    events = world.call("ListEvents", page_size=1).next_page_token
    vms = world.call("ListVms", page_size=1, include_stopped=True).next_page_token
    world.damage_journal()
    world.refused("OUT_OF_RANGE JOURNAL_REPLACED", "ListEvents", page_size=1, page_token=events)
    world.refused("OUT_OF_RANGE JOURNAL_REPLACED", "ListVms", page_size=1, include_stopped=True, page_token=vms)
    assert code(world.call("ListEvents", page_size=1)) == "OK"


@promise("ListEvents", "OUT_OF_RANGE", "")
def retention_passes_a_page(world):
    world.start("--retention-events", "4")
    stream = lives(world, "a")
    page = world.call("ListEvents", page_size=1)
    assert page.next_page_token
    lives(world, "bcd", stream)
    wait_until("retention has passed the page",
               lambda: world.info().oldest_sequence > page.events[0].sequence + 1)
    world.refused("OUT_OF_RANGE", "ListEvents", page_size=1, page_token=page.next_page_token)


@promise("ListVms")
@promise("ListVmsRequest")
@promise("ListVmsRequest.include_stopped")
@promise("ListVmsRequest.states")
@promise("ListVmsRequest.page_size")
@promise("ListVmsResponse.vms")
@promise("ListVmsResponse.next_page_token")
@promise("ListVmsResponse.sequence")
@promise("ListVmsResponse.journal_id")
def lists_of_vms(world):
    stream = world.begin()
    qemus = {name: world.started_vm(stream, name) for name in ("web2", "db1", "web1")}
    qemus["web1"].send(qmp("STOP"))
    stream.wait_event("PAUSED", "web1")
    qemus["db1"].exit()
    stopped = stream.wait_event("STOPPED", "db1")

    def names(**fields):
        return [vm.ref.name for vm in world.call("ListVms", **fields).vms]
    assert names() == ["web1", "web2"]
    assert names(include_stopped=True) == ["db1", "web1", "web2"]
    assert names(states=[pb.VM_STATE_PAUSED]) == ["web1"]
    assert names(states=[pb.VM_STATE_PAUSED, pb.VM_STATE_RUNNING], vm_names=["*2"]) == ["web2"]
    answer = world.call("ListVms")
    assert answer.sequence == stopped.sequence and answer.journal_id == world.info().journal_id
    lengths, vms = page_by_page(world, "ListVms", "vms", page_size=1, include_stopped=True)
    assert [vm.ref.name for vm in vms] == ["db1", "web1", "web2"] and max(lengths) == 1
    assert code(world.call("ListVms", page_size=1001)) == "OK"
    world.refused("INVALID_ARGUMENT", "ListVms", states=[pb.VM_STATE_PAUSED] * 1001)


@promise("ListVmsResponse")
def from_a_list_to_a_stream(world):
    stream, qemu = world.follow()
    answer = world.call("ListVms")
    qemu.send(qmp("STOP"))
    follower = world.watch(after_sequence=answer.sequence, journal_id=answer.journal_id)
    follower.wait_event("PAUSED")
    assert follower.types() == ["PAUSED"]


@promise("EventFilter")
def a_gap_passes_every_filter(world):
    world.follow()
    world.damage_journal()
    fields = {"vm_names": ["no such VM"], "types": [pb.EVENT_TYPE_STOPPED]}
    stream = world.oldest(filter=fields)
    stream.wait("the GAPs of the new journal and of the absence pass", lambda: len(stream.events) == 2)
    assert all(e.type == pb.EVENT_TYPE_GAP and not e.HasField("vm") for e in stream.events)
    assert world.events(filter=fields) == stream.events


# Lists of patterns beyond a limit.
TOO_MUCH = (["x"] * 1001, ["x" * 1025], ["x" * 1000] * 66, ["x*"] * 33)


@promise("EventFilter.vm_names")
@promise("ListVmsRequest.vm_names")
def patterns(world):
    stream = world.begin()
    for name in ("web1", "web2", "webx", "db", "[prod] x", "a,c"):
        world.started_vm(stream, name)
    for pattern, expected in (
            ("*", ["[prod] x", "a,c", "db", "web1", "web2", "webx"]), ("web?", ["web1", "web2", "webx"]),
            ("[prod] x", ["[prod] x"]), ("a,c", ["a,c"]),
            ("web[0-9]", ["web1", "web2"]), ("web[!0-9]", ["webx"]), ("web", []), ("*b", ["db"])):
        listed = [vm.ref.name for vm in world.call("ListVms", vm_names=[pattern]).vms]
        assert listed == expected, (pattern, listed)
        seen = {event.vm.name for event in world.events(filter={"vm_names": [pattern]})}
        assert seen == set(expected), (pattern, seen)
    assert world.call("ListVms", vm_names=["web1"] + ["x"] * 967 + ["web2*"] * 32).vms
    for names in TOO_MUCH:
        world.refused("INVALID_ARGUMENT", "ListVms", vm_names=names)
        world.refused("INVALID_ARGUMENT", "ListEvents", filter={"vm_names": names})


@promise("EventFilter.sources")
@promise("ListVmsRequest.sources")
def patterns_of_sources(world):
    other = world.path / "other"
    other.mkdir()
    world.watches.append(f"{other}:*.kvmd")
    stream = world.begin()
    world.started_vm(stream, "a")
    world.vm("b", directory=other)
    stream.wait_event("STARTED", "b")
    for pattern, expected in (
            ("*", ["a", "b"]), ("qmp:*", ["a", "b"]), ("libvirt:*", []), (f"qmp:{other}", ["b"]),
            (f"qmp:{world.monitors}", ["a"]), (f"qmp:{world.path}/[!c]*", ["b"]), (str(other), [])):
        listed = [vm.ref.name for vm in world.call("ListVms", sources=[pattern]).vms]
        assert listed == expected, (pattern, listed)
        for fields in ({}, {"types": [pb.EVENT_TYPE_STARTED]}):
            found = world.events(filter={"sources": [pattern], **fields})
            assert sorted({event.vm.name for event in found}) == expected, (pattern, found)
    assert not world.events(filter={"sources": [f"qmp:{other}"], "vm_names": ["a"]})
    limit = [f"qmp:{other}"] + ["x"] * 967 + ["y*"] * 32
    assert [vm.ref.name for vm in world.call("ListVms", sources=limit).vms] == ["b"]
    for sources in TOO_MUCH:
        world.refused("INVALID_ARGUMENT", "ListVms", sources=sources)
        message = world.refused("INVALID_ARGUMENT", "ListEvents", filter={"sources": sources})
        assert "filter.sources" in message, message


elsewhere("tests/watcher/libvirt/libvirt_source_test.cc:"
          "LibvirtSourceTest.LabelsComeWithTheDetailsAndStandInTheNextEvent", "VmRef.labels")


# With labels: LibvirtTest.LabelsComeFromADomainsMetadata.
@promise("EventFilter.labels")
@promise("ListVmsRequest.labels")
def selectors_of_labels(world):
    stream = world.begin()
    world.started_vm(stream, "a")
    for labels, expected in ((["!app"], ["a"]), (["app!=web,tier!=db"], ["a"]), (["app"], []), (["app=web"], []),
                             (["app", "!app"], ["a"]), (["a" * 63 + "!=" + "x" * 959] * 100, ["a"]),
                             ([",".join(["!a"] * 16)], ["a"])):
        assert [vm.ref.name for vm in world.call("ListVms", labels=labels).vms] == expected, labels
        found = {event.vm.name for event in world.events(filter={"labels": labels})}
        assert sorted(found) == expected, (labels, found)
    for labels in ([""], ["app in (web)"], ["app=web,"], ["!a"] * 101, [",".join(["!a"] * 17)],
                   ["a=" + "x" * 1023]):
        world.refused("INVALID_ARGUMENT", "ListVms", labels=labels)
        message = world.refused("INVALID_ARGUMENT", "ListEvents", filter={"labels": labels})
        assert "filter.labels" in message, message


UUID = "550e8400-e29b-41d4-a716-446655440000"
OTHER_UUID = "00000000-e29b-41d4-a716-446655440000"


@promise("EventFilter.uuids")
@promise("EventFilter.causes")
@promise("EventFilter.run_ids")
@promise("ListVmsRequest.uuids")
def uuids_causes_and_runs(world):
    stream = world.begin()
    world.started_vm(stream, "a", uuid=UUID)
    world.started_vm(stream, "b").kill()
    run = stream.wait_event("STOPPED", "b").vm.run_id
    killed, panicked = pb.SHUTDOWN_CAUSE_UNOBSERVED, pb.SHUTDOWN_CAUSE_GUEST_PANIC
    for uuids, expected in (([UUID], ["a"]), ([UUID.upper()], ["a"]), ([OTHER_UUID], []),
                            ([OTHER_UUID, UUID], ["a"])):
        listed = [vm.ref.name for vm in world.call("ListVms", uuids=uuids).vms]
        assert listed == expected, (uuids, listed)
        with_uuid = [e.sequence for e in world.events() if e.vm.uuid.upper() in [u.upper() for u in uuids]]
        assert [e.sequence for e in world.events(filter={"uuids": uuids})] == with_uuid, uuids
    ends = [e.sequence for e in world.events() if e.shutdown.cause == killed]
    assert ends and [e.sequence for e in world.events(filter={"causes": [killed]})] == ends
    assert not world.events(filter={"causes": [panicked]})
    of_run = [e.sequence for e in world.events() if e.vm.run_id == run]
    assert of_run and [e.sequence for e in world.events(filter={"run_ids": [run, "x"]})] == of_run
    assert not world.events(filter={"run_ids": [run[:-1] + "*"]})
    later = world.oldest(filter={"causes": [killed, panicked], "run_ids": [run]})
    assert later.wait_event("STOPPED", "b").vm.run_id == run
    for field, values in (("uuids", ["web1"]), ("uuids", [UUID] * 1001), ("causes", [killed] * 1001),
                          ("causes", [0]), ("run_ids", ["x"] * 1001), ("run_ids", ["x" * 1025])):
        message = world.refused("INVALID_ARGUMENT", "ListEvents", filter={field: values})
        assert f"filter.{field}" in message, message
    assert "uuids[0]" in world.refused("INVALID_ARGUMENT", "ListVms", uuids=[UUID[:-1]])
