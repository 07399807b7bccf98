#!/usr/bin/python3
"""vmevents doctor on this machine: real QEMUs whose monitors are free, held, hung or missing.

Other QEMUs may run here, so that each test looks only at the findings of its own.

  doctor_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

# -S: no guest is needed to have a monitor.
QEMU = ["qemu-system-x86_64", "-m", "32", "-display", "none", "-nodefaults", "-accel", "tcg", "-S"]

SO_ACCEPTCON = 0x10000  # linux/net.h


class DoctorTest(world.WorldTest):
    """Each test has a daemon and a directory of monitors."""

    def setUp(self):
        super().setUp()
        self.sockets = self.world.path / "qemu"
        self.sockets.mkdir()
        self.world.watches = [f"{self.sockets}:*.qmp"]

    def qemu(self, name, *arguments):
        return self.run_beside([*QEMU, "-name", name, *arguments], stdin=subprocess.DEVNULL)

    def monitored(self, name, directory=None):
        """A QEMU, once it listens."""
        path = (directory or self.sockets) / f"{name}.qmp"
        qemu = self.qemu(name, "-qmp", f"unix:{path},server=on,wait=off")
        world.wait_until("the monitor listens", lambda: listens(path))
        return qemu

    def hold(self, name):
        """Takes the monitor, as another client does."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(world.patience(180))
        directory = os.open(self.sockets, os.O_PATH)  # its path may be longer than a Unix address
        self.addCleanup(os.close, directory)
        client.connect(f"/proc/self/fd/{directory}/{name}.qmp")
        # A QEMU that starts may send an event before its greeting.
        said = b""
        while b"QMP" not in said:
            said += client.recv(4096) or self.fail(f"{name} has closed its monitor: {said}")

    def doctor(self, *arguments):
        server = f"unix:{self.world.socket}"
        return subprocess.run([world.PROGRAMS["vmevents"], "--server", server, *arguments, "doctor"],
                              check=False, capture_output=True, text=True)

    def findings(self, subject=""):
        done = self.doctor("-o", "json")
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 1 if findings else 0, done.stderr)
        return [finding for finding in findings if any(subject in one for one in finding["subjects"])]

    def only(self, subject, kind):
        findings = self.findings(subject)
        self.assertEqual([finding["finding"] for finding in findings], [kind], findings)
        return findings[0]

    def test_a_followed_qemu_is_healthy(self):
        self.world.start()
        qemu = self.monitored("web1")
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        self.assertEqual(self.findings(f"(pid {qemu.pid})"), [])

    def test_without_a_daemon_it_names_that_alone(self):
        self.qemu("web1")
        (finding,) = self.findings()
        self.assertEqual((finding["finding"], finding["subjects"]), ("daemon", [f"unix:{self.world.socket}"]))

    def test_a_held_monitor_names_the_holder_and_hears_nothing_of_the_doctor(self):
        held = self.monitored("web1")
        self.hold("web1")
        self.world.start()
        self.expect_silence("web1")
        # A thread of its own writes the log.
        world.wait_until("the log says so", lambda: "held by another client" in self.world.log())
        self.assertEqual(self.world.log().count("held by another client"), 1, self.world.log())
        finding = self.only(f"(pid {held.pid})", "held-monitor")
        program = pathlib.Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        self.assertIn(f"held by {program} (pid ", finding["what"])
        self.assertRegex(line_of(finding), "^ps -o pid,user,lstart,args -p [0-9]+$")

    def test_a_monitor_that_was_bound_to_a_relative_path_is_found_in_its_directory(self):
        self.sockets = self.world.path / ("d" * 120)
        self.sockets.mkdir()
        self.world.watches = [f"{self.sockets}:*.qmp"]
        held = self.run_beside([*QEMU, "-name", "web1", "-qmp", "unix:web1.qmp,server=on,wait=off"],
                               stdin=subprocess.DEVNULL, cwd=self.sockets)
        world.wait_until("the monitor listens", lambda: listens("web1.qmp"))
        self.hold("web1")
        self.world.start()
        self.expect_silence("web1")
        (subject,) = self.only(f"(pid {held.pid})", "held-monitor")["subjects"]
        self.assertEqual(subject, f"web1 (pid {held.pid}) {self.sockets}/web1.qmp")

    def test_a_stopped_qemu_is_continued_by_the_line(self):
        hung = self.monitored("web1")
        hung.send_signal(signal.SIGSTOP)
        world.wait_until("it is stopped", lambda: state_of(hung.pid) == "T")
        self.world.start()
        self.expect_silence("web1")
        finding = self.only(f"(pid {hung.pid})", "hung-monitor")
        # Beside this QEMU it names those that other tests have stopped: they stay so, and may end meanwhile.
        self.assertRegex(line_of(finding), rf"^kill -CONT( [0-9]+)*? {hung.pid}( [0-9]+)*$")
        subprocess.run(f"kill -CONT {hung.pid}", shell=True, check=True)
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        self.assertEqual(self.findings(f"(pid {hung.pid})"), [])

    def expect_silence(self, name):
        problem = "no greeting yet: QEMU may still be starting, or its monitor is held by another client"
        world.wait_until(f"the problem of {name} is: {problem}",
                         lambda: [each.text for each in self.world.get(name).problems] == [problem])

    def test_a_monitor_that_no_watch_takes(self):
        elsewhere = self.world.path / "elsewhere"
        elsewhere.mkdir()
        self.world.start()
        qemu = self.monitored("web1", elsewhere)
        finding = self.only(f"(pid {qemu.pid})", "unwatched")
        self.assertEqual(finding["steps"][0]["place"], "vmeventd.conf")
        # It may name what other tests run, too.
        self.world.watches = [each for each in line_of(finding).split('"')[1::2] if str(self.world.path) in each]
        self.assertEqual(len(self.world.watches), 2)
        self.world.stop()
        self.world.start()
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        self.assertEqual(self.findings(f"(pid {qemu.pid})"), [])

    def test_a_missing_directory_is_made_by_the_line(self):
        missing = self.world.path / "missing"
        self.world.watches.append(f"{missing}:*.qmp")
        self.world.start()
        world.wait_until("health says so", lambda: self.world.health("watch") == "NOT_SERVING")
        self.assertEqual(self.world.health(""), "SERVING")
        finding = self.only(str(missing), "directory")
        subprocess.run(line_of(finding), shell=True, check=True)
        world.wait_until("health says so", lambda: self.world.health("watch") == "SERVING")
        self.assertEqual(self.findings(str(missing)), [])

    def test_sockets_that_were_left_are_deleted_by_the_line(self):
        directory = os.open(self.sockets, os.O_PATH)
        self.addCleanup(os.close, directory)
        for name in ("left1.qmp", "my left.qmp"):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(f"/proc/self/fd/{directory}/{name}")
        self.monitored("web1")
        self.world.start()
        world.wait_until("both are reported", lambda: len(self.world.info().unfollowed_sockets) == 2)
        finding = self.only("left1.qmp", "problem")
        self.assertEqual(len(finding["subjects"]), 2)
        subprocess.run(line_of(finding), shell=True, check=True)
        self.assertEqual([path.name for path in self.sockets.iterdir()], ["web1.qmp"])

    def test_a_node_on_which_nothing_can_be_followed(self):
        missing = self.world.path / "missing"
        self.world.watches = [f"{missing}:*.qmp"]
        uri = f"qemu+unix:///system?socket={self.world.path}/no-libvirt-sock"
        self.world.start("--libvirt", uri)
        self.assertEqual(self.world.health(""), "SERVING")
        self.assertEqual(self.world.health("sources"), "NOT_SERVING")
        self.only(uri, "libvirt")
        self.assertIn(f"Failed to connect socket to '{self.world.path}/", self.world.log())
        subprocess.run(line_of(self.only(str(missing), "directory")), shell=True, check=True)
        world.wait_until("health says so", lambda: self.world.health("sources") == "SERVING")

    @unittest.skipUnless(os.geteuid() == 0, "becomes another user")
    def test_a_user_without_the_group_gets_the_line_that_adds_them(self):
        self.world.path.chmod(0o755)
        directory = self.world.path / "serving"
        socket_of_group = directory / "v.sock"
        self.world.start("--listen", f"unix:{self.world.socket}",
                         "--listen", f"unix:{socket_of_group},group=daemon")
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

        def line():
            done = subprocess.run([*nobody, world.PROGRAMS["vmevents"], "--server",
                                   f"unix:{socket_of_group}", "-o", "json", "doctor"],
                                  check=False, capture_output=True, text=True)
            findings = [json.loads(line) for line in done.stdout.splitlines()]
            lines = [line_of(one) for one in findings if one["finding"] == "daemon"]
            self.assertEqual(len(lines), 1, done.stdout + done.stderr)
            return lines[0]

        self.assertEqual(line(), 'sudo usermod -aG daemon "$USER"')
        directory.chmod(0o755)
        self.assertEqual(line(), 'sudo usermod -aG daemon "$USER"')
        socket_of_group.chmod(0o600)
        self.assertEqual(line(), f"sudo vmevents --server unix:{socket_of_group} doctor")

    def test_of_another_node_it_asks_the_daemon_alone(self):
        done = subprocess.run([world.PROGRAMS["vmevents"], "--server", "node7.invalid", "-o", "json", "doctor"],
                              check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        (finding,) = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual((finding["finding"], line_of(finding)), ("daemon", "ssh node7.invalid systemctl status vmeventd"))
        self.assertIn("cannot be resolved", finding["what"])


def line_of(finding):
    (step,) = finding["steps"]
    return step["line"]


def listens(path):
    """Between its bind() and its listen() a socket is in the table without the flag, and refuses."""
    table = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    rows = [line.split(maxsplit=7) for line in table.splitlines()[1:]]
    return any(row[7:] == [str(path)] and int(row[3], 16) & SO_ACCEPTCON for row in rows)


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1][0]


if __name__ == "__main__":
    world.run_tests(__doc__)
