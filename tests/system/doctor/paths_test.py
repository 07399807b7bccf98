#!/usr/bin/python3
"""What vmevents doctor prints for QEMUs whose monitors have unusual paths.

  paths_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import os
import subprocess
import unittest

from layouts import QEMU, LayoutTest, end, world


class PathsTest(LayoutTest):
    """Paths that a configuration file, QEMU or a client of its own takes in its own way."""

    def test_a_relative_path_gets_a_watch(self):
        self.begin()
        self.expect_watched_by_the_line(self.monitored("web1.qmp", cwd=self.directory("of-web1")))

    def test_a_directory_with_a_backslash_gets_a_watch(self):
        """systemd escapes names like this."""
        path = self.directory("vms\\x2dof\\x2dweb") / "web1.qmp"
        self.begin()
        self.expect_watched_by_the_line(self.monitored(path))

    def test_a_monitor_in_a_directory_that_no_file_can_name_needs_another_one(self):
        used = self.directory("vms #1") / "web1.qmp"
        arguments = ["-qmp", f"unix:{used},server=on,wait=off"]
        self.begin()
        self.expect_own_monitor(self.qemu(*arguments), "unwatched", used, arguments)

    def test_a_relative_path_with_two_dots_gets_a_normal_watch(self):
        self.directory("run")
        self.begin()
        self.expect_watched_by_the_line(self.monitored("../run/web1.qmp", cwd=self.directory("of-web1")))
        self.assertNotIn("..", self.configuration.read_text(encoding="utf-8"))

    @unittest.skipUnless(os.geteuid() == 0, "changes the root directory")
    def test_a_qemu_with_chroot_gets_a_watch_of_the_hosts_path(self):
        """Ganeti's use_chroot does this: the paths of its sockets are the host's."""
        path = self.directory("elsewhere") / "web1.qmp"
        self.begin()
        self.expect_watched_by_the_line(self.monitored(path, "-chroot", str(self.directory("jail"))))

    def daemonized(self, directory, file="web1.qmp"):
        """A QEMU whose monitor's path began in a directory that it has left."""
        pid = self.path / "pid"
        subprocess.run([*QEMU, "-name", "web1", "-qmp", f"unix:{file},server=on,wait=off", "-daemonize",
                        "-pidfile", pid], cwd=directory, check=True)
        return self.started()

    def test_a_daemonized_qemu_with_a_relative_path_gets_another_monitor(self):
        pid = self.daemonized(self.directory("elsewhere"))
        self.begin()
        (finding,) = self.findings(f"pid {pid})")
        self.assertIn("is relative, and its directory is not known", finding["what"])
        end(pid)
        self.expect_process_followed(self.qemu(*self.paste(finding)).pid)

    def test_a_relative_path_in_a_watched_directory_is_followed(self):
        pid = self.daemonized(self.sockets)
        self.begin()
        self.expect_followed(pid=pid)
        self.assertEqual(self.findings(f"pid {pid})"), [])

    def test_a_relative_path_that_several_qemus_may_have_gets_another_monitor(self):
        """vmeventd cannot tell which QEMU it belongs to, so it does not follow it at any path."""
        self.configuration.write_text(f'watch = ["{self.sockets}:*.sock"]\n', encoding="utf-8")
        pid = self.daemonized(self.sockets, "web1.sock")
        self.begin()
        (finding,) = self.findings(f"pid {pid})")
        end(pid)
        self.expect_process_followed(self.qemu(*self.paste(finding)).pid)

    def test_a_proposed_path_is_not_taken_from_another_vm(self):
        """QEMU removes what is at the path of its new monitor."""
        self.begin()
        first = self.monitored(self.sockets / "web1.qmp")
        self.expect_followed(pid=first.pid)
        second = self.qemu()
        more = self.paste(self.only(second, "no-monitor"))
        second.kill()
        second.wait()
        second = self.qemu(*more)
        self.expect_process_followed(second.pid)
        self.expect_followed(pid=first.pid)
        self.assertEqual(self.findings(f"pid {first.pid})"), [])

    def test_a_human_monitor_is_left_alone(self):
        path = self.directory("people") / "web1.qmp"
        arguments = ["-monitor", f"unix:{path},server=on,wait=off"]
        self.begin()
        self.expect_own_monitor(self.qemu(*arguments), "no-monitor", None, arguments)

    def test_names_that_no_file_can_have_get_a_valid_path(self):
        self.begin()
        for name in ("shop/web1", "x" * 150):
            qemu = self.qemu(name=name)
            more = self.paste(self.only(qemu, "no-monitor"))
            qemu.kill()
            qemu.wait()
            qemu = self.qemu(*more, name=name)
            self.expect_process_followed(qemu.pid)

    def test_the_extra_monitor_of_a_kata_vm_gets_a_watch(self):
        directory = self.directory("run/vc/vm/0a")
        extra = directory / "extra-monitor.sock"
        own = directory / "qmp.sock"
        self.begin()
        qemu = self.qemu("-qmp", f"unix:{own},server=on,wait=off", "-qmp", f"unix:{extra},server=on,wait=off",
                         name="sandbox-0a")
        self.paste(self.only(qemu, "unwatched"))
        self.expect_followed("0a", qemu.pid)
        self.client(own)


if __name__ == "__main__":
    world.run_tests(__doc__)
