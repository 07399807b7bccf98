#!/usr/bin/python3
"""docs/connect.md, as written: its unit, its directory and its arguments of QEMU, with real QEMUs under
the real vmeventd.

  managers_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
UNIT = ROOT / "examples/systemd/qemu@.service"
PAGE = ROOT / "docs/connect.md"
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

QEMU = ["qemu-system-x86_64", "-m", "32", "-display", "none", "-nodefaults", "-accel", "tcg"]


def setting(name):
    """A setting of the unit, with its continued lines."""
    text = UNIT.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.search(rf"^{name}=(.*)$", text, re.MULTILINE)[1]


class ManagersTest(world.WorldTest):
    """Each test has a daemon that watches a directory in place of /run/qemu."""

    def setUp(self):
        super().setUp()
        self.sockets = self.world.path / "qemu"
        self.sockets.mkdir()
        self.world.watches = [f"{self.sockets}:*.qmp"]
        self.stream = self.world.begin()

    def start(self, command, name):
        qemu = self.run_beside(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.stream.wait_event("STARTED", name)
        self.world.wait_attached(name)
        return qemu

    def expect_stopped(self, name, shutdown_class, cause):
        shutdown = self.stream.wait_event("STOPPED", name).shutdown
        self.assertEqual(world.pb.ShutdownClass.Name(shutdown.shutdown_class),
                         f"SHUTDOWN_CLASS_{shutdown_class}")
        self.assertEqual(world.pb.ShutdownCause.Name(shutdown.cause), f"SHUTDOWN_CAUSE_{cause}")

    def test_the_documented_unit_runs_a_followed_qemu(self):
        command = shlex.split(setting("ExecStart").replace("%i", "web1").replace(
            "/run/qemu/", f"{self.sockets}/").replace("-m 1024", "-m 32"))
        disk = self.world.path / "web1.disk"
        disk.write_bytes(bytes(1 << 20))
        command = [part.replace("/var/lib/qemu/web1.qcow2,format=qcow2", f"{disk},format=raw")
                   for part in command]
        qemu = self.start(command, "web1")
        # What ExecStop does: it presses the button and waits, and then comes systemd's SIGTERM.
        self.assertIn("echo system_powerdown | socat - UNIX-CONNECT:/run/qemu/%i.hmp",
                      setting("ExecStop"))
        self.assertIn("tail --pid=$MAINPID -f /dev/null", setting("ExecStop"))
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(self.sockets / "web1.hmp"))
            console.sendall(b"system_powerdown\n")
            self.stream.wait_event("POWERDOWN_REQUESTED", "web1")
        qemu.send_signal(signal.SIGTERM)
        self.expect_stopped("web1", "ADMIN", "HOST_SIGNAL")

    def test_the_unit_has_a_disk_and_names_its_packages(self):
        self.assertIn("-drive file=/var/lib/qemu/%i.qcow2,", setting("ExecStart"))
        for page in (UNIT.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")):
            self.assertRegex(page, r"package socat")
            self.assertRegex(page, r"/var/lib/qemu/(web1|NAME)\.qcow2")

    def test_a_stop_soon_gives_up_on_a_guest_that_ignores_the_button(self):
        self.assertRegex(setting("TimeoutStopSec"), "^[1-3]?[0-9]s$")
        self.assertIn("in 30 seconds", PAGE.read_text(encoding="utf-8"))
        # The stop waits only for the guest: it is over as soon as the guest has obeyed.
        wait = setting("ExecStop").split(";")[1].strip().rstrip("'").replace("$MAINPID", "{}")
        with subprocess.Popen(["sleep", "infinity"]) as guest:
            with subprocess.Popen(shlex.split(wait.format(guest.pid))) as waits:
                guest.kill()
                guest.wait()
                self.assertEqual(waits.wait(timeout=world.patience()), 0)

    def test_the_unit_and_the_directory_are_valid(self):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", UNIT], check=False,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        root = self.world.path / "root"
        root.mkdir()
        subprocess.run(["systemd-tmpfiles", "--create", f"--root={root}", "--prefix=/run/qemu",
                        UNIT.with_name("qemu.tmpfiles")], check=True)
        self.assertEqual((root / "run/qemu").stat().st_mode & 0o777, 0o750)

    def test_the_documented_arguments_for_each_manager_work(self):
        page = PAGE.read_text(encoding="utf-8")
        shown = re.findall(r"(-chardev socket,\S+,path=/run/qemu/([\w]+)\.qmp,\S+ -mon [\w=,]+)", page)
        libvirt = " ".join(re.findall(r"<qemu:arg value='([^']+)'/>", page))
        shown.append((libvirt, "web1"))
        self.assertEqual([name for _, name in shown], ["NAME", "100", "web1", "web1"])
        for number, (arguments, name) in enumerate(shown):
            mine = f"{name}-{number}"
            arguments = arguments.replace(f"/run/qemu/{name}.qmp", f"{self.sockets}/{mine}.qmp")
            qemu = self.start([*QEMU, "-no-shutdown", *shlex.split(arguments)], mine)
            qemu.send_signal(signal.SIGTERM)
            self.expect_stopped(mine, "ADMIN", "HOST_SIGNAL")

    def test_a_managers_own_monitors_are_refused(self):
        page = PAGE.read_text(encoding="utf-8")
        for directory, pattern in (("/var/run/ganeti/kvm-hypervisor/ctrl", "*.qmp"),
                                   ("/run/qemu-server", "*.qmp"), ("/run/incus/web1", "qemu.*"),
                                   ("/var/lib/libvirt/qemu/domain-1-web1", "*.sock")):
            self.assertIn(directory.replace("web1", "NAME").replace("1-NAME", "*"), page)
            done = subprocess.run([world.PROGRAMS["vmeventd"], "--check-config", "--watch",
                                   f"{directory}:{pattern}"],
                                  check=False, capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, directory)
            self.assertIn("docs/connect.md", done.stderr)


if __name__ == "__main__":
    world.run_tests(__doc__)
