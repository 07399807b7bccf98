#!/usr/bin/python3
"""What vmevents doctor prints is pasted where it says, for QEMUs in many layouts: the VM is followed afterwards, and
the monitor that another program needs stays that program's.

  layouts_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402
from patience import patience  # noqa: E402

# -S: no guest is needed to have a monitor.
SO_ACCEPTCON = 0x10000  # linux/net.h
QEMU = ["qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults", "-S"]


class LayoutsTest(world.WorldTest):
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

    def monitored(self, path, **rest):
        return self.qemu("-qmp", f"unix:{str(path).replace(',', ',,')},server=on,wait=off", **rest)

    def client(self, path):
        """Connects to a monitor and waits for its greeting."""
        held = socket.socket(socket.AF_UNIX)
        self.addCleanup(held.close)
        wait_for_listener(path)
        held.connect(str(path))
        held.settimeout(1)

        def said():
            try:
                return held.recv(4096)
            except TimeoutError:
                # A QEMU that starts may wait for one more client, which it then drops (docs/internals/qemu.md).
                with socket.socket(socket.AF_UNIX) as nudge:
                    nudge.connect(str(path))
                return b""
        world.wait_until(f"{path} greets", lambda: b"QMP" in said())
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
                # It may name what other tests run, too, as their libvirt in a line of its own.
                watches = [one for one in tomllib.loads(step["line"])["watch"] if str(self.path) in one]
                quoted = ", ".join(json.dumps(one) for one in watches)
                self.configuration.write_text(f"watch = [{quoted}]\n", encoding="utf-8")
                self.world.restart()
        return arguments

    def expect_followed(self, name="web1"):
        world.wait_until(f"{name} is followed; {self.world.log()}", lambda: self.world.get(name).qemu_version)

    def expect_watched_by_the_line(self, qemu):
        finding = self.only(qemu, "unwatched")
        self.assertEqual([step["place"] for step in finding["steps"]], ["vmeventd.conf"], finding)
        self.paste(finding)
        self.expect_followed()
        self.assertEqual(self.findings(f"pid {qemu.pid})"), [])

    # Directories.

    def test_a_directory_with_blanks_and_quotes(self):
        path = self.directory("my \"vms\" 'of' a,b") / "web1.qmp"
        self.begin()
        self.expect_watched_by_the_line(self.monitored(path))

    def test_a_directory_for_each_vm(self):
        self.begin()
        self.expect_watched_by_the_line(self.monitored(self.directory("vms/web1") / "events.qmp"))

    def test_a_directory_by_a_symbolic_link(self):
        self.directory("real")
        (self.path / "link").symlink_to("real")
        self.begin()
        self.expect_watched_by_the_line(self.monitored(self.path / "link/web1.qmp"))

    def test_a_relative_path(self):
        self.begin()
        self.expect_watched_by_the_line(self.monitored("web1.qmp", cwd=self.directory("of-web1")))

    def test_a_monitor_of_a_configuration_file(self):
        path = self.directory("elsewhere") / "web1.qmp"
        file = self.path / "qemu.conf"
        file.write_text(f'[chardev "m"]\n  backend = "socket"\n  path = "{path}"\n  server = "on"\n  wait = "off"\n'
                        '[mon "mon"]\n  mode = "control"\n  chardev = "m"\n', encoding="utf-8")
        self.begin()
        self.expect_watched_by_the_line(self.qemu("-readconfig", str(file)))

    @unittest.skipUnless(os.geteuid() == 0, "mounts")
    def test_a_directory_that_a_container_shares(self):
        """Its mount namespace, network and processes are its own."""
        shared = self.directory("shared")
        sock = self.directory("inside")
        self.begin()
        script = f"mount --bind {shared} {sock} && exec \"$@\""
        launcher = self.monitored(sock / "web1.qmp",
                                  before=["unshare", "-m", "-n", "-p", "--kill-child", "sh", "-c", script, "sh"])
        self.expect_watched_by_the_line(Child(launcher))
        self.assertIn(str(shared), self.configuration.read_text(encoding="utf-8"))

    @unittest.skipUnless(os.geteuid() == 0, "mounts")
    def test_a_directory_that_a_container_has_for_itself(self):
        """It is never proposed as it is called in there."""
        sock = self.directory("inside")
        self.begin()
        launcher = self.monitored(sock / "web1.qmp", before=[
            "unshare", "-m", "-p", "--kill-child", "sh", "-c", f"mount -t tmpfs none {sock} && exec \"$@\"", "sh"])
        finding = self.only(Child(launcher), "unwatched")
        self.assertIn("does not see the directory", finding["what"])
        self.assertNotIn("cannot be seen", finding["what"])

    # Monitors.

    def test_of_two_monitors_the_free_one_is_followed(self):
        own = self.directory("own") / "qmp.sock"
        free = self.directory("free") / "web1.qmp"
        self.begin()
        qemu = self.qemu("-qmp", f"unix:{own},server=on,wait=off", "-qmp", f"unix:{free},server=on,wait=off")
        held = self.client(own)
        self.expect_watched_by_the_line(qemu)
        held.sendall(b'{"execute": "qmp_capabilities"}\n')
        self.assertIn(b"return", held.recv(4096))

    def expect_own_monitor(self, qemu, kind, used=None, arguments=()):
        finding = self.only(qemu, kind)
        more = self.paste(finding)
        self.assertTrue(more, finding)
        qemu.kill()
        qemu.wait()
        again = self.qemu(*arguments, *more)
        self.expect_followed()
        self.assertEqual(self.findings(f"pid {again.pid})"), [])
        if used:
            self.client(used)

    def test_a_monitor_that_may_be_anybodys_stays_theirs(self):
        used = self.directory("vms/web1") / "qmp.sock"
        arguments = ["-qmp", f"unix:{used},server=on,wait=off"]
        self.begin()
        self.expect_own_monitor(self.qemu(*arguments), "unwatched", used, arguments)

    def test_an_abstract_socket_is_no_file(self):
        arguments = ["-chardev", f"socket,id=m,path=vmeventd-{os.getpid()},abstract=on,server=on,wait=off",
                     "-mon", "chardev=m,mode=control"]
        self.begin()
        qemu = self.qemu(*arguments)
        kind = world.wait_until("it is found", lambda: self.findings(f"pid {qemu.pid})"))[0]["finding"]
        self.expect_own_monitor(qemu, kind, None, arguments)

    def test_without_a_monitor(self):
        self.begin()
        self.expect_own_monitor(self.qemu(), "no-monitor")

    def test_a_path_that_was_taken_is_not_to_be_deleted(self):
        path = self.sockets / "web1.qmp"
        qemu = self.monitored(path)
        wait_for_listener(path)
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
        self.begin()
        world.wait_until("it is reported", lambda: len(self.world.info().unfollowed_sockets) == 1)
        (finding,) = self.findings(str(path))
        self.assertIn("out of reach until the VM's next start", finding["what"])
        self.assertIn(str(qemu.pid), finding["steps"][0]["line"])
        subprocess.run(finding["steps"][0]["line"], shell=True, check=True, capture_output=True)
        self.assertTrue(path.exists())

    # Managers: each has a program in its place, which takes the lines.

    def tool(self, name, script):
        path = self.tools / name
        path.write_text("#!/bin/sh\nset -e\n" + script, encoding="utf-8")
        path.chmod(0o755)

    def started(self, file=None):
        """The QEMU that a tool has started."""
        pid = int((file or self.path / "pid").read_text(encoding="utf-8"))
        self.addCleanup(end, pid)
        return pid

    def test_lima(self):
        home = self.directory("lima/web1")
        command = shlex.join([*QEMU[1:], "-chardev", f"socket,id=char-qmp,path={home}/qmp.sock,server=on,wait=off",
                              "-qmp", "chardev:char-qmp", "-name", "lima-web1"])
        self.tool("limactl", f"""case "$*" in
  "stop web1") kill "$(cat {self.path}/pid)";;
  "start web1") ${{QEMU_SYSTEM_X86_64:-{QEMU[0]}}} {command} -daemonize -pidfile {self.path}/pid;;
  *) echo "$*" >&2; exit 1
esac
""")
        subprocess.run([self.tools / "limactl", "start", "web1"], check=True)
        self.begin()
        before = self.started()
        (finding,) = self.findings(f"pid {before})")
        self.assertIn("belongs to lima, which needs it to stop the VM", finding["what"])
        self.paste(finding)
        self.expect_followed()
        self.assertEqual(self.findings(f"pid {self.started()})"), [])
        self.client(home / "qmp.sock")

    def test_lima_where_its_directory_is_watched(self):
        home = self.directory("lima/web1")
        self.configuration.write_text(f'watch = ["{home.parent}/*/*.sock"]\n', encoding="utf-8")
        self.qemu("-chardev", f"socket,id=char-qmp,path={home}/qmp.sock,server=on,wait=off",
                  "-qmp", "chardev:char-qmp", name="lima-web1")
        wait_for_listener(home / "qmp.sock")
        self.begin()
        (left,) = world.wait_until("it is reported", lambda: self.world.info().unfollowed_sockets)
        self.assertEqual(left.problem.code, world.pb.PROBLEM_CODE_MANAGERS_OWN)
        self.assertIn("belongs to lima", left.problem.text)
        self.client(home / "qmp.sock")

    def manager_of_settings(self, name, run):
        """Incus in small: it takes settings while the VM is off, and starts QEMU with raw.qemu."""
        self.tool(name, f"""cd {run}
case "$1 $2" in
  "stop web1") kill "$(cat {self.path}/pid)"; while kill -0 "$(cat {self.path}/pid)"; do :; done 2>/dev/null
               rm -f {self.path}/pid;;
  "start web1") {shlex.join(QEMU)} -name web1 -readconfig {run}/qemu.conf $(cat raw.qemu) -daemonize \\
                  -pidfile {self.path}/pid;;
  "config get") cat "$4";;
  "config set") [ ! -e {self.path}/pid ] && echo "${{4#*=}}" >"${{4%%=*}}";;
  *) echo "$*" >&2; exit 1
esac
""")
        (run / "raw.qemu").write_text("-m 48\n", encoding="utf-8")
        (run / "raw.apparmor").write_text("/srv/mine r,\n", encoding="utf-8")
        (run / "qemu.conf").write_text(f'[chardev "m"]\n  backend = "socket"\n  path = "{run}/qemu.monitor"\n'
                                       '  server = "on"\n  wait = "off"\n[mon "mon"]\n  mode = "control"\n'
                                       '  chardev = "m"\n', encoding="utf-8")
        subprocess.run([self.tools / name, "start", "web1"], check=True)

    def expect_settings(self, run):
        self.begin()
        (finding,) = self.findings(f"pid {self.started()})")
        self.paste(finding)
        self.expect_followed()
        self.assertEqual(self.findings(f"pid {self.started()})"), [])
        self.assertEqual((run / "raw.apparmor").read_text(encoding="utf-8"),
                         f"/srv/mine r,\n{self.sockets}/web1.qmp rw,\n")
        self.assertIn("-m 48 -chardev", (run / "raw.qemu").read_text(encoding="utf-8"))
        self.client(run / "qemu.monitor")

    def test_incus(self):
        run = self.directory("incus/web1")
        self.manager_of_settings("incus", run)
        self.expect_settings(run)

    def test_lxd(self):
        run = self.directory("lxd/web1")
        self.manager_of_settings("lxc", run)
        self.expect_settings(run)

    def test_a_copy_has_the_path_of_its_original(self):
        run = self.directory("incus/web1")
        self.manager_of_settings("incus", run)
        (run / "raw.qemu").write_text(f"-m 48 -chardev socket,id=vmev,path={self.path}/web0.qmp,server=on,wait=off "
                                      "-mon chardev=vmev,mode=control\n", encoding="utf-8")
        subprocess.run([self.tools / "incus", "stop", "web1"], check=True)
        subprocess.run([self.tools / "incus", "start", "web1"], check=True)
        (self.path / "web0.qmp").unlink()
        self.expect_settings(run)

    def test_proxmox(self):
        used = self.directory("run/qemu-server") / "100.qmp"
        file = self.path / "args"
        file.write_text("-m 48\n", encoding="utf-8")
        command = shlex.join([*QEMU, "-name", "web1", "-qmp", f"unix:{used},server=on,wait=off",
                              "-pidfile", f"{used.parent}/100.pid"])
        self.tool("qm", f"""case "$1 $2" in
  "config 100") echo "args: $(cat {file})"; echo "cores: 1";;
  "set 100") echo "$4" >{file};;
  "start 100") {command} $(cat {file}) -daemonize;;
  *) echo "$*" >&2; exit 1
esac
""")
        subprocess.run([self.tools / "qm", "start", "100"], check=True)
        self.begin()
        qemu = self.started(used.with_suffix(".pid"))
        (finding,) = self.findings(f"pid {qemu})")
        self.assertIn("needs it for qm and its API", finding["what"])
        self.paste(finding)
        os.kill(qemu, signal.SIGKILL)
        world.wait_until("it has ended", lambda: not pathlib.Path(f"/proc/{qemu}").exists())
        subprocess.run([self.tools / "qm", "start", "100"], check=True)
        self.started(used.with_suffix(".pid"))
        self.expect_followed("100")
        self.client(used)

    def test_a_manager_without_a_way_to_a_second_monitor(self):
        self.begin()
        disk = self.path / "boot2docker.iso"
        disk.write_bytes(bytes(1 << 20))
        qemu = self.qemu("-qmp", f"unix:{self.directory('m')}/monitor,server=on,wait=off",
                         "-drive", f"if=none,format=raw,file={disk}")
        finding = self.only(qemu, "unwatched")
        self.assertIn("minikube", finding["what"])
        self.assertIn("cannot be followed", finding["what"])
        self.assertEqual(finding["steps"], [])

    # QEMUs that stand still.

    @unittest.skipUnless(os.geteuid() == 0, "makes cgroups")
    def test_a_frozen_qemu_is_thawed_by_the_line(self):
        tried = 0
        for root, control, text in (("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN"),
                                    ("/sys/fs/cgroup/unified", "cgroup.freeze", "1"),
                                    ("/sys/fs/cgroup", "cgroup.freeze", "1")):
            cgroup = pathlib.Path(root) / f"vmeventd-{os.getpid()}"
            if not (pathlib.Path(root) / "cgroup.procs").exists():
                continue
            cgroup.mkdir()
            self.addCleanup(cgroup.rmdir)
            if not (cgroup / control).exists():
                continue
            tried += 1
            name = f"web{tried}"
            qemu = self.monitored(self.sockets / f"{name}.qmp", name=name)
            self.addCleanup(qemu.wait)
            self.addCleanup(qemu.kill)
            wait_for_listener(self.sockets / f"{name}.qmp")
            (cgroup / "cgroup.procs").write_text(str(qemu.pid), encoding="utf-8")
            (cgroup / control).write_text(text, encoding="utf-8")
            self.addCleanup((cgroup / control).write_text, "THAWED" if "state" in control else "0", encoding="utf-8")
            state = cgroup / (control if text == "FROZEN" else "cgroup.events")
            world.wait_until("it is frozen", lambda: any(  # pylint: disable=cell-var-from-loop
                word in state.read_text(encoding="utf-8") for word in ("FROZEN", "frozen 1")))
            if tried == 1:
                self.begin()
            finding = self.only(qemu, "hung-monitor")
            self.assertIn(f"frozen with its cgroup, {cgroup}", finding["what"])
            self.paste(finding)
            self.expect_followed(name)
            self.assertEqual(self.findings(f"pid {qemu.pid})"), [])
        self.assertGreater(tried, 0)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("fsfreeze") and pathlib.Path("/dev/loop0").exists()
                         and pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8") == "core\n",
                         "a core must be a file in a file system that can be frozen")
    def test_a_qemu_that_dumps_its_core_is_named_as_that(self):
        image = self.path / "image"
        image.write_bytes(b"")
        os.truncate(image, 512 << 20)
        disk = self.directory("disk")
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        qemu = self.monitored(self.sockets / "web1.qmp", before=["prlimit", "--core=unlimited"], cwd=disk)
        self.addCleanup(qemu.wait)
        self.addCleanup(qemu.kill)
        self.begin_with_hang_check()
        self.expect_followed()
        subprocess.run(["fsfreeze", "-f", disk], check=True)
        self.addCleanup(subprocess.run, ["fsfreeze", "-u", disk], check=False, capture_output=True)
        qemu.send_signal(signal.SIGSEGV)
        finding = self.only(qemu, "hung-monitor")
        self.assertIn("the kernel writes its core", finding["what"])
        world.wait_until("vmeventd says so", lambda: [problem.code for problem in self.world.get("web1").problems]
                         == [world.pb.PROBLEM_CODE_CORE_DUMPING])
        subprocess.run(["fsfreeze", "-u", disk], check=True)
        qemu.wait(patience())
        self.assertEqual(qemu.returncode, -signal.SIGSEGV)

    def begin_with_hang_check(self):
        self.world.start("--config", self.configuration, "--hang-check", "1s")


def wait_for_listener(path):
    """Between its bind() and its listen() a socket is in the table without the flag, and refuses."""
    def listens():
        table = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
        rows = [line.split(maxsplit=7) for line in table.splitlines()[1:]]
        return any(row[7:] == [str(path)] and int(row[3], 16) & SO_ACCEPTCON for row in rows)
    world.wait_until(f"{path} listens", listens)


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


if __name__ == "__main__":
    world.run_tests(__doc__)
