#!/usr/bin/python3
"""deploy/hooks/ganeti-vmeventd, run by Ganeti's own code as for gnt-instance and gnt-backup: its operations make the
hook's variables, its HooksMaster and HooksRunner call it. Against the real vmeventd and vmevents.

  ganeti_test.py --ganeti DIR --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import argparse
import pathlib
import re
import signal
import sys
from unittest import mock

from hook_case import HOOKS, HookTest, world

import ganeti_code

HOOK = HOOKS / "ganeti-vmeventd"
# By the hooks' path: the module of Ganeti and the class of the operation.
OPERATIONS = {
    "instance-stop": ("instance_operation", "LUInstanceShutdown", "OpInstanceShutdown"),
    "instance-reboot": ("instance_operation", "LUInstanceReboot", "OpInstanceReboot"),
    "instance-failover": ("instance_migration", "LUInstanceFailover", "OpInstanceFailover"),
    "instance-move": ("instance", "LUInstanceMove", "OpInstanceMove"),
    "instance-export": ("backup", "LUBackupExport", "OpBackupExport"),
    "instance-remove": ("instance", "LUInstanceRemove", "OpInstanceRemove"),
}
NEEDED = {"instance-move": {"target_node": "node2"}, "instance-reboot": {"reboot_type": "hard"},
          "instance-export": {"mode": "local", "target_node": "node2"}}


class GanetiTest(HookTest):
    """Each test has a daemon and the instance "vm1"."""

    def setUp(self):
        super().setUp()
        self.qemu = self.world.started_vm(self.stream)
        self.install(f"unix:{self.world.socket}")

    def install(self, server):
        """Installs the hook as the comment at its head describes. Ganeti clears the environment, so a wrapper sets the
        test's own."""
        hooks = self.world.path / "hooks"
        (operations,) = re.findall(r"^#   for operation in (.*); do$", HOOK.read_text(), re.MULTILINE)
        for operation in operations.split():
            installed = hooks / f"instance-{operation}-pre.d/50-vmeventd"
            installed.parent.mkdir(parents=True, exist_ok=True)
            installed.write_text(f"#!/bin/sh\nPATH={self.programs()} VMEVENTS_SERVER={server} exec {HOOK}\n")
            installed.chmod(0o755)
        self.hooks = hooks

    def operate(self, path, instance="vm1", **parameters):
        """What Ganeti does before the operation."""
        # pylint: disable=import-outside-toplevel,import-error
        import importlib
        from ganeti import backend, hooksmaster, opcodes
        module_name, class_name, opcode = OPERATIONS[path]
        module = importlib.import_module(f"ganeti.cmdlib.{module_name}")
        unit_class = getattr(module, class_name)
        self.assertEqual(unit_class.HPATH, path)
        unit = unit_class.__new__(unit_class)
        unit.op = getattr(opcodes, opcode)(instance_name=instance, **{**NEEDED.get(path, {}), **parameters})
        unit.op.Validate(True)
        unit.cfg = mock.MagicMock()
        unit.cfg.GetClusterName.return_value, unit.cfg.GetMasterNodeName.return_value = "cluster", "node1.example.org"
        unit.cfg.GetInstanceDisks.return_value = []
        unit.instance, unit._migrater = mock.MagicMock(), mock.MagicMock()
        unit.secondary_nodes, unit.inst_disks, unit.LogWarning = [], [], self.fail

        def run_hooks(nodes, hooks_path, phase, environment):
            results = backend.HooksRunner(str(self.hooks)).RunHooks(hooks_path, phase, environment)
            self.assertTrue(results, "it is not installed for this operation")
            return {"node1": mock.MagicMock(fail_msg="", offline=False, payload=results)}

        # The hook gets only the name of the instance.
        with mock.patch.object(module, "BuildInstanceHookEnvByObject", lambda *_, **__: {"INSTANCE_NAME": instance}), \
                mock.patch.object(unit_class, "BuildHooksNodes", lambda _: (["node1"], ["node1"])):
            # Raises where a hook fails: that would stop the operation.
            hooksmaster.HooksMaster.BuildFromLu(run_hooks, unit).RunPhase("pre")

    def intent(self):
        vm = self.world.get()
        return vm.intent if vm.HasField("intent") else None

    def seconds_left(self):
        declared = self.stream.wait_event("INTENT_DECLARED")
        return round((declared.intent.expire_time.ToNanoseconds() - declared.observe_time.ToNanoseconds()) / 1e9)

    def test_each_operation_that_ends_a_qemu_is_declared(self):
        operations = [(path, {}) for path in OPERATIONS] + [
            ("instance-reboot", {"reboot_type": "soft"}), ("instance-reboot", {"reboot_type": "full"})]
        for nth, (path, parameters) in enumerate(operations, 1):
            with self.subTest(path, **parameters):
                if nth > 1:
                    self.qemu = self.world.started_vm(self.stream)
                self.operate(path, **parameters)
                self.assertEqual(self.intent().actor, "ganeti")
                self.assertRegex(self.intent().reason, "^OP_[A-Z_]+ on node1.example.org$")
                self.send_shutdown(self.qemu)
                self.qemu.kill(signal.SIGKILL)
                stopped = self.stream.wait_event("STOPPED", nth=nth)
                self.assertEqual(stopped.shutdown.cause, world.pb.SHUTDOWN_CAUSE_GUEST_POWEROFF)
                self.assertRegex(stopped.shutdown.intent.reason, "^OP_[A-Z_]+ on node1.example.org$")

    def test_the_intent_lasts_as_long_as_the_guest_may_take(self):
        self.operate("instance-stop", timeout=1000)
        self.assertEqual(self.seconds_left(), 1300)

    def test_the_intent_lasts_a_day_at_most(self):
        self.operate("instance-remove", shutdown_timeout=999999)
        self.assertEqual(self.seconds_left(), 86400)

    def test_an_operation_that_ends_no_qemu_is_not_declared(self):
        self.operate("instance-export", shutdown=False)
        self.operate("instance-stop", "elsewhere")
        self.assertIsNone(self.intent())

    def test_an_exports_intent_explains_the_end_of_the_instances_qemu_only(self):
        self.operate("instance-export", zero_free_space=True, compress="gzip")
        self.send_shutdown(self.qemu)
        self.qemu.exit()
        self.expect_admin()
        self.assertFalse((self.world.monitors / "vm1.shutdown").exists())
        # Ganeti waits until its helper VM is USER_down.
        helper = self.world.started_vm(self.stream)
        self.send_shutdown(helper)
        helper.exit()
        stopped = self.stream.wait_event("STOPPED", nth=2)
        self.assertEqual(stopped.shutdown.shutdown_class, world.pb.SHUTDOWN_CLASS_USER)
        self.assertTrue((self.world.monitors / "vm1.shutdown").exists())

    def test_an_operation_continues_without_the_daemon(self):
        self.install(f"unix:{self.world.path}/nobody")
        self.operate("instance-stop")
        self.assertIsNone(self.intent())

    def test_ganeti_may_stop_twice(self):
        self.operate("instance-stop")
        self.operate("instance-stop")
        self.send_shutdown(self.qemu)
        self.qemu.exit()
        self.assertEqual(self.expect_admin().shutdown.intent.actor, "ganeti")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ganeti", required=True)
    options, sys.argv[1:] = parser.parse_known_args()
    ganeti_code.load(options.ganeti, pathlib.Path(world.STUBS.name) / "node1")
    world.run_tests(__doc__)
