"""ListEvents and ListVms, and the patterns of names."""

import signal

from check_streams import lives
from promises import elsewhere, headline, promise
from world import code, pb, qmp, wait_until

headline("ListEvents", "Pages through retained events.")
headline("ListEventsRequest", "Which events to list.")
headline("ListEventsResponse", "One page.")
headline("ListVmsResponse", "One page.")
elsewhere("tests/server/rpc/list_vms_test.cc:QueriesTest.EndsAPageOfVmsBeforeItIsTooLong",
          "ListVmsResponse",
          "It may hold fewer VMs than requested, even none, without being the last, like a page "
          "of ListEvents.")


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


@promise("ListEventsRequest.filter", "unset: all events")
@promise("ListEventsRequest.page_size", "0: 100; at most 1000")
@promise("ListEventsRequest.newest_first", "false: oldest first")
@promise("ListEventsResponse.events", "in the requested order")
@promise("ListEventsResponse.next_page_token", "empty: there are no more")
@promise("ListEventsResponse",
         "It may hold fewer events than requested, even none, without being the last: a page "
         "ends at 1 MiB, or when the search takes long.")
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
    world.refused("INVALID_ARGUMENT", "ListEvents", page_size=1001)
    for newest_first in (False, True):
        lengths, found = page_by_page(world, "ListEvents", "events", page_size=7,
                                      newest_first=newest_first)
        assert found == (every[::-1] if newest_first else every)
        assert max(lengths) <= 7
    no_match = world.call("ListEvents", filter={"vm_names": ["no such VM"]})
    assert not no_match.events and not no_match.next_page_token
    assert world.events(filter={}) == world.events() == every


@promise("ListEventsRequest.page_token",
         "From the previous page, with the same other fields; page_size may change.")
@promise("ListVmsRequest.page_token",
         "From the previous page, with the same other fields; page_size may change.")
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


@promise("ListEventsRequest.start_time",
         "Only retained events observed at or after this time, as by WatchEventsRequest.since; "
         "never OUT_OF_RANGE, however early it is.")
@promise("ListEventsRequest.end_time", "only events observed before this time")
def times(world):
    world.start()
    every = list(lives(world, "abc").events)
    for middle in every:
        at = middle.observe_time.ToNanoseconds()
        assert world.events(start_time=middle.observe_time) == [
            e for e in every if e.observe_time.ToNanoseconds() >= at]
        assert world.events(end_time=middle.observe_time) == [
            e for e in every if e.observe_time.ToNanoseconds() < at]


@promise("ListEvents", "INVALID_ARGUMENT: the token was issued for other fields, or is no token.",
         "An unset filter and an empty one are the same.")
def an_empty_filter(world):
    world.start()
    lives(world, "a")
    page = world.call("ListEvents", page_size=1)
    empty = world.call("ListEvents", page_size=1, filter={}, page_token=page.next_page_token)
    assert code(empty) == "OK", empty
    assert code(world.call("ListEvents", page_size=1, page_token=empty.next_page_token)) == "OK"


@promise("ListVms", "OUT_OF_RANGE: page_token is from before the journal was replaced.",
         "Start again without a token.")
def a_token_of_a_replaced_journal(world):
    world.start()
    lives(world, "ab")
    events = world.call("ListEvents", page_size=1).next_page_token
    vms = world.call("ListVms", page_size=1, include_stopped=True).next_page_token
    world.damage_journal()
    world.refused("OUT_OF_RANGE", "ListEvents", page_size=1, page_token=events)
    world.refused("OUT_OF_RANGE", "ListVms", page_size=1, include_stopped=True, page_token=vms)
    assert code(world.call("ListEvents", page_size=1)) == "OK"


@promise("ListEvents", "OUT_OF_RANGE: retention has deleted the events where the page of "
                       "page_token begins, or the token belongs to a journal that was replaced.",
         "Start again without a token.")
def retention_passes_a_page(world):
    world.start("--retention-events", "4")
    stream = lives(world, "a")
    page = world.call("ListEvents", page_size=1)
    assert page.next_page_token
    lives(world, "bcd", stream)
    wait_until("retention has passed the page",
               lambda: world.info().oldest_sequence > page.events[0].sequence + 1)
    world.refused("OUT_OF_RANGE", "ListEvents", page_size=1, page_token=page.next_page_token)


@promise("ListVms", "Lists the known VMs, with include_stopped also those that have stopped.")
@promise("ListVmsRequest",
         "Which VMs to list: those that match one entry of every list that is not empty.")
@promise("ListVmsRequest.include_stopped", "also those that have stopped, the latest 10,000")
@promise("ListVmsRequest.states", "at most 1000")
@promise("ListVmsRequest.page_size", "0: 100; at most 1000")
@promise("ListVmsResponse.vms", "by name")
@promise("ListVmsResponse.next_page_token", "empty: there are no more")
@promise("ListVmsResponse.sequence", "the state is as of this event")
@promise("ListVmsResponse.journal_id", "the journal of the sequence")
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
    world.refused("INVALID_ARGUMENT", "ListVms", page_size=1001)
    world.refused("INVALID_ARGUMENT", "ListVms", states=[pb.VM_STATE_PAUSED] * 1001)


@promise("ListVmsResponse",
         "A WatchEvents stream after `sequence` of the first page misses no change.")
def from_a_list_to_a_stream(world):
    stream, qemu = world.follow()
    answer = world.call("ListVms")
    qemu.send(qmp("STOP"))
    follower = world.watch(after_sequence=answer.sequence, journal_id=answer.journal_id)
    follower.wait_event("PAUSED")
    assert follower.types() == ["PAUSED"]


@promise("EventFilter",
         "A GAP of the whole node (its vm is unset) passes every filter: the missing events may "
         "have matched.")
def a_gap_passes_every_filter(world):
    world.follow()
    world.damage_journal()
    fields = {"vm_names": ["no such VM"], "types": [pb.EVENT_TYPE_STOPPED]}
    stream = world.oldest(filter=fields)
    stream.wait("the GAP passes", lambda: stream.events)
    assert all(e.type == pb.EVENT_TYPE_GAP and not e.HasField("vm") for e in stream.events)
    assert world.events(filter=fields) == stream.events


# Lists of patterns beyond a limit.
TOO_MUCH = (["x"] * 1001, ["x" * 1025], ["x" * 1000] * 66, ["x*"] * 33)


@promise("EventFilter.vm_names",
         "Names or glob patterns: * ? [a-z] [!a-z], where ? and a bracket match one byte.",
         "An entry that is a VM's name matches that VM, also one that reads as a pattern.",
         "At most 1000, of 1 KiB each and 64 KiB together, and at most 32 with a wildcard.")
@promise("ListVmsRequest.vm_names", "glob patterns, as in EventFilter")
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


@promise("EventFilter.sources",
         "Names or glob patterns of VmRef.source, with the rules and limits of vm_names, as "
         "\"libvirt:*\".")
@promise("ListVmsRequest.sources", "of VmRef.source, as in EventFilter")
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


elsewhere("tests/system/libvirt_test.cc:LibvirtTest.LabelsSayWhoseADomainIs", "VmRef.labels",
          "What the metadata of its libvirt domain says of its owner, or what was set by hand for it: "
          "docs/libvirt.md, \"Labels\".")
elsewhere("tests/watcher/libvirt/domain_xml_test.cc:DomainLabelsTest.WhatPeopleWriteIsBounded",
          "VmRef.labels", "At most 16.",
          "A key has at most 63 bytes of letters, digits, \".\", \"_\", \"-\" and \"/\", a value at most 128 "
          "bytes of one line.")
elsewhere("tests/system/libvirt_test.cc:LibvirtTest.LabelsSayWhoseADomainIs", "EventFilter.labels",
          "The first events of a VM may be from before libvirt has said its labels: they have none.")
elsewhere("tests/base/base_test.cc:LabelSelectorTest.EveryConditionMustHold", "EventFilter.labels",
          "A selector matches if each of its conditions, separated by commas, holds: the label has the value "
          "(=), it has another or there is no such label (!=), there is such a label (its key alone), there is "
          "none (\"!\" and the key).",
          "A backslash before a comma or a backslash of a value takes it as it is.")


# With labels: LibvirtTest.LabelsSayWhoseADomainIs.
@promise("EventFilter.labels",
         "Selectors of VmRef.labels, as \"app=web,tier!=db,owner,!canary\".",
         "At most 100 selectors, of 1 KiB and 16 conditions each.")
@promise("ListVmsRequest.labels", "selectors, as in EventFilter")
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


@promise("EventFilter.uuids",
         "As 550e8400-e29b-41d4-a716-446655440000, in either case; at most 1000.",
         "A VM's first event, STARTED, may be of before QEMU has said its UUID: it does not pass "
         "then.")
@promise("EventFilter.causes", "passes events with such a ShutdownDetail; at most 1000")
@promise("EventFilter.run_ids", "exact; at most 1000, of 1 KiB each")
@promise("ListVmsRequest.uuids", "as in EventFilter")
def uuids_causes_and_runs(world):
    stream = world.begin()
    world.started_vm(stream, "a", uuid=UUID)
    world.started_vm(stream, "b").kill()
    run = stream.wait_event("STOPPED", "b").vm.run_id
    killed, panicked = pb.SHUTDOWN_CAUSE_QEMU_KILLED, pb.SHUTDOWN_CAUSE_GUEST_PANIC
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
