#!/usr/bin/python3
"""deploy/hooks/kubevirt_intents.py against an API server that speaks Kubernetes' watch protocol, and the
real vmeventd and vmevents.

  kubevirt_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import os
import signal
import sys

from hook_case import HOOKS, HookTest, world

import fake_kube_api

HOOK = HOOKS / "kubevirt_intents.py"
VMIS = "/apis/kubevirt.io/v1/virtualmachineinstances"
VMS = "/apis/kubevirt.io/v1/virtualmachines"
PODS = "/api/v1/pods"
TOKEN = "secret"
VM = "tenant_web1"  # as KubeVirt names the domain of tenant/web1


class KubevirtTest(HookTest):
    """Each test has a daemon, an API server and the VM tenant/web1 on the node "node1"."""

    def setUp(self):
        super().setUp()
        self.qemu = self.world.started_vm(self.stream, VM)
        self.api = fake_kube_api.FakeKubeApi(TOKEN)
        self.addCleanup(self.api.close)
        self.put_vmi()
        self.path = self.programs()
        (self.world.path / "token").write_text(TOKEN)

    def start(self, *program):
        self.start_hook(*program)
        self.wait_for_watches()

    def start_hook(self, *program):
        self.run_beside([sys.executable, *(program or [HOOK]), "--node", "node1", "--server",
                         f"unix:{self.world.socket}", "--api", self.api.url, "--token-file", self.world.path / "token"],
                        {**os.environ, "PATH": self.path})

    def wait_for_watches(self):
        self.api.wait(lambda api: api.watches == 3)

    def put_vmi(self, name="web1", node="node1", phase="Running", deleted=False, uid=None, **spec):
        meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {}
        self.api.put(VMIS, "tenant", name, uid or f"uid-of-{name}", {"kubevirt.io/nodeName": node},
                     metadata=meta, spec=spec, status={"phase": phase, "nodeName": node})

    def put_vm(self, *actions, uid="uid-of-web1"):
        requests = [{"action": action, **({"uid": uid} if action == "Stop" else {})}
                    for action in actions]
        self.api.put(VMS, "tenant", "web1", "uid-of-vm", status={"stateChangeRequests": requests})

    def put_pod(self, node="node1", phase="Running", deleted=False, uid="uid-of-web1", conditions=()):
        meta = {"annotations": {"kubevirt.io/domain": "web1"}}
        if deleted:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.api.put(PODS, "tenant", "virt-launcher-web1-abcde", "uid-of-pod",
                     {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": uid}, metadata=meta,
                     spec={"nodeName": node}, status={"phase": phase, "conditions": list(conditions)})

    def wait_declared(self):
        return self.stream.wait_event("INTENT_DECLARED", VM)

    def expect_none(self):
        """Nothing that was put before led to an intent: what is put now does."""
        self.assertEqual(self.world.get(VM).intent.actor, "")
        other = self.world.started_vm(self.stream, "tenant_other")
        self.put_vmi("other")
        self.put_vmi("other", deleted=True)
        self.stream.wait_event("INTENT_DECLARED", "tenant_other")
        other.kill(signal.SIGKILL)
        self.assertEqual(self.world.get(VM).intent.actor, "")

    def test_a_deletion_is_the_admins(self):
        self.start()
        self.put_vmi(deleted=True, terminationGracePeriodSeconds=60)
        declared = self.wait_declared()
        self.assertEqual(declared.intent.actor, "kubevirt")
        self.assertEqual(declared.intent.reason,
                         "its VirtualMachineInstance is deleted, tenant/web1")
        left = declared.intent.expire_time.ToNanoseconds() - declared.observe_time.ToNanoseconds()
        self.assertEqual(round(left / 1e9), 360)
        self.send_shutdown(self.qemu)
        self.qemu.kill(signal.SIGKILL)
        self.expect_admin(VM)

    def test_a_request_to_stop_or_restart_is_declared_once(self):
        self.start()
        self.put_vm("Stop", "Start")
        self.assertEqual(self.wait_declared().intent.reason,
                         "restart of its VirtualMachine, tenant/web1")
        self.put_vmi(deleted=True)
        self.qemu.kill(signal.SIGKILL)
        self.stream.wait_event("STOPPED", VM)
        self.assertEqual(self.stream.types(VM).count("INTENT_DECLARED"), 1)

    def test_a_request_for_an_earlier_instance_is_none(self):
        self.start()
        self.put_vm("Stop", uid="uid-of-an-earlier-one")
        self.expect_none()

    def test_an_instance_that_has_ended_by_itself_is_deleted_without_an_intent(self):
        self.start()
        self.put_vmi(phase="Succeeded")
        self.put_vmi(phase="Succeeded", deleted=True)
        self.expect_none()

    def test_an_eviction_is_the_admins(self):
        self.start()
        self.put_pod()
        self.put_pod(deleted=True,
                     conditions=[{"type": "DisruptionTarget", "reason": "EvictionByEvictionAPI"}])
        self.assertEqual(self.wait_declared().intent.reason,
                         "its pod is deleted (EvictionByEvictionAPI), tenant/web1")
        self.send_shutdown(self.qemu)
        self.qemu.kill(signal.SIGKILL)
        self.expect_admin(VM)

    def test_a_pod_that_was_evicted_before_the_start_is_declared(self):
        self.put_pod(deleted=True)
        self.start()
        self.assertEqual(self.wait_declared().intent.reason, "its pod is deleted, tenant/web1")

    def test_a_pod_that_is_over_or_anothers_is_none(self):
        self.start()
        self.put_pod(phase="Succeeded", deleted=True)
        self.put_pod(uid="uid-of-an-earlier-one", deleted=True)
        self.put_pod(node="node2", deleted=True)
        self.expect_none()

    def test_other_nodes_are_theirs(self):
        self.start()
        self.put_vmi(node="node2", deleted=True)
        self.expect_none()

    def test_what_is_deleted_before_the_start_is_declared(self):
        self.api.page = 1  # the lists have pages
        self.put_vmi("another")
        self.put_vmi(deleted=True)
        self.start()
        self.wait_declared()

    def test_a_watch_that_is_cut_goes_on_where_it_was(self):
        self.start()
        self.api.bookmark(VMIS)
        lists = sum("watch" not in query for _, query in self.api.log)
        self.api.cut()
        self.put_vmi(deleted=True)
        self.wait_declared()
        self.wait_for_watches()
        self.assertEqual(sum("watch" not in query for _, query in self.api.log), lists)

    def test_a_position_that_has_expired_is_listed_again(self):
        self.start()
        self.put_vmi(deleted=True)
        self.wait_declared()
        self.qemu.kill(signal.SIGKILL)
        self.stream.wait_event("STOPPED", VM)
        self.qemu = self.world.started_vm(self.stream, VM)
        with self.api.missed():
            self.api.delete(VMIS, "tenant", "web1")
            self.put_vmi(uid="uid-of-the-next", deleted=True)
        self.stream.wait_event("INTENT_DECLARED", VM, 2)

    def test_a_daemon_that_is_restarted_gets_it(self):
        # The hook gives up after four seconds, in which a busy machine may not have started the daemon.
        self.start("-B", "-c", f"import sys; sys.path.insert(0, {str(HOOK.parent)!r}); import {HOOK.stem} as hook; "
                               f"hook.TRIES = {world.PATIENCE}; hook.main()")
        self.world.stop()
        self.put_vmi(deleted=True)
        self.world.start()
        stream = self.world.oldest()
        stream.wait_event("INTENT_DECLARED", VM)

    def test_a_token_that_is_replaced_is_read_again(self):
        (self.world.path / "token").write_text("old")
        self.start_hook()
        self.api.wait(lambda api: len(api.log) >= 3)
        (self.world.path / "token").write_text(TOKEN)
        self.wait_for_watches()


if __name__ == "__main__":
    world.run_tests(__doc__)
