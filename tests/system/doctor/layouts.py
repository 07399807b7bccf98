"""QEMUs in layouts, and what vmevents doctor reports about them, for the tests in this folder."""

import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402
from patience import patience  # noqa: E402

# -S: no guest is needed to have a monitor.
SO_ACCEPTCON = 0x10000  # linux/net.h
QEMU = ["qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults", "-S"]


class LayoutTest(world.WorldTest):
    """Each test has a daemon with a configuration file, which follows `qemu`."""

    def setUp(self):
        super().setUp()
        self.path = self.world.path
        self.path.chmod(0o755)
        self.sockets = self.directory("qemu")
        self.configuration = self.path / "vmeventd.conf"
        self.configuration.write_text(f'watch = ["{self.sockets}:*.qmp"]\n', encoding="utf-8")
        self.world.watches = []
        self.tools = self.directory("bin")

    def directory(self, name):
        path = self.path / name
        path.mkdir(parents=True)
        return path

    def begin(self):
        self.world.start("--config", self.configuration)

    def qemu(self, *arguments, name="web1", before=(), **streams):
        return self.run_beside([*before, *QEMU, "-name", name, *arguments], stdin=subprocess.DEVNULL, **streams)

    def monitored(self, path, *more, **rest):
        return self.qemu("-qmp", f"unix:{str(path).replace(',', ',,')},server=on,wait=off", *more, **rest)

    def client(self, path):
        """Connects to a monitor and waits for its greeting."""
        held = socket.socket(socket.AF_UNIX)
        self.addCleanup(held.close)
        wait_for_listener(path)
        held.connect(str(path))
        held.settimeout(1)

        def output():
            try:
                return held.recv(4096)
            except TimeoutError:
                # A QEMU that starts may wait for one more client, which it then drops (docs/internals/qemu.md).
                with socket.socket(socket.AF_UNIX) as nudge:
                    nudge.connect(str(path))
                return b""
        world.wait_until(f"{path} greets", lambda: b"QMP" in output())
        held.settimeout(patience())
        return held

    def findings(self, subject):
        done = subprocess.run([world.PROGRAMS["vmevents"], "--server", f"unix:{self.world.socket}", "-o", "json",
                               "doctor"], check=False, capture_output=True, text=True)
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 1 if findings else 0, done.stderr)
        return [finding for finding in findings if any(subject in one for one in finding["subjects"])]

    def only(self, qemu, kind):
        """The finding of a QEMU, once it is there: it may still be starting."""
        subject = f"pid {qemu.pid})"
        (finding,) = world.wait_until(f"it is found: {kind}; now {self.findings(subject)}", lambda: [
            finding for finding in self.findings(subject) if finding["finding"] == kind])
        return finding

    def paste(self, finding, shell=True):
        """Does what the finding says. Returns the arguments for QEMU."""
        arguments = []
        for step in finding["steps"]:
            if step["place"] == "shell" and shell:
                subprocess.run(step["line"], shell=True, check=True,
                               env={**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"})
            elif step["place"] == "qemu":
                arguments += shlex.split(step["line"])
            elif step["place"] == "vmeventd.conf":
                # It may also name what other tests run, such as their libvirt in a separate line.
                proposed = tomllib.loads(step["line"])["watch"]
                watches = [one for one in proposed if str(self.path) in one]
                text = "watch = [" + ", ".join(json.dumps(one) for one in watches) + "]"
                if watches == proposed:
                    text = step["line"].splitlines()[0]
                self.configuration.write_text(text + "\n", encoding="utf-8")
                self.world.restart()
        return arguments

    def expect_followed(self, name="web1", pid=0):
        def is_followed():
            vm = self.world.get(name)
            return vm.qemu_version and pid in (0, vm.ref.pid)
        world.wait_until(f"{name} is followed; {self.world.log()}", is_followed)

    def expect_process_followed(self, pid):
        """Expects it by any name: if a QEMU of another test has its name, doctor proposes a longer one."""
        world.wait_until(f"pid {pid} is followed; {self.world.log()}", lambda: [
            vm for vm in self.world.call("ListVms").vms if vm.ref.pid == pid and vm.qemu_version])

    def expect_watched_by_the_line(self, qemu):
        finding = self.only(qemu, "unwatched")
        self.assertEqual([step["place"] for step in finding["steps"]], ["vmeventd.conf"], finding)
        self.paste(finding)
        self.expect_followed()
        self.assertEqual(self.findings(f"pid {qemu.pid})"), [])

    def expect_own_monitor(self, qemu, kind, used=None, arguments=()):
        finding = self.only(qemu, kind)
        more = self.paste(finding)
        self.assertTrue(more, finding)
        qemu.kill()
        qemu.wait()
        again = self.qemu(*arguments, *more)
        self.expect_process_followed(again.pid)
        self.assertEqual(self.findings(f"pid {again.pid})"), [])
        if used:
            self.client(used)

    def started(self, file=None):
        """The QEMU that a tool has started."""
        pid = int((file or self.path / "pid").read_text(encoding="utf-8"))
        self.addCleanup(end, pid)
        return pid


def wait_for_listener(path):
    """Between its bind() and its listen() a socket is in the table without the flag, and refuses."""
    def listens():
        table = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
        rows = [line.split(maxsplit=7) for line in table.splitlines()[1:]]
        return any(row[7:] == [str(path)] and int(row[3], 16) & SO_ACCEPTCON for row in rows)
    world.wait_until(f"{path} listens", listens)


def link(path):
    """What a symbolic link names; empty: it is gone."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def listens_at(path, process):
    """Whether the process has a listening socket, and the path is there."""
    sockets = {link(one) for one in pathlib.Path(f"/proc/{process.pid}/fd").iterdir()}
    table = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    rows = [line.split(maxsplit=7) for line in table.splitlines()[1:]]
    return any(row[7:] == [str(path)] and int(row[3], 16) & SO_ACCEPTCON and f"socket:[{row[6]}]" in sockets
               for row in rows)


class Child:
    """The only child of a launcher that forks."""

    def __init__(self, launcher):
        children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        self.pid = int(world.wait_until("it has forked", lambda: children.read_text(encoding="utf-8")))
        name = pathlib.Path(f"/proc/{self.pid}/comm")
        world.wait_until("it is QEMU", lambda: name.read_text(encoding="utf-8").startswith("qemu"))


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
