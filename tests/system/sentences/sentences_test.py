#!/usr/bin/python3
"""vmevents against a daemon, and against the same one with every sentence in other words: it does the same.

  sentences_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402
from other_sentences import OTHER  # noqa: E402
from world import pb, qmp  # noqa: E402

SENTENCES = {"message", "what", "text", "core"}  # members of JSON


def without_sentences(value):
    if isinstance(value, dict):
        return {name: without_sentences(one) for name, one in value.items() if name not in SENTENCES}
    return [without_sentences(one) for one in value] if isinstance(value, list) else value


class SentencesTest(world.WorldTest):

    def setUp(self):
        super().setUp()
        self.stream = self.world.begin("--max-streams", "6")  # three of one peer
        self.other = self.world.path / "other"
        self.world.change_sentences(self.other)

    def run_at(self, server, *command):
        done = subprocess.run([world.PROGRAMS["vmevents"], "--server", f"unix:{server}", *command], check=False,
                              capture_output=True, text=True, timeout=world.patience())
        texts = [done.stdout, done.stderr]
        for address in (self.world.own_socket, self.other):
            texts = [text.replace(str(address), "SERVER") for text in texts]
        return done.returncode, *texts

    def is_of_world(self, finding):
        """Whether doctor says it of this test, and not of another one's QEMU: it looks at the whole machine."""
        return any(str(self.world.path) in subject for subject in finding["subjects"])

    def same(self, *command):
        """Runs the command at both. Its exit status and the members of its JSON are the same, and the own words of its
        complaint. Returns the status and the complaint."""
        direct = self.run_at(self.world.own_socket, *command)
        other = self.run_at(self.other, *command)
        self.assertEqual(other[0], direct[0], (direct, other))
        if "json" in command:
            direct_json, other_json = ([without_sentences(one) for one in map(json.loads, output.splitlines())
                                        if "doctor" not in command or self.is_of_world(one)]
                                       for _, output, _ in (direct, other))
            self.assertEqual(other_json, direct_json)
        own_words = [re.findall(r"`[^`]*`|--[a-z-]+|\(trying again\)|continuing with [a-z ]+", one[2].replace(OTHER, ""))
                     for one in (direct, other)]
        self.assertEqual(own_words[1], own_words[0], (direct, other))
        return other[0], other[2]

    def test_the_proxy_changes_only_sentences(self):
        self.world.started_vm(self.stream).kill(signal.SIGABRT)
        stopped = self.stream.wait_event("STOPPED")
        stub = world.vm_events_pb2_grpc.VmEventServiceStub(self.world.connect(f"unix:{self.other}"))
        found = stub.ListEvents(pb.ListEventsRequest(filter={"types": [pb.EVENT_TYPE_STOPPED]})).events[0]
        self.assertEqual((found.message, {one.what for one in found.shutdown.evidence}), (OTHER, {OTHER}))
        found.message = stopped.message
        for one, was in zip(found.shutdown.evidence, stopped.shutdown.evidence):
            one.what = was.what
        found.durable = stopped.durable
        self.assertEqual(found, stopped)
        refused = self.world.call("GetVm", vm_name="none")
        with self.assertRaises(world.grpc.RpcError) as raised:
            stub.GetVm(pb.GetVmRequest(vm_name="none"))
        self.assertEqual((raised.exception.details(), world.reason(raised.exception)), (OTHER, world.reason(refused)))

    def test_lists_and_stories_depend_on_no_sentence(self):
        self.world.started_vm(self.stream).kill(signal.SIGABRT)
        qemu = self.world.started_vm(self.stream, "vm2")
        qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}))
        qemu.exit()
        self.stream.wait_event("STOPPED", "vm2")
        self.world.started_vm(self.stream, "vm3").send(qmp("STOP"))
        self.stream.wait_event("PAUSED", "vm3")
        world.wait_until("all is durable", lambda: all(event.durable for event in self.world.events()))
        for command in (("events",), ("events", "--class", "crash"), ("vms", "--all"), ("vms", "--trouble"), ("info",),
                        ("health",), ("why", "vm1"), ("intent", "list"), ("stats", "--by", "class"), ("streams",)):
            with self.subTest(command):
                self.assertEqual(self.same("-o", "json", *command)[0], 0)
        for command in (("status",), ("why", "vm1"), ("why", "vm3"), ("events", "-o", "wide"), ("top", "--once"), ("why", "none"),
                        ("health", "x")):
            with self.subTest(command):
                self.same(*command)
        self.assertEqual(self.same("why", "none")[0], 3)

    def test_the_doctor_knows_problems_by_their_codes(self):
        for name in ("left.kvmd", "taken.kvmd"):
            kind = socket.SOCK_STREAM if name == "left.kvmd" else socket.SOCK_DGRAM
            bound = socket.socket(socket.AF_UNIX, kind)
            bound.bind(str(self.world.monitors / name))
            if name == "left.kvmd":
                bound.close()
            else:
                self.addCleanup(bound.close)
        world.wait_until("both are listed", lambda: len(self.world.info().unfollowed_sockets) == 2)
        status, output = self.same("-o", "json", "doctor")
        self.assertEqual((status, output), (1, ""))

    def test_a_refused_intent_has_its_hint(self):
        declare = ("intent", "declare", "vm1", "--actor", "bob", "--reason", "r")
        self.assertEqual(self.same(*declare)[0], 3)
        qemu = self.world.started_vm(self.stream)
        self.assertEqual(self.same(*declare, "--started-before", "2001-01-01")[0], 1)
        intent = self.world.declare(actor="alice")
        status, output = self.same(*declare)
        self.assertEqual(status, 1)
        self.assertIn(f"intent withdraw {intent.intent_id}`", output)
        self.world.call("WithdrawIntent", intent_id=intent.intent_id)
        self.assertEqual(self.same("intent", "withdraw", intent.intent_id)[0], 3)
        qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
        self.stream.wait_event("GUEST_SHUTDOWN")
        self.assertEqual(self.same(*declare)[0], 1)

    def test_a_watch_that_lost_its_position_resumes_at_the_same_place(self):
        self.world.started_vm(self.stream)
        watch = ("watch", "--count", "1", "-o", "json", "--from", "3", "--journal", "no-such-journal")
        status, output = self.same(*watch)
        self.assertEqual(status, 0)
        self.assertIn("continuing with the oldest event", output)

    def test_a_limit_of_streams_names_its_option(self):
        held = [self.world.watch() for _ in range(2)]
        for stream in held:
            stream.wait("it has begun", lambda s=stream: s.messages)
        for server in (self.world.own_socket, self.other):
            with open(self.world.path / "watch.log", "wb") as log:
                watch = subprocess.Popen([world.PROGRAMS["vmevents"], "--server", f"unix:{server}", "watch"], stderr=log,
                                         stdout=subprocess.DEVNULL)
            self.addCleanup(watch.wait)
            self.addCleanup(watch.kill)
            world.wait_until("it says so", lambda: "--max-streams" in (self.world.path / "watch.log").read_text())
            watch.kill()

    def test_a_refused_request_has_its_exit_status(self):
        self.assertEqual(self.same("vm", "x" * 1025)[0], self.run_at(self.world.own_socket, "vm", "x" * 1025)[0])
        self.assertEqual(self.same("intent", "declare", "vm1", "--actor", "a", "--reason", "r" * 2000)[0], 2)


if __name__ == "__main__":
    world.run_tests(__doc__)
