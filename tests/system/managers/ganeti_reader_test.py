#!/usr/bin/python3
"""The real reader of the shutdown files: Ganeti's own code (hv_kvm.KVMHypervisor.GetInstanceInfo) looks at
instances that end under vmeventd, as a node's daemon does for `gnt-instance list`.

  ganeti_reader_test.py --vmeventd FILE --ganeti DIR
"""

import argparse
import json
import pathlib
import signal
import socket
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import ganeti_code  # noqa: E402
import world  # noqa: E402

# A guest of one sector that powers itself off as soon as it runs: 0x2000 to the port 0x604 of a q35.
POWEROFF = bytes.fromhex("ba0406 b80020 ef f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"
USER_DOWN = ("web1", -1, 0, 0)


class GanetiReaderTest(world.WorldTest):
    """Each test ends the instance web1 in another way."""

    hypervisor = None  # set by main
    states = None
    root = None

    def setUp(self):
        super().setUp()
        self.control = pathlib.Path(self.hypervisor._CTRL_DIR)  # pylint: disable=protected-access
        self.pids = pathlib.Path(self.hypervisor._PIDS_DIR)  # pylint: disable=protected-access
        self.ganeti = self.hypervisor()
        self.world.watches = [f"{self.control}:*.kvmd"]
        self.world.start()
        self.stream = self.world.oldest()
        disk = self.world.path / "disk"
        disk.write_bytes(POWEROFF.ljust(1 << 20, b"\0"))
        # Started as Ganeti does it: its own monitor, kvmd's, a file with the pid; paused.
        # pylint: disable=consider-using-with
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-name", "web1", "-m", "32", "-smp", "1", "-S", "-machine", "q35",
             "-accel", "tcg", "-display", "none", "-nodefaults",
             "-drive", f"file={disk},format=raw,if=ide",
             "-qmp", f"unix:{self.control}/web1.qmp,server=on,wait=off",
             "-qmp", f"unix:{self.control}/web1.kvmd,server=on,wait=off"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.qemu.wait)
        self.addCleanup(self.qemu.kill)
        (self.pids / "web1").write_text(f"{self.qemu.pid}\n", encoding="ascii")
        self.stream.wait_event("STARTED", "web1")
        self.world.wait_attached("web1")
        self.assertEqual(self.ganeti.GetInstanceInfo("web1")[1], self.qemu.pid)

    def manager(self, *commands):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(f"{self.control}/web1.qmp")
            answers = monitor.makefile("r")
            answers.readline()
            for command in ("qmp_capabilities", *commands):
                monitor.sendall(json.dumps({"execute": command}).encode())
                while "return" not in json.loads(answers.readline()):
                    pass

    def first_look(self):
        """What Ganeti reports when it first finds the process gone."""
        self.qemu.wait()
        return self.ganeti.GetInstanceInfo("web1")

    def expect_down(self):
        self.assertIsNone(self.first_look(), "Ganeti takes it for ERROR_down and starts it again")
        self.stream.wait_event("STOPPED", "web1")
        self.assertIsNone(self.ganeti.GetInstanceInfo("web1"))

    def test_a_poweroff_by_the_user_is_read_as_user_down(self):
        self.manager("cont")
        self.qemu.wait()
        self.stream.wait_event("STOPPED", "web1")
        info = self.ganeti.GetInstanceInfo("web1")
        self.assertEqual(info[:4], USER_DOWN)
        self.assertEqual(info[4], self.states.SHUTDOWN)
        # And Ganeti clears it when it starts the instance.
        self.ganeti._ClearUserShutdown("web1")  # pylint: disable=protected-access
        self.assertIsNone(self.ganeti.GetInstanceInfo("web1"))

    def test_an_obeyed_power_button_is_read_as_down(self):
        self.manager("system_powerdown", "cont")
        self.expect_down()

    def test_a_quit_is_read_as_down(self):
        self.manager("quit")
        self.expect_down()

    def test_a_kill_is_read_as_down(self):
        self.qemu.send_signal(signal.SIGKILL)
        self.expect_down()

    def test_the_file_of_an_earlier_end_is_removed(self):
        (self.control / "web1.shutdown").touch()
        self.qemu.send_signal(signal.SIGTERM)
        self.qemu.wait()
        self.stream.wait_event("STOPPED", "web1")
        self.assertIsNone(self.ganeti.GetInstanceInfo("web1"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmeventd", required=True)
    parser.add_argument("--ganeti", required=True)
    options, rest = parser.parse_known_args()
    world.PROGRAMS.update(vmeventd=options.vmeventd)
    root = pathlib.Path(world.STUBS.name) / "node1"  # Ganeti wants the host's name at its end
    for made in ("var/run/ganeti", "var/lib/ganeti", "var/log/ganeti", "etc/ganeti"):
        (root / made).mkdir(parents=True)
    ganeti_code.load(options.ganeti, root)
    # pylint: disable=import-error,import-outside-toplevel
    from ganeti.hypervisor import hv_base, hv_kvm
    GanetiReaderTest.hypervisor, GanetiReaderTest.states = hv_kvm.KVMHypervisor, hv_base.HvInstanceState
    # Ganeti leaves its monitor to the garbage collector.
    unittest.main(argv=sys.argv[:1] + rest, verbosity=2, warnings="ignore")


if __name__ == "__main__":
    main()
