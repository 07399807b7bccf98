#!/usr/bin/python3
"""Makes a fixture of upgrade_test.py: the state that a released vmeventd left when it was killed.

  make_fixture.py VMEVENTD FAKE_QEMU DIRECTORY

Both programs are of that release, built from its commit. DIRECTORY gets state.tar.xz, the
state directory, and `answers`, what that daemon itself said of it.
"""

import pathlib
import signal
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402
from world import pb, qmp  # noqa: E402


def live(scene):
    """Lives of VMs that leave every kind of event in the journal."""
    scene.start()
    stream = scene.oldest()
    endings = {
        "user": (qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}), None),
        "admin": (qmp("POWERDOWN") + qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}), None),
        "crash": (qmp("GUEST_PANICKED", {"action": "poweroff"}), None),
        "killed": ("", signal.SIGKILL),
        "intended": ("", signal.SIGKILL),
    }
    for name, (said, number) in endings.items():
        qemu = scene.started_vm(stream, name, uuid="12345678-9abc-def0-1234-56789abcdef0")
        if name == "intended":
            scene.declare(name, "an actor", "a reason")
        qemu.send(said)
        if number is None:
            qemu.exit()
        else:
            qemu.kill(number)
        stream.wait_event("STOPPED", name)
    # These still run when the daemon is killed.
    scene.started_vm(stream, "running")
    scene.started_vm(stream, "pressed").send(qmp("POWERDOWN"))
    stream.wait_event("POWERDOWN_REQUESTED", "pressed")
    scene.started_vm(stream, "paused").send(qmp("STOP"))
    stream.wait_event("PAUSED", "paused")
    scene.started_vm(stream, "meant")
    scene.declare("meant", "an actor", "a reason", ttl={"seconds": 24 * 3600})
    stream.wait_event("INTENT_DECLARED", "meant")


def anonymous(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def main():
    world.PROGRAMS.update(vmeventd=sys.argv[1], fake_qemu=sys.argv[2])
    target = pathlib.Path(sys.argv[3])
    scene = world.World()
    try:
        live(scene)
        page = scene.call("ListEvents", page_size=5)
        answers = {
            "info": scene.info(),
            "events": pb.ListEventsResponse(events=scene.events(), next_page_token=page.next_page_token),
            "vms": scene.call("ListVms", include_stopped=True, page_size=1000),
        }
        scene.stop(signal.SIGKILL)
        (target / "answers").mkdir(parents=True, exist_ok=True)
        for name, answer in answers.items():
            (target / "answers" / name).write_bytes(answer.SerializeToString(deterministic=True))
        with tarfile.open(target / "state.tar.xz", "w:xz") as archive:
            for path in sorted(scene.state.iterdir()):
                if path.name.endswith("-shm") or not path.is_file():
                    continue  # SQLite creates it again
                archive.add(path, path.name, filter=anonymous)
    finally:
        scene.close()


if __name__ == "__main__":
    main()
