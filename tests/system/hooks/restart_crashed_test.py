#!/usr/bin/python3
"""deploy/hooks/restart_crashed.py with the real vmeventd; the managers' programs write down how they are called.

  restart_crashed_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import signal
import subprocess

from hook_case import HOOKS, UUID, HookTest, world

HOOK = HOOKS / "restart_crashed.py"
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
[ ! -e "$CALLS.fail" ]
"""


def kill(hook):
    hook.kill()
    hook.wait()


class RestartCrashedTest(HookTest):
    """Each test has a daemon, and managers' programs in PATH."""

    def setUp(self):
        super().setUp()
        self.calls_file = self.world.path / "calls"
        programs = self.world.path / "bin"
        programs.mkdir()
        for name in ("systemctl", "virsh", "qm", "onevm", "cmk", "ssh", "page"):
            (programs / name).write_text(PROGRAM)
            (programs / name).chmod(0o755)
        self.environment = world.hook_environment(PATH=f"{programs}:/usr/bin:/bin", CALLS=str(self.calls_file))

    def start(self, *arguments, manager="proxmox"):
        hook = self.launch(*arguments, manager=manager)
        world.wait_until("the hook follows", lambda: (self.world.path / "state.json").exists()
                         and self.world.info().streams == 2)
        return hook

    def launch(self, *arguments, manager="proxmox"):
        return self.run_beside(["/usr/bin/python3", HOOK, "--server", f"unix:{self.world.socket}", "--state",
                                self.world.path / "state.json", "--first-delay", "0.01",
                                *(["--manager", manager] if manager else []), *arguments], self.environment)

    @property
    def calls(self):
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    @property
    def state(self):
        """What the hook has stored."""
        return json.loads((self.world.path / "state.json").read_text())

    def wait_calls(self, *calls):
        world.wait_until(f"it calls {calls}; it called {self.calls}; its log: {self.log}",
                         lambda: len(self.calls) >= len(calls))
        self.assertEqual(self.calls, list(calls))

    def plan_and_kill(self):
        """Lets the hook plan a start, and kills the hook before it makes it."""
        hook = self.start("--first-delay", "1000", "--max-delay", "1000")
        self.crash()
        world.wait_until("it is planned", lambda: self.state["pending"])
        kill(hook)

    def crash(self, name="101", **behavior):
        self.world.started_vm(self.stream, name, **behavior).kill(signal.SIGABRT)

    def test_a_crash_is_started_and_other_ends_are_not(self):
        self.start()
        users = self.world.started_vm(self.stream, "100")
        self.send_shutdown(users)
        users.exit()
        self.stream.wait_event("STOPPED", "100")
        self.crash()
        self.wait_calls("qm start 101")
        self.wait_log("101: done: qm start 101")

    def test_an_unknown_end_is_left_alone_unless_configured(self):
        hook = self.start()
        self.world.started_vm(self.stream, "100").kill(signal.SIGKILL)
        self.stream.wait_event("STOPPED", "100")
        self.crash()
        self.wait_calls("qm start 101")
        kill(hook)
        (self.world.path / "state.json").unlink()
        world.wait_until("its stream has ended", lambda: self.world.info().streams == 1)
        self.start("--unknown", "restart")
        self.world.started_vm(self.stream, "102").kill(signal.SIGKILL)
        self.wait_calls("qm start 101", "qm start 102")

    def test_a_vm_that_may_run_elsewhere_is_left_alone(self):
        self.start("--unknown", "restart")
        qemu = self.world.started_vm(self.stream, "103", status="inmigrate")
        qemu.kill(signal.SIGKILL)
        self.wait_log("103: left alone: it may still run, here or elsewhere")
        self.assertEqual(self.calls, [])

    def test_each_manager_is_called_with_its_command(self):
        master = self.world.path / "master"
        master.write_text("node1.example\n")
        for manager, name, call in (
                ("systemd", "web1", "systemctl start qemu@web1.service"),
                ("libvirt", "web2", "virsh -c qemu:///system start web2"),
                ("opennebula", "one-42", "onevm resume 42"),
                ("cloudstack", "i-2-10-VM", f"cmk start virtualmachine id={UUID}"),
                ("ganeti", "web3", "ssh node1.example gnt-instance startup web3")):
            with self.subTest(manager):
                hook = self.start("--ganeti-master", str(master), manager=manager)
                self.crash(name, uuid=UUID)
                self.wait_log(f"{name}: done")
                self.assertEqual(self.calls[-1], call)
                kill(hook)
                (self.world.path / "state.json").unlink()
                world.wait_until("its stream has ended", lambda: self.world.info().streams == 1)

    def test_a_crash_loop_is_slowed_down_and_given_up(self):
        self.start("--max-starts", "3", "--gave-up", "page {vm}")
        for number, delay in ((1, "0.01"), (2, "0.02"), (3, "0.04")):
            self.crash()
            self.wait_log(f"101: start {number} of 3, in {delay} s")
            self.wait_calls(*["qm start 101"] * number)
        self.crash()
        self.wait_calls(*["qm start 101"] * 3, "page 101")
        self.assertIn("101: gave up after 4 crashes in 3600 s", self.log)
        self.crash("102")  # another VM has a count of its own
        self.wait_calls(*["qm start 101"] * 3, "page 101", "qm start 102")

    def test_a_crash_loop_goes_on_over_a_restart_of_the_hook(self):
        options = ("--max-starts", "3", "--gave-up", "page {vm}")
        hook = self.start(*options)
        for number in (1, 2):
            self.crash()
            self.wait_calls(*["qm start 101"] * number)
        world.wait_until("both are stored as done",
                         lambda: len(self.state["handled"]) == 2 and not self.state["pending"])
        kill(hook)
        world.wait_until("its stream has ended", lambda: self.world.info().streams == 1)
        self.start(*options)
        self.crash()
        self.wait_calls(*["qm start 101"] * 3)
        self.assertIn("101: start 3 of 3, in 0.04 s", self.log)
        self.crash()
        self.wait_calls(*["qm start 101"] * 3, "page 101")
        self.assertIn("101: gave up after 4 crashes in 3600 s", self.log)

    def test_a_failed_start_counts(self):
        (self.world.path / "calls.fail").touch()
        self.start("--max-starts", "2", "--gave-up", "page {vm}")
        self.crash()
        self.wait_calls("qm start 101", "qm start 101", "page 101")
        self.assertIn("qm start 101: exit 1", self.log)

    def test_a_start_that_hangs_is_killed_before_the_next(self):
        # It holds the lock that the next start takes, as `qm start` does.
        (self.world.path / "bin" / "qm").write_text(
            '#!/bin/sh\nexec 9>"$CALLS.lock"\nflock -n 9 || { echo locked >>"$CALLS"; exit 1; }\n'
            'echo "qm $*" >>"$CALLS"\nexec sleep 1000\n')
        self.start("--start-timeout", "0.5", "--max-starts", "2", "--gave-up", "page {vm}")
        self.crash()
        self.wait_calls("qm start 101", "qm start 101", "page 101")
        self.wait_log("101: qm start 101: killed after 0.5 s")

    def test_an_unknown_master_is_a_failed_start(self):
        self.start("--max-starts", "1", "--gave-up", "page {vm}", "--ganeti-master", "/nowhere", manager="ganeti")
        self.crash()
        self.wait_calls("page 101")
        self.assertIn("'/nowhere'", self.log)

    def test_a_dry_run_runs_nothing(self):
        self.start("--dry-run")
        self.crash()
        self.wait_log("would run: qm start 101")
        self.assertEqual(self.calls, [])

    def test_a_vm_that_crashed_in_an_outage_is_started_once(self):
        hook = self.start()
        kill(hook)
        self.crash()
        self.stream.wait_event("STOPPED", "101")
        self.world.restart(signal.SIGKILL)
        self.stream = self.world.oldest()
        hook = self.start()
        self.wait_calls("qm start 101")
        self.wait_log("101: done")
        world.wait_until("that is stored", lambda: not self.state["pending"])
        kill(hook)
        self.start()
        self.crash("102")
        self.wait_calls("qm start 101", "qm start 102")

    def test_a_planned_start_survives_a_restart_of_the_hook(self):
        self.plan_and_kill()
        self.start("--max-delay", "0.01")
        self.wait_calls("qm start 101")

    def test_a_start_waits_for_vmeventd(self):
        self.plan_and_kill()
        self.world.stop()
        self.launch("--max-delay", "0.01")
        self.wait_log("101: vmeventd does not answer")
        self.world.start()
        self.wait_calls("qm start 101")

    def test_an_old_crash_is_left_alone(self):
        self.start("--max-age", "0")
        self.crash()
        self.wait_log("longer than --max-age")
        self.assertEqual(self.calls, [])

    def test_a_vm_that_runs_again_is_left_alone(self):
        hook = self.start()
        kill(hook)
        self.crash()
        self.stream.wait_event("STOPPED", "101")
        self.world.started_vm(self.stream, "101")
        self.start()
        self.wait_log("101: left alone: it runs again")
        self.assertEqual(self.calls, [])

    def test_a_vm_name_cannot_inject_a_command(self):
        self.start("--start", "qm start {vm}", manager=None)
        name = "a; touch b $(c)"
        self.crash(name)
        self.wait_calls(f"qm start {name}")

    def test_wrong_commands_are_refused(self):
        done = subprocess.run(["/usr/bin/python3", HOOK, "--state", "/nowhere", "--start", "x {name}"],
                              check=False, capture_output=True, text=True, env=self.environment)
        self.assertEqual(done.returncode, 2)
        self.assertIn("{name}", done.stderr)

    def test_the_unit_file_is_valid(self):
        self.check_unit("restart-crashed.service", "/usr/local/sbin/restart_crashed.py")


if __name__ == "__main__":
    world.run_tests(__doc__)
