#!/usr/bin/python3
"""What vmevents doctor prints is pasted where it says, for QEMUs in many layouts: the VM is followed afterwards, and
the monitor that another program needs stays that program's.

  layouts_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from layouts import QEMU, Child, LayoutTest, listens_at, patience, wait_for_listener, world


class LayoutsTest(LayoutTest):
    """Programs that start QEMUs."""

    # Directories.

    def test_a_directory_with_blanks_and_quotes_gets_a_watch(self):
        path = self.directory("my \"vms\" 'of' a,b") / "web1.qmp"
        self.begin()
        self.expect_watched_by_the_line(self.monitored(path))

    def test_a_directory_for_each_vm_gets_a_watch(self):
        self.begin()
        self.expect_watched_by_the_line(self.monitored(self.directory("vms/web1") / "events.qmp"))

    def test_a_directory_behind_a_symbolic_link_gets_a_watch(self):
        self.directory("real")
        (self.path / "link").symlink_to("real")
        self.begin()
        self.expect_watched_by_the_line(self.monitored(self.path / "link/web1.qmp"))

    def test_a_storage_daemon_is_no_vm(self):
        path = self.sockets / "web1.qmp"
        self.begin()
        self.run_beside(["qemu-storage-daemon", "--chardev", f"socket,id=m,path={path},server=on,wait=off",
                         "--monitor", "chardev=m"], stdin=subprocess.DEVNULL)
        (left,) = world.wait_until(f"it is reported; {self.world.log()}", lambda: [
            one for one in self.world.info().unfollowed_sockets
            if one.problem.code == world.pb.PROBLEM_CODE_NOT_A_VM])
        self.assertEqual(left.path, str(path))
        self.assertEqual(list(self.world.call("ListVms").vms), [])
        self.client(path)

    def test_a_monitor_from_a_configuration_file_gets_a_watch(self):
        path = self.directory("elsewhere") / "web1.qmp"
        file = self.path / "qemu.conf"
        file.write_text(f'[chardev "m"]\n  backend = "socket"\n  path = "{path}"\n  server = "on"\n  wait = "off"\n'
                        '[mon "mon"]\n  mode = "control"\n  chardev = "m"\n', encoding="utf-8")
        self.begin()
        self.expect_watched_by_the_line(self.qemu("-readconfig", str(file)))

    @unittest.skipUnless(os.geteuid() == 0, "mounts")
    def test_a_directory_shared_with_a_container_gets_a_watch(self):
        """The container has its own mount namespace, network and processes."""
        shared = self.directory("shared")
        sock = self.directory("inside")
        self.begin()
        script = f"mount --bind {shared} {sock} && exec \"$@\""
        launcher = self.monitored(sock / "web1.qmp",
                                  before=["unshare", "-m", "-n", "-p", "--kill-child", "sh", "-c", script, "sh"])
        self.expect_watched_by_the_line(Child(launcher))
        self.assertIn(str(shared), self.configuration.read_text(encoding="utf-8"))

    @unittest.skipUnless(os.geteuid() == 0, "runs a QEMU as another user")
    def test_a_users_runtime_directory_gets_a_watch(self):
        """What is in XDG_RUNTIME_DIR is its user's alone."""
        runtime = self.directory("run/user/65534")
        (runtime / "qemu").mkdir()
        for path in (runtime, runtime / "qemu"):
            os.chown(path, 65534, 65534)
            path.chmod(0o700)
        self.begin()
        self.expect_watched_by_the_line(self.monitored(
            runtime / "qemu/web1.qmp", before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]))

    @unittest.skipUnless(os.geteuid() == 0, "mounts")
    def test_a_monitor_in_a_units_private_tmp_needs_another_one(self):
        """systemd creates it with another name at each start of the unit."""
        private = pathlib.Path(tempfile.mkdtemp(prefix="systemd-private-0123-web1.service-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, private)
        (private / "tmp").mkdir()
        self.begin()
        script = f"mount --bind {private}/tmp /tmp && exec \"$@\""
        launcher = self.monitored("/tmp/web1.qmp",
                                  before=["unshare", "-m", "-p", "--kill-child", "sh", "-c", script, "sh"])
        finding = self.only(Child(launcher), "unwatched")
        self.assertIn("/tmp of its unit", finding["what"])
        more = self.paste(finding)
        self.assertTrue(more, finding)
        self.expect_process_followed(self.qemu(*more).pid)
        self.assertNotIn(str(private), self.configuration.read_text(encoding="utf-8"))

    @unittest.skipUnless(os.geteuid() == 0, "mounts")
    def test_a_containers_private_directory_gets_no_watch(self):
        """The directory is never proposed by its name in the container."""
        sock = self.directory("inside")
        self.begin()
        launcher = self.monitored(sock / "web1.qmp", before=[
            "unshare", "-m", "-p", "--kill-child", "sh", "-c", f"mount -t tmpfs none {sock} && exec \"$@\"", "sh"])
        finding = self.only(Child(launcher), "unwatched")
        self.assertIn("does not see the directory", finding["what"])
        self.assertNotIn("cannot be seen", finding["what"])
        (compare,) = [step["line"] for step in finding["steps"] if step["place"] == "shell"]
        done = subprocess.run(compare, shell=True, check=True, capture_output=True, text=True)
        self.assertRegex(done.stdout, rf"(?m)^/proc/[0-9]+/mountinfo:.* {re.escape(str(sock))} .* tmpfs ")

    def test_qemus_started_by_other_names_are_recognized(self):
        """A socket that is not called NAME.qmp is connected to only if it is a QEMU's."""
        watched = self.directory("named")
        self.configuration.write_text(f'watch = ["{watched}:*.sock"]\n', encoding="utf-8")
        program = shutil.which(QEMU[0])
        for name in ("kvm-spice", "qemu"):
            (self.tools / name).symlink_to(program)
        # A QEMU looks for its modules next to its program, which is then the loader.
        modules = "QEMU_MODULE_DIR=/usr/lib/x86_64-linux-gnu/qemu"
        starts = {"exec": ["bash", "-c", 'exec -a "vm of exec" "$@"', "bash", program],
                  "loader": ["env", modules, "/lib64/ld-linux-x86-64.so.2", program],
                  "spice": [self.tools / "kvm-spice"],
                  "plain": [self.tools / "qemu"]}
        self.begin()
        for name, command in starts.items():
            self.run_beside([*command, *QEMU[1:], "-qmp", f"unix:{name}.sock,server=y,wait=n"], cwd=watched,
                            stdin=subprocess.DEVNULL)
        for name in starts:
            self.expect_followed(name)

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

    def test_a_monitor_that_another_program_may_use_is_left_alone(self):
        used = self.directory("vms/web1") / "qmp.sock"
        arguments = ["-qmp", f"unix:{used},server=on,wait=off"]
        self.begin()
        self.expect_own_monitor(self.qemu(*arguments), "unwatched", used, arguments)

    def test_a_qemu_with_an_abstract_socket_gets_another_monitor(self):
        arguments = ["-chardev", f"socket,id=m,path=vmeventd-{os.getpid()},abstract=on,server=on,wait=off",
                     "-mon", "chardev=m,mode=control"]
        self.begin()
        qemu = self.qemu(*arguments)
        kind = world.wait_until("it is found", lambda: self.findings(f"pid {qemu.pid})"))[0]["finding"]
        self.expect_own_monitor(qemu, kind, None, arguments)

    def test_a_qemu_without_a_monitor_gets_one(self):
        self.begin()
        self.expect_own_monitor(self.qemu(), "no-monitor")

    def test_the_socket_of_a_living_qemu_is_not_proposed_for_deletion(self):
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

    def test_limas_commands_add_a_monitor(self):
        home = self.directory("lima/web1")
        command = shlex.join([*QEMU[1:], "-chardev", f"socket,id=char-qmp,path={home}/qmp.sock,server=on,wait=off",
                              "-qmp", "chardev:char-qmp", "-name", "lima-web1"])
        self.tool("limactl", f"""case "$*" in
  "stop web1") pid=$(cat {self.path}/pid); kill "$pid"; tail --pid="$pid" -f /dev/null;;
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

    def test_limas_own_monitor_in_a_watched_directory_is_left_alone(self):
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
        """Incus in small: it takes settings while the VM is off, and starts QEMU with raw.qemu; a copy has the
        settings of its original."""
        self.tool(name, f"""cd {run.parent}
if [ "$1 $2" = "--project default" ]; then shift 2; fi
case "$1" in
  stop) kill "$(cat "$2/pid")"; while kill -0 "$(cat "$2/pid")"; do :; done 2>/dev/null; rm -f "$2/pid";;
  start) {shlex.join(QEMU)} -name "$2" -readconfig {run.parent}/"$2"/qemu.conf $(cat "$2/raw.qemu") -daemonize \\
           -pidfile "$2/pid";;
  copy) mkdir "$3"; cp "$2"/raw.* "$3"; sed "s|/$2/|/$3/|" "$2/qemu.conf" >"$3/qemu.conf";;
  config) if [ "$3" = -e ]; then set -- "$1" "$2" "$4" "$5"; fi
    cd "$3"; case "$2" in
    get) cat "$4";;
    set) [ ! -e pid ] && echo "${{4#*=}}" >"${{4%%=*}}";;
    esac;;
  *) echo "$*" >&2; exit 1
esac
""")
        (run / "raw.qemu").write_text("-m 48\n", encoding="utf-8")
        (run / "raw.apparmor").write_text("/srv/mine r,\n", encoding="utf-8")
        (run / "qemu.conf").write_text(f'[chardev "m"]\n  backend = "socket"\n  path = "{run}/qemu.monitor"\n'
                                       '  server = "on"\n  wait = "off"\n[mon "mon"]\n  mode = "control"\n'
                                       '  chardev = "m"\n', encoding="utf-8")
        self.do(name, "start", "web1")

    def do(self, tool, *arguments):
        subprocess.run([self.tools / tool, *arguments], check=True)

    def expect_settings(self, run):
        self.begin()
        (finding,) = self.findings(f"pid {self.started(run / 'pid')})")
        self.paste(finding)
        self.expect_followed()
        self.assertEqual(self.findings(f"pid {self.started(run / 'pid')})"), [])
        self.assertEqual((run / "raw.apparmor").read_text(encoding="utf-8"),
                         f"/srv/mine r,\n{self.sockets}/web1.qmp rw,\n")
        self.assertIn("-m 48 -chardev", (run / "raw.qemu").read_text(encoding="utf-8"))
        self.client(run / "qemu.monitor")

    def test_incus_commands_add_a_monitor(self):
        run = self.directory("incus/web1")
        self.manager_of_settings("incus", run)
        self.expect_settings(run)

    def test_lxd_commands_add_a_monitor(self):
        run = self.directory("lxd/web1")
        self.manager_of_settings("lxc", run)
        self.expect_settings(run)

    def test_a_copy_that_has_the_path_of_its_original_gets_its_own(self):
        run = self.directory("incus/web1")
        self.manager_of_settings("incus", run)
        (run / "raw.qemu").write_text(f"-m 48 -chardev socket,id=vmev,path={self.path}/web0.qmp,server=on,wait=off "
                                      "-mon chardev=vmev,mode=control\n", encoding="utf-8")
        self.do("incus", "stop", "web1")
        self.do("incus", "start", "web1")
        (self.path / "web0.qmp").unlink()
        self.expect_settings(run)

    # Clones.

    def shares_path(self, pid):
        return [vm for vm in self.world.call("ListVms").vms if vm.ref.pid == pid and
                [problem.code for problem in vm.problems] == [world.pb.PROBLEM_CODE_SHARED_PATH]]

    def expect_a_clone_to_get_its_own_path(self, original, start_clone, clones_pid):
        """`original` is followed; `start_clone` starts a clone on its path."""
        start_clone()
        clone = self.started(clones_pid)
        for pid in (original, clone):
            world.wait_until(f"{pid} has the problem; {self.world.log()}",
                             lambda: self.shares_path(pid))  # pylint: disable=cell-var-from-loop
        (kept,) = self.findings(f"pid {original})")
        self.assertEqual(kept["finding"], "shared-path")
        self.assertIn("Change the other VM", kept["what"])
        (finding,) = self.findings(f"pid {clone})")
        self.assertEqual(finding["finding"], "shared-path")
        self.paste(finding)
        return clone

    def expect_the_end_of_the_clone(self, clone):
        stopped = world.wait_until("the clone's end is reported", lambda: [
            event for event in self.world.events() if event.HasField("shutdown")])
        self.assertEqual([(event.vm.pid, event.vm.name) for event in stopped], [(clone, "web2")])

    def copy_is_changed(self, tool, run):
        self.manager_of_settings(tool, run)
        self.begin()
        (finding,) = self.findings(f"pid {self.started(run / 'pid')})")
        self.paste(finding)
        self.expect_followed()
        original = self.started(run / "pid")
        self.do(tool, "copy", "web1", "web2")
        clones_pid = run.parent / "web2/pid"
        clone = self.expect_a_clone_to_get_its_own_path(
            original, lambda: self.do(tool, "start", "web2"), clones_pid)
        self.expect_the_end_of_the_clone(clone)
        self.expect_followed("web2", self.started(clones_pid))
        self.assertEqual(self.findings(f"pid {self.started(clones_pid)})"), [])
        self.assertEqual((run.parent / "web2/raw.qemu").read_text(encoding="utf-8"),
                         (run / "raw.qemu").read_text(encoding="utf-8").replace("web1.qmp", "web2.qmp"))
        return original

    def test_a_copy_by_incus_gets_its_own_path(self):
        """The original's socket is lost: it is unreachable once its connection is, and its end unknown."""
        run = self.directory("incus/web1")
        original = self.copy_is_changed("incus", run)
        self.assertEqual(self.world.get("web1").state, world.pb.VM_STATE_PAUSED)
        self.world.restart(signal.SIGKILL)
        world.wait_until("it is unreachable", lambda: self.world.get("web1").state ==
                         world.pb.VM_STATE_UNREACHABLE)
        self.assertEqual(self.world.get("web1").ref.pid, original)
        self.do("incus", "stop", "web1")
        world.wait_until("its end is reported", lambda: self.world.get("web1").state ==
                         world.pb.VM_STATE_STOPPED)
        self.assertEqual(self.world.get("web1").shutdown.shutdown_class, world.pb.SHUTDOWN_CLASS_UNKNOWN)
        self.do("incus", "start", "web1")
        self.expect_followed("web1", self.started(run / "pid"))
        self.assertEqual(self.findings(f"pid {self.started(run / 'pid')})"), [])

    def test_a_copy_by_lxc_gets_its_own_path(self):
        self.copy_is_changed("lxc", self.directory("lxd/web1"))

    def manager_of_args(self, run):
        """Proxmox VE in small. Debian's QEMU has no -id, by which Proxmox VE's has the VMID."""
        self.tool("qm", f"""cd {run}
case "$1" in
  config) echo "args: $(cat "$2.args")"; echo "cores: 1";;
  set) echo "$4" >"$2.args";;
  clone) cp "$2.args" "$3.args";;
  start) {shlex.join(QEMU)} -name "$2" -qmp unix:{run}/"$2".qmp,server=on,wait=off -pidfile {run}/"$2".pid \\
           $(cat "$2.args") -daemonize;;
  *) echo "$*" >&2; exit 1
esac
""")
        (run / "100.args").write_text("-m 48\n", encoding="utf-8")
        self.do("qm", "start", "100")

    def restart_of_proxmox(self, run, vmid):
        pid = self.started(run / f"{vmid}.pid")
        os.kill(pid, signal.SIGKILL)
        world.wait_until("it has ended", lambda: not pathlib.Path(f"/proc/{pid}").exists())
        self.do("qm", "start", vmid)
        return self.started(run / f"{vmid}.pid")

    def begin_with_proxmox(self):
        run = self.directory("run/qemu-server")
        self.manager_of_args(run)
        self.begin()
        (finding,) = self.findings(f"pid {self.started(run / '100.pid')})")
        self.assertIn("needs it for qm and its API", finding["what"])
        self.paste(finding)
        qemu = self.restart_of_proxmox(run, "100")
        self.expect_followed("100")
        return run, qemu

    def test_proxmox_commands_add_a_monitor(self):
        run, _ = self.begin_with_proxmox()
        self.client(run / "100.qmp")

    def test_a_clone_by_proxmox_gets_its_own_path(self):
        run, original = self.begin_with_proxmox()
        self.do("qm", "clone", "100", "101")
        self.expect_a_clone_to_get_its_own_path(
            original, lambda: self.do("qm", "start", "101"), run / "101.pid")
        self.restart_of_proxmox(run, "101")
        self.expect_followed("101")
        self.assertEqual(self.world.get("100").state, world.pb.VM_STATE_PAUSED)
        self.assertEqual((run / "101.args").read_text(encoding="utf-8"),
                         (run / "100.args").read_text(encoding="utf-8").replace("100.qmp", "101.qmp"))
        self.client(run / "100.qmp")

    def test_a_qemu_whose_path_was_taken_before_the_start_is_a_finding(self):
        path = self.sockets / "web1.qmp"
        first = self.monitored(path)
        wait_for_listener(path)
        second = self.monitored(path, name="web2")
        world.wait_until("the second has the path", lambda: listens_at(path, second))
        self.begin()
        world.wait_until("the second has the problem", lambda: self.shares_path(second.pid))
        (hidden,) = self.world.info().unfollowed_sockets
        self.assertEqual((hidden.name, hidden.problem.code), ("web1", world.pb.PROBLEM_CODE_SHARED_PATH))
        (kept,) = self.findings(f"pid {first.pid})")
        self.assertEqual(kept["finding"], "shared-path")
        self.assertIn("Change the other VM", kept["what"])
        (finding,) = self.findings(f"pid {second.pid})")
        arguments = self.paste(finding)
        second.send_signal(signal.SIGTERM)
        second.wait(patience())
        again = self.qemu(*arguments, name="web2")
        self.expect_followed("web2", again.pid)
        self.assertEqual(self.findings(f"pid {again.pid})"), [])

    @unittest.skipUnless(os.geteuid() == 0, "makes a directory in /run")
    def test_a_monitor_behind_a_link_to_a_managers_directory_is_left_alone(self):
        """A monitor there is its manager's, although it is called NAME.qmp."""
        run = pathlib.Path("/run/qemu-server")
        made = not run.exists()
        run.mkdir(exist_ok=True)
        if made:
            self.addCleanup(subprocess.run, ["rmdir", "--ignore-fail-on-non-empty", run], check=True)
        path = run / f"{self.path.name}.qmp"
        self.addCleanup(path.unlink, missing_ok=True)
        self.configuration.write_text(f'watch = ["{self.path}/link:*.qmp"]\n', encoding="utf-8")
        self.begin()
        self.monitored(path)
        wait_for_listener(path)
        (self.path / "link").symlink_to(run)  # where it is there at the start, the daemon refuses to start
        (left,) = world.wait_until("it is reported", lambda: [
            one for one in self.world.info().unfollowed_sockets if one.name == path.stem])
        self.assertEqual(left.problem.code, world.pb.PROBLEM_CODE_MANAGERS_OWN)
        self.client(path)

    def test_a_manager_that_supports_no_second_monitor_is_named(self):
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
    def test_the_proposed_line_thaws_a_frozen_qemu(self):
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
                self.begin_with_hang_check()
            finding = self.only(qemu, "hung-monitor")
            self.assertIn(f"frozen with its cgroup, {cgroup}", finding["what"])
            self.paste(finding)
            self.expect_followed(name)
            self.assertEqual(self.findings(f"pid {qemu.pid})"), [])
            if tried == 1:
                # A QEMU that is followed already.
                (cgroup / control).write_text(text, encoding="utf-8")
                self.expect_codes(name, world.pb.PROBLEM_CODE_FROZEN)
                self.paste(self.only(qemu, "hung-monitor"))
                self.expect_codes(name)
        self.assertGreater(tried, 0)

    def expect_codes(self, name, *codes):
        world.wait_until(f"the problems of {name} are {codes}",
                         lambda: [problem.code for problem in self.world.get(name).problems] == list(codes))

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("fsfreeze") and pathlib.Path("/dev/loop0").exists()
                         and pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8") == "core\n",
                         "a core must be a file in a file system that can be frozen")
    def test_a_qemu_that_dumps_its_core_is_reported_as_such(self):
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


if __name__ == "__main__":
    world.run_tests(__doc__)
