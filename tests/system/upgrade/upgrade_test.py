#!/usr/bin/python3
"""This vmeventd continues with the journals that released ones left when they were killed.

  upgrade_test.py VMEVENTD FAKE_QEMU [UNITTEST-ARGUMENT...]

Each v*/ is a fixture that make_fixture.py made with the programs of a release.
"""

import pathlib
import sys
import tarfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402
from world import code, pb, type_name, wait_until  # noqa: E402

RELEASES = sorted(path for path in HERE.glob("v*") if path.is_dir())
OPEN_RUNS = ("meant", "paused", "pressed", "running")


class Upgrade(unittest.TestCase):
    def each(self):
        """A new daemon on the state of each release, with the old one's answers."""
        self.assertTrue(RELEASES)
        for release in RELEASES:
            scene = world.World()
            try:
                with tarfile.open(release / "state.tar.xz") as archive:
                    archive.extractall(scene.state)
                scene.state.chmod(0o750)
                old = {
                    "info": pb.GetServerInfoResponse, "events": pb.ListEventsResponse,
                    "vms": pb.ListVmsResponse}
                old = {name: kind.FromString((release / "answers" / name).read_bytes())
                       for name, kind in old.items()}
                # Disable retention by age: the fixture only grows older.
                scene.start("--retention-age", "36500d")
                yield scene, old
            finally:
                scene.close()

    def test_every_event_is_still_there_as_it_was(self):
        for scene, old in self.each():
            self.assertEqual(scene.info().journal_id, old["info"].journal_id)
            answered = list(old["events"].events)
            self.assertEqual(scene.events()[:len(answered)], answered)
            if "event-source" not in old["info"].capabilities:
                self.assertEqual({event.vm.source for event in answered}, {""})
            stream = scene.oldest()
            stream.wait("all are there", lambda s=stream, n=len(answered): len(s.events) >= n)
            self.assertEqual(stream.events[:len(answered)], answered)

    def test_runs_that_were_open_end_once_and_as_unknown(self):
        for scene, old in self.each():
            stream = scene.oldest()
            for name in OPEN_RUNS:
                stopped = stream.wait_event("STOPPED", name)
                directory = pathlib.Path(scene.get(name).monitor_path).parent
                self.assertEqual(stopped.vm.source, f"qmp:{directory}")
                # On the fixture's own boot, an open intent decides an end that was not observed.
                self.assertIn(getattr(stopped.shutdown, "class"),
                              (pb.SHUTDOWN_CLASS_UNKNOWN,
                               pb.SHUTDOWN_CLASS_ADMIN if name == "meant" else None))
                self.assertEqual(stopped.sequence, scene.get(name).last_sequence)
            scene.restart()
            ended = [event.vm.name for event in scene.events() if type_name(event) == "STOPPED"]
            self.assertEqual(len(ended), len(set(ended)), ended)
            # Nothing was lost, so there is no GAP of the node.
            self.assertEqual([e for e in scene.events() if not e.HasField("vm")], [])

    def test_a_clients_cursor_goes_on(self):
        for scene, old in self.each():
            middle = old["events"].events[4].sequence
            stream = scene.watch(after_sequence=middle, journal_id=old["info"].journal_id)
            rest = [event for event in old["events"].events if event.sequence > middle]
            stream.wait("the rest is there", lambda s=stream, n=len(rest): len(s.events) >= n)
            self.assertEqual(stream.events[:len(rest)], rest)

    def test_a_page_token_goes_on(self):
        for scene, old in self.each():
            page = scene.call("ListEvents", page_size=5, page_token=old["events"].next_page_token)
            self.assertEqual(code(page), "OK", page)
            self.assertEqual(list(page.events), list(old["events"].events[5:10]))

    def test_stopped_vms_are_still_listed(self):
        for scene, old in self.each():
            for vm in old["vms"].vms:
                if vm.state == pb.VM_STATE_STOPPED:
                    self.assertEqual(scene.get(vm.ref.name), vm)

    def test_new_vms_get_new_sequences(self):
        for scene, old in self.each():
            scene.vm("new")
            wait_until("the VM is followed", lambda s=scene: s.get("new").qemu_version)
            started = next(e for e in scene.events() if e.vm.name == "new")
            self.assertGreater(started.sequence, old["info"].newest_sequence)


if __name__ == "__main__":
    world.PROGRAMS.update(vmeventd=sys.argv[1], fake_qemu=sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
