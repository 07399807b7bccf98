#!/usr/bin/python3
"""The hooks of deploy/hooks, called as Ganeti and Proxmox VE call theirs, against the real
vmeventd and vmevents.

  hooks_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import signal
import subprocess

from hook_case import HOOKS, UUID, HookTest, world


class HooksTest(HookTest):
    """Each test has a daemon and the VM "vm1"."""

    def setUp(self):
        super().setUp()
        self.qemu = self.world.started_vm(self.stream, uuid=UUID)
        self.path = self.programs()
        self.server = f"unix:{self.world.socket}"

    def run_hook(self, name, *arguments, **variables):
        """Callers clear the environment; only the server's address is the test's own."""
        done = subprocess.run([HOOKS / name, *arguments], check=False, capture_output=True, text=True,
                              env={"PATH": self.path, "VMEVENTS_SERVER": self.server, **variables})
        self.assertEqual(done.returncode, 0, "a hook that fails would stop its caller")
        self.assertEqual(done.stdout + done.stderr, "")

    def intent(self):
        vm = self.world.get()
        return vm.intent if vm.HasField("intent") else None

    def ganeti(self, **variables):
        self.run_hook("ganeti-vmeventd", **{
            "GANETI_HOOKS_VERSION": "2", "GANETI_HOOKS_PHASE": "pre",
            "GANETI_HOOKS_PATH": "instance-stop", "GANETI_OP_CODE": "OP_INSTANCE_SHUTDOWN",
            "GANETI_INSTANCE_NAME": "vm1", "GANETI_MASTER": "node1.example.org",
            "GANETI_TIMEOUT": "120", **variables})

    def seconds_left(self):
        intent = self.intent()
        declared = self.stream.wait_event("INTENT_DECLARED").observe_time
        return round(intent.expire_time.ToNanoseconds() / 1e9 - declared.ToNanoseconds() / 1e9)

    def test_ganeti_declares_a_stop(self):
        self.ganeti()
        self.assertEqual(self.intent().actor, "ganeti")
        self.assertEqual(self.intent().reason, "OP_INSTANCE_SHUTDOWN on node1.example.org")
        self.assertEqual(self.seconds_left(), 420)
        self.send_shutdown(self.qemu)
        self.qemu.kill(signal.SIGKILL)
        self.assertIn("as ganeti intended (OP_INSTANCE_SHUTDOWN on node1.example.org)",
                      self.expect_admin().message)

    def test_ganeti_waits_as_long_as_the_guest_may_take(self):
        self.ganeti(GANETI_TIMEOUT="", GANETI_SHUTDOWN_TIMEOUT="999999")
        self.assertEqual(self.seconds_left(), 86400)

    def test_ganeti_declares_a_reboot_by_a_new_qemu_alone(self):
        self.ganeti(GANETI_HOOKS_PATH="instance-reboot", GANETI_REBOOT_TYPE="soft")
        self.assertIsNone(self.intent())
        self.ganeti(GANETI_HOOKS_PATH="instance-reboot", GANETI_REBOOT_TYPE="hard")
        self.assertEqual(self.intent().actor, "ganeti")

    def test_ganeti_is_not_stopped_by_a_vm_or_a_daemon_that_is_not_here(self):
        self.ganeti(GANETI_INSTANCE_NAME="elsewhere")
        self.ganeti(GANETI_HOOKS_PHASE="post")
        self.ganeti(VMEVENTS_SERVER=f"unix:{self.world.path}/nobody")
        self.assertIsNone(self.intent())

    def test_ganeti_may_stop_twice(self):
        self.ganeti()
        self.ganeti()
        self.assertEqual(self.stream.types().count("INTENT_DECLARED"), 1)

    def test_proxmox_declares_before_a_stop_alone(self):
        for phase in ("pre-start", "post-start", "post-stop"):
            self.run_hook("proxmox-vmeventd.sh", "vm1", phase)
        self.assertIsNone(self.intent())
        self.run_hook("proxmox-vmeventd.sh", "vm1", "pre-stop")
        self.assertEqual(self.intent().actor, "proxmox")
        self.run_hook("proxmox-vmeventd.sh", "999", "pre-stop")


if __name__ == "__main__":
    world.run_tests(__doc__)
