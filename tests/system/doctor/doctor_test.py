#!/usr/bin/python3
"""vmevents doctor on this machine: real QEMUs whose monitors are free, held, hung or missing.

Other QEMUs may run here, so that each test looks only at the findings of its own.

  doctor_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

# -S: no guest is needed to have a monitor.
QEMU = ["qemu-system-x86_64", "-m", "32", "-display", "none", "-nodefaults", "-accel", "tcg", "-S"]

SO_ACCEPTCON = 0x10000  # linux/net.h


class DoctorCase(world.WorldTest):
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
        output = b""
        while b"QMP" not in output:
            output += client.recv(4096) or self.fail(f"{name} has closed its monitor: {output}")
        return client

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

    def expect_silence(self, name):
        problem = "no greeting yet: QEMU may still be starting, or its monitor is held by another client"
        world.wait_until(f"the problem of {name} is: {problem}",
                         lambda: [each.text for each in self.world.get(name).problems] == [problem])


class DoctorTest(DoctorCase):
    """Findings, and what their lines change."""

    def test_a_followed_qemu_is_healthy(self):
        self.world.start()
        qemu = self.monitored("web1")
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        self.assertEqual(self.findings(f"(pid {qemu.pid})"), [])

    def test_without_a_daemon_that_is_the_only_finding(self):
        self.qemu("web1")
        (finding,) = self.findings()
        self.assertEqual((finding["finding"], finding["subjects"]), ("daemon", [f"unix:{self.world.socket}"]))
        self.assertRegex(line_of(finding), "^ss -xlp ")

    def test_a_held_monitors_holder_is_named_and_the_doctor_connects_to_no_monitor(self):
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

    def test_the_proposed_line_continues_a_stopped_qemu(self):
        hung = self.monitored("web1")
        hung.send_signal(signal.SIGSTOP)
        world.wait_until("it is stopped", lambda: state_of(hung.pid) == "T")
        self.world.start()
        self.expect_silence("web1")
        finding = self.only(f"(pid {hung.pid})", "hung-monitor")
        # In addition to this QEMU it names those that other tests have stopped: they stay stopped, and may end meanwhile.
        self.assertRegex(line_of(finding), rf"^kill -CONT( [0-9]+)*? {hung.pid}( [0-9]+)*$")
        subprocess.run(f"kill -CONT {hung.pid}", shell=True, check=True)
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        self.assertEqual(self.findings(f"(pid {hung.pid})"), [])

    def test_the_proposed_watch_takes_an_unwatched_monitor(self):
        elsewhere = self.world.path / "elsewhere"
        elsewhere.mkdir()
        self.world.start()
        qemu = self.monitored("web1", elsewhere)
        finding = self.only(f"(pid {qemu.pid})", "unwatched")
        self.assertEqual(finding["steps"][0]["place"], "vmeventd.conf")
        # It may also name what other tests run.
        self.world.watches = [each for each in line_of(finding).split('"')[1::2] if str(self.world.path) in each]
        self.assertEqual(len(self.world.watches), 2)
        self.world.stop()
        self.world.start()
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        self.assertEqual(self.findings(f"(pid {qemu.pid})"), [])

    def test_the_proposed_line_makes_a_missing_directory(self):
        missing = self.world.path / "missing"
        self.world.watches.append(f"{missing}:*.qmp")
        self.world.start()
        world.wait_until("health says so", lambda: self.world.health("watch") == "NOT_SERVING")
        self.assertEqual(self.world.health(""), "SERVING")
        finding = self.only(str(missing), "directory")
        subprocess.run(line_of(finding), shell=True, check=True)
        world.wait_until("health says so", lambda: self.world.health("watch") == "SERVING")
        self.assertEqual(self.findings(str(missing)), [])

    def test_the_proposed_line_deletes_leftover_sockets(self):
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

    def test_a_node_without_a_usable_source_is_a_finding(self):
        missing = self.world.path / "missing"
        self.world.watches = [f"{missing}:*.qmp"]
        uri = f"qemu+unix:///system?socket={self.world.path}/no-libvirt-sock"
        self.world.start("--libvirt", uri)
        self.assertEqual(self.world.health(""), "SERVING")
        self.assertEqual(self.world.health("sources"), "NOT_SERVING")
        done = subprocess.run(line_of(self.only(uri, "libvirt")), shell=True, check=False, capture_output=True, text=True)
        self.assertIn(f"Failed to connect socket to '{self.world.path}/", done.stderr)
        self.assertIn(f"Failed to connect socket to '{self.world.path}/", self.world.log())
        subprocess.run(line_of(self.only(str(missing), "directory")), shell=True, check=True)
        world.wait_until("health says so", lambda: self.world.health("sources") == "SERVING")

    @unittest.skipUnless(os.geteuid() == 0, "becomes another user")
    def test_the_proposed_line_adds_a_user_to_the_sockets_group(self):
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

    def test_of_another_node_only_the_daemon_is_examined(self):
        done = subprocess.run([world.PROGRAMS["vmevents"], "--server", "node7.invalid", "-o", "json", "doctor"],
                              check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        (finding,) = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual((finding["finding"], line_of(finding)), ("daemon", "ssh node7.invalid systemctl status vmeventd"))
        self.assertIn("cannot be resolved", finding["what"])


class LinesTest(DoctorCase):
    """Lines that change nothing are pasted, and show what their findings promise."""

    def paste(self, finding, status=0):
        """What the finding's line prints."""
        done = subprocess.run(line_of(finding), shell=True, check=False, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (status, ""), line_of(finding))
        return done.stdout

    @staticmethod
    def close_each_client(listener):
        """What another program does if it does not speak gRPC."""
        def serve():
            while True:
                listener.accept()[0].close()
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()

    def test_the_proposed_line_shows_who_listens_on_the_socket(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.world.socket))
            self.close_each_client(other)
            (finding,) = self.findings()
            self.assertIn(str(self.world.socket), self.paste(finding))

    def test_the_proposed_line_shows_who_listens_on_a_port(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            self.close_each_client(other)
            port = other.getsockname()[1]
            finding = self.silence("--server", f"127.0.0.1:{port}")
            self.assertEqual(line_of(finding), f"ss -tlnp | grep -F :{port}")
            self.assertIn(f"127.0.0.1:{port} ", self.paste(finding))

    @staticmethod
    def silence(*options):
        done = subprocess.run([world.PROGRAMS["vmevents"], "-o", "json", *options, "doctor"], check=False,
                              capture_output=True, text=True)
        (finding,) = [json.loads(line) for line in done.stdout.splitlines()]
        return finding

    def test_the_proposed_line_shows_both_certificates(self):
        path = self.world.path
        for name in ("localhost", "other"):
            world.make_certificate(path, name)
        port = world.free_port()
        self.world.start("--listen", f"unix:{self.world.socket}", "--listen", f"127.0.0.1:{port}",
                         "--tls-cert", path / "localhost.pem", "--tls-key", path / "localhost.key",
                         "--tls-client-ca", path / "localhost.pem")
        finding = self.silence("--server", f"127.0.0.1:{port}", "--tls-ca", path / "other.pem",
                               "--tls-cert", path / "other.pem", "--tls-key", path / "other.key")
        done = subprocess.run(line_of(finding), shell=True, check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        subjects = re.findall(r"^subject=CN ?= ?(.*)$", done.stdout, re.MULTILINE)
        self.assertEqual(subjects, ["localhost", "other"])

    def test_the_proposed_line_shows_who_holds_a_monitor(self):
        qemu = self.monitored("web1")
        self.hold("web1")
        self.world.start()
        self.expect_silence("web1")
        self.assertRegex(self.paste(self.only(f"(pid {qemu.pid})", "held-monitor")), rf"(?m)^ *{os.getpid()} ")

    @unittest.skipUnless(os.geteuid() == 0, "only root sees that nobody has it")
    def test_a_monitor_held_by_an_unseen_process_is_a_finding(self):
        """The connection is being passed between two processes, and belongs to neither."""
        qemu = self.monitored("web1")
        here, there = socket.socketpair()
        with here, there:
            client = self.hold("web1")
            socket.send_fds(here, [b"x"], [client.fileno()])
            client.close()
            self.world.start()
            self.expect_silence("web1")
            finding = self.only(f"(pid {qemu.pid})", "held-monitor")
            self.assertIn("a process that cannot be seen from here", finding["what"])
            self.assertRegex(line_of(finding), "^ss -xp ")
            self.assertIn(f"pid={qemu.pid},", self.paste(finding))

    def test_the_proposed_line_shows_the_other_program_that_has_a_socket(self):
        path = self.sockets / "web1.qmp"
        self.run_beside(["qemu-storage-daemon", "--chardev", f"socket,id=m,path={path},server=on,wait=off",
                         "--monitor", "chardev=m"], stdin=subprocess.DEVNULL)
        self.world.start()
        world.wait_until("it is reported", lambda: [
            one for one in self.world.info().unfollowed_sockets if one.problem.code == world.pb.PROBLEM_CODE_NOT_A_VM])
        finding = self.only(str(path), "problem")
        self.assertRegex(line_of(finding), "^ss -xlp ")
        self.assertIn("qemu-storage-da", self.paste(finding))

    def test_the_proposed_line_shows_the_threads_of_a_hung_qemu(self):
        program = self.world.path / "qemu-system-x86_64"
        shutil.copy(os.path.realpath(sys.executable), program)
        path = self.sockets / "web1.qmp"
        hang = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(9e9)"
        qemu = self.run_beside([program, "-I", "-c", hang, path, "-name", "web1", "-qmp", f"unix:{path},server=on,wait=off"],
                               stdin=subprocess.DEVNULL)
        world.wait_until("it listens", lambda: listens(path))
        self.world.start()
        world.wait_until("it has a problem", lambda: self.world.get("web1").problems)
        finding = self.only(f"(pid {qemu.pid})", "hung-monitor")
        self.assertRegex(line_of(finding), r"^ps -L ")
        self.assertIn("qemu-system-x86", self.paste(finding))

    @unittest.skipUnless(os.geteuid() == 0, "mounts a tmpfs")
    def test_the_proposed_line_shows_the_full_disk_of_the_journal(self):
        self.world.small_disk()
        self.world.start()
        self.world.fill_disk()
        self.monitored("web1")
        world.wait_until("events wait", lambda: self.world.health("journal") == "NOT_SERVING")
        finding = self.only(str(self.world.state), "journal")
        self.assertRegex(self.paste(finding), rf"{re.escape(str(self.world.state))} +tmpfs .* 100%")
        self.world.empty_disk()

    @unittest.skipUnless(os.geteuid() == 0 and os.path.exists("/dev/fuse"), "mounts")
    def test_the_proposed_line_shows_the_path_of_a_directory_that_hangs(self):
        behind = self.world.path / "behind"
        behind.mkdir()
        bindfs = self.run_beside(["bindfs", "-f", behind, self.sockets])
        self.addCleanup(subprocess.run, ["umount", "-l", self.sockets], check=True)
        self.addCleanup(bindfs.kill)
        world.wait_until("it is mounted", lambda: os.path.ismount(self.sockets))
        self.world.start()
        bindfs.send_signal(signal.SIGSTOP)
        self.addCleanup(bindfs.send_signal, signal.SIGCONT)
        world.wait_until("it hangs", lambda: [one for one in self.world.info().directories
                                              if one.problem.code == world.pb.PROBLEM_CODE_DIRECTORY_HANGS])
        self.assertIn(str(self.sockets), self.paste(self.only(str(self.sockets), "hang")))


@unittest.skipUnless(os.geteuid() == 0, "becomes another user")
class RightsTest(DoctorCase):
    """A daemon of a user without capabilities, which may open what the lines permit."""

    def test_the_proposed_lines_grant_access_to_a_directory_and_a_socket(self):
        user = pwd.getpwnam("daemon")
        self.world.path.chmod(0o755)
        self.world.state.mkdir(mode=0o700)
        os.chown(self.world.path, user.pw_uid, user.pw_gid)
        os.chown(self.world.state, user.pw_uid, user.pw_gid)
        wrapper = self.world.path / "vmeventd"
        wrapper.write_text(f"#!/bin/sh\nexec setpriv --reuid={user.pw_uid} --regid={user.pw_gid} --clear-groups "
                           f"--inh-caps=-all {world.PROGRAMS['vmeventd']} \"$@\"\n", encoding="utf-8")
        wrapper.chmod(0o755)
        self.addCleanup(world.PROGRAMS.update, vmeventd=world.PROGRAMS["vmeventd"])
        world.PROGRAMS["vmeventd"] = str(wrapper)
        self.sockets.chmod(0o700)
        self.monitored("web1")
        self.world.start()
        for subject in (f"{self.sockets}:*.qmp", f"{self.sockets}/web1.qmp"):
            finding = world.wait_until(f"{subject} is reported", lambda: [
                one for one in self.findings(subject) if subject in one["subjects"]])[0]  # pylint: disable=cell-var-from-loop
            self.assertEqual(finding["finding"], "rights")
            self.assertIn("needs the package acl", finding["what"])
            subprocess.run(line_of(finding), shell=True, check=True)
        world.wait_until("the monitor answers", lambda: self.world.get("web1").qemu_version)
        # A QEMU that starts later, as the finding requires.
        before = os.umask(0o007)
        try:
            self.monitored("web2")
        finally:
            os.umask(before)
        world.wait_until("the monitor answers", lambda: self.world.get("web2").qemu_version)


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
