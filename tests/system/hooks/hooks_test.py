#!/usr/bin/python3
"""deploy/hooks/proxmox-vmeventd.sh, called as Proxmox VE's source calls a hookscript, against the real vmeventd and
vmevents.

  hooks_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import subprocess

from hook_case import HOOKS, UUID, HookTest, world


class HooksTest(HookTest):
    """Each test has a daemon and the VM "vm1"."""

    def setUp(self):
        super().setUp()
        self.qemu = self.world.started_vm(self.stream, uuid=UUID)
        self.path = self.programs()
        self.server = f"unix:{self.world.socket}"

    def run_hook(self, name, *arguments):
        """Callers clear the environment; only the server's address is the test's own."""
        done = subprocess.run([HOOKS / name, *arguments], check=False, capture_output=True, text=True,
                              env={"PATH": self.path, "VMEVENTS_SERVER": self.server})
        self.assertEqual(done.returncode, 0, "a hook that fails would stop its caller")
        self.assertEqual(done.stdout + done.stderr, "")

    def intent(self):
        vm = self.world.get()
        return vm.intent if vm.HasField("intent") else None

    def test_proxmox_declares_an_intent_only_before_a_stop(self):
        for phase in ("pre-start", "post-start", "post-stop"):
            self.run_hook("proxmox-vmeventd.sh", "vm1", phase)
        self.assertIsNone(self.intent())
        self.run_hook("proxmox-vmeventd.sh", "vm1", "pre-stop")
        self.assertEqual(self.intent().actor, "proxmox")
        self.run_hook("proxmox-vmeventd.sh", "999", "pre-stop")


if __name__ == "__main__":
    world.run_tests(__doc__)
