"""What the tests of the hooks share."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOOKS = ROOT / "deploy/hooks"
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

UUID = "550e8400-e29b-41d4-a716-446655440000"


class HookTest(world.WorldTest):
    """Each test has a daemon and a stream of its events."""

    def setUp(self):
        super().setUp()
        self.stream = self.world.begin()

    def programs(self):
        """A PATH whose first directory has vmevents."""
        directory = self.world.path / "bin"
        if not directory.exists():
            directory.mkdir()
            (directory / "vmevents").symlink_to(world.PROGRAMS["vmevents"])
        return f"{directory}:/usr/bin:/bin"

    def wait_log(self, text):
        world.wait_until(f"its log has {text!r}: {self.log}", lambda: text in self.log)

    @staticmethod
    def send_shutdown(qemu):
        """What a guest's own shutdown looks like, and one by its agent."""
        qemu.send(world.qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}))

    def expect_class(self, name, expected):
        """Waits for the end of the VM, which must be of that class, and returns it."""
        stopped = self.stream.wait_event("STOPPED", name)
        self.assertEqual(world.pb.ShutdownClass.Name(stopped.shutdown.shutdown_class), f"SHUTDOWN_CLASS_{expected}")
        return stopped

    def expect_admin(self, name="vm1"):
        return self.expect_class(name, "ADMIN")

    def check_unit(self, name, program):
        """The file is a valid unit, and runs the hook from the path at which the documents install it."""
        unit = self.world.path / name
        text = (HOOKS / name).read_text()
        self.assertIn(f"ExecStart={program} ", text)
        unit.write_text(text.replace(program.rpartition("/")[0] + "/", f"{HOOKS}/"))
        done = subprocess.run(["systemd-analyze", "verify", unit], check=False, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
