#!/usr/bin/python3
"""deploy/hooks/kubevirt_vmeventd.py against an API server that speaks Kubernetes' protocol, and the real vmeventd.

  kubevirt_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import importlib.util
import signal
import ssl
import unittest

from hook_case import HOOKS, HookTest, world

import fake_kube_api

HOOK = HOOKS / "kubevirt_vmeventd.py"
VMIS = "/apis/kubevirt.io/v1/virtualmachineinstances"
VMS = "/apis/kubevirt.io/v1/virtualmachines"
PODS = "/api/v1/pods"
EVENTS = "/api/v1/events"
TOKEN = "secret"
AFTER_THE_START = "2100-01-01T00:00:00Z"
VM = "tenant_web1"  # as KubeVirt names the domain of tenant/web1


class KubevirtTest(HookTest):
    """Each test has a daemon, an API server and the VM tenant/web1 on the node "node1"."""

    def setUp(self):
        super().setUp()
        self.qemu = self.world.started_vm(self.stream, VM)
        self.serve()
        self.token = self.world.path / "token"
        self.token.write_text(TOKEN)

    def serve(self, tls=None):
        """Another API server, with the objects of the VM."""
        self.api = fake_kube_api.FakeKubeApi(TOKEN, tls)
        self.addCleanup(self.api.close)
        self.put_vmi()
        self.put_pod()
        self.put_vm()

    def start(self, *arguments, program=(HOOK,)):
        hook = self.start_hook(*arguments, program=program)
        self.wait_for_watches()
        world.wait_until("the hook follows", (self.world.path / "cursor").exists)
        return hook

    def start_hook(self, *arguments, program=(HOOK,)):
        return self.run_beside(
            ["/usr/bin/python3", *program, "--node", "node1", "--server", f"unix:{self.world.socket}", "--cursor",
             self.world.path / "cursor", "--api", self.api.url, "--token-file", self.token, *arguments],
            world.hook_environment())

    def wait_for_watches(self):
        self.api.wait(lambda api: api.watches == 3)

    def put_vmi(self, name="web1", node="node1", phase="Running", deleted=False, uid=None, created=None, conditions=(),
                deleted_at=AFTER_THE_START, **spec):
        meta = {"deletionTimestamp": deleted_at} if deleted else {}
        if created:
            meta["creationTimestamp"] = created
        self.api.put(VMIS, "tenant", name, uid or f"uid-of-{name}", {"kubevirt.io/nodeName": node}, metadata=meta,
                     spec=spec, status={"phase": phase, "nodeName": node, "conditions": list(conditions)})

    def put_vm(self, *actions, uid="uid-of-web1", conditions=()):
        requests = [{"action": action, **({"uid": uid} if action == "Stop" else {})}
                    for action in actions]
        self.api.put(VMS, "tenant", "web1", "uid-of-vm",
                     status={"stateChangeRequests": requests, "conditions": list(conditions)})

    def put_pod(self, node="node1", phase="Running", deleted=False, uid="uid-of-web1", conditions=(), suffix="abcde"):
        meta = {"annotations": {"kubevirt.io/domain": "web1"}}
        if deleted:
            meta["deletionTimestamp"] = AFTER_THE_START
            meta["deletionGracePeriodSeconds"] = 30
        self.api.put(PODS, "tenant", f"virt-launcher-web1-{suffix}", "uid-of-pod",
                     {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": uid}, metadata=meta,
                     spec={"nodeName": node}, status={"phase": phase, "conditions": list(conditions)})

    def wait_declared(self):
        return self.stream.wait_event("INTENT_DECLARED", VM)

    def expect_none(self):
        """Expects that no object that was put before led to an intent: the one that is put now does."""
        self.assertEqual(self.world.get(VM).intent.actor, "")
        other = self.world.started_vm(self.stream, "tenant_other")
        self.put_vmi("other")
        self.put_vmi("other", deleted=True)
        self.stream.wait_event("INTENT_DECLARED", "tenant_other")
        other.kill(signal.SIGKILL)
        self.assertEqual(self.world.get(VM).intent.actor, "")

    def test_a_deletion_declares_an_intent_and_the_end_is_admin(self):
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

    def test_a_request_for_an_earlier_instance_declares_no_intent(self):
        self.start()
        self.put_vm("Stop", uid="uid-of-an-earlier-one")
        self.expect_none()

    def test_an_instance_that_has_ended_by_itself_is_deleted_without_an_intent(self):
        self.start()
        self.put_vmi(phase="Succeeded")
        self.put_vmi(phase="Succeeded", deleted=True)
        self.expect_none()

    def test_an_eviction_is_declared_and_the_end_is_admin(self):
        self.start()
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

    def test_a_pod_that_has_ended_or_is_of_another_instance_declares_no_intent(self):
        self.start()
        self.put_pod(phase="Succeeded", deleted=True)
        self.put_pod(uid="uid-of-an-earlier-one", deleted=True)
        self.put_pod(node="node2", deleted=True)
        self.expect_none()

    def test_a_late_report_of_a_deletion_declares_no_intent_for_the_next_instance(self):
        self.start()
        self.put_vmi(deleted=True, deleted_at="2026-01-01T00:00:00Z")
        self.expect_none()

    def test_instances_of_other_nodes_are_ignored(self):
        self.start()
        self.put_vmi(node="node2", deleted=True)
        self.expect_none()

    def test_a_deletion_before_the_start_is_declared(self):
        self.api.page = 1  # the lists have pages
        self.put_vmi("another")
        self.put_vmi(deleted=True)
        self.start()
        self.wait_declared()

    def test_an_interrupted_watch_continues_at_its_position(self):
        self.start()
        self.api.bookmark(VMIS)
        lists = sum("watch" not in query for _, query in self.api.log)
        self.api.cut()
        self.put_vmi(deleted=True)
        self.wait_declared()
        self.wait_for_watches()
        self.assertEqual(sum("watch" not in query for _, query in self.api.log), lists)

    def test_an_expired_position_makes_the_hook_list_again(self):
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

    @unittest.skipIf(world.OTHER_SENTENCES, "what changes the sentences answers for the daemon that is away")
    def test_an_intent_is_declared_once_the_daemon_is_restarted(self):
        # The hook gives up after ten seconds, in which a busy machine may not have started the daemon.
        self.start(program=("-B", "-c", f"import sys; sys.path.insert(0, {str(HOOK.parent)!r}); import {HOOK.stem} as hook; "
                                        f"hook.CALL_SECONDS = {world.patience()}; hook.main()"))
        self.world.stop()
        self.put_vmi(deleted=True)
        self.world.start()
        stream = self.world.oldest()
        stream.wait_event("INTENT_DECLARED", VM)

    def test_characters_split_between_chunks_are_read(self):
        self.start()
        self.put_vmi(deleted=True, note="ä€" * 5000)
        self.wait_declared()

    def test_a_token_that_is_replaced_is_read_again(self):
        self.token.write_text("old")
        self.start_hook()
        self.api.wait(lambda api: len(api.log) >= 3)
        self.token.write_text(TOKEN)
        self.wait_for_watches()

    def test_an_authority_that_is_replaced_is_read_again(self):
        authority = self.world.path / "ca.crt"
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.write_text(self.certify(tls))
        self.serve(tls)
        self.start("--ca", authority)
        replaced = self.certify(tls)
        self.api.cut()
        self.wait_log("CERTIFICATE_VERIFY_FAILED")
        authority.write_text(replaced)
        self.wait_for_watches()
        self.crash()
        self.wait_reported(3)

    def certify(self, tls):
        """Gives the server a new certificate, and returns it."""
        world.make_certificate(self.world.path, "made", "subjectAltName=IP:127.0.0.1")
        made = self.world.path / "made.pem"
        tls.load_cert_chain(made, self.world.path / "made.key")
        return made.read_text()

    # What it reports.

    def crash(self, name=VM):
        qemu = self.qemu if name == VM else self.world.started_vm(self.stream, name)
        qemu.kill(signal.SIGABRT)
        return self.stream.wait_event("STOPPED", name)

    def wait_reported(self, number):
        self.api.wait(lambda api: len(api.objects(EVENTS)) >= number)
        found = self.api.objects(EVENTS)
        self.assertEqual(len(found), number)
        return found

    def conditions(self, path):
        (known,) = self.api.objects(path)
        return {each["type"]: each for each in known["status"]["conditions"]}

    def test_the_vm_its_instance_and_its_pod_get_an_event(self):
        self.put_pod("node2", suffix="target")
        self.start()
        stopped = self.crash()
        found = self.wait_reported(3)
        self.assertEqual([event["involvedObject"] for event in found], [
            {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "namespace": "tenant", "name": "web1",
             "uid": "uid-of-vm"},
            {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "namespace": "tenant", "name": "web1",
             "uid": "uid-of-web1"},
            {"apiVersion": "v1", "kind": "Pod", "namespace": "tenant", "name": "virt-launcher-web1-abcde",
             "uid": "uid-of-pod"}])
        for event in found:
            self.assertEqual((event["reason"], event["type"], event["count"]), ("HostStoppedFailed", "Warning", 1))
            self.assertEqual(event["source"], {"component": "vmeventd", "host": "node1"})
            self.assertEqual(event["firstTimestamp"], stopped.observe_time.ToJsonString()[:19] + "Z")
            self.assertTrue(event["message"].startswith(
                f"{stopped.message} (class CRASH, cause QEMU_CRASHED, rule qemu-crashed) evidence: "), event)
            if not world.OTHER_SENTENCES:
                self.assertIn("exit signal 6", event["message"])

    def test_the_vm_and_its_instance_get_a_condition_and_keep_their_other_ones(self):
        ready = {"type": "Ready", "status": "False"}
        earlier = {"type": "GuestTerminated", "status": "True", "reason": "GuestCrashed",
                   "lastTransitionTime": "2025-01-01T00:00:00Z"}
        self.put_vmi(conditions=[ready])
        self.put_vm(conditions=[ready, earlier])
        self.start()
        stopped = self.crash()
        found = self.wait_reported(3)
        for path in (VMIS, VMS):
            self.assertEqual(self.conditions(path), {"Ready": ready, "GuestTerminated": {
                "type": "GuestTerminated", "status": "True", "reason": "HostStoppedFailed", "lastProbeTime": None,
                "message": found[0]["message"], "lastTransitionTime": stopped.observe_time.ToJsonString()[:19] + "Z"}})

    def test_a_condition_that_kubevirt_wrote_is_not_changed(self):
        own = {"type": "GuestTerminated", "status": "True", "reason": "HostShutdown",
               "lastTransitionTime": "2026-01-02T00:00:00Z"}
        self.put_vmi(conditions=[own])
        self.put_vm(conditions=[own])
        self.start()
        self.crash()
        self.wait_reported(3)
        self.assertEqual(self.conditions(VMIS), {"GuestTerminated": own})
        self.assertEqual(self.conditions(VMS), {"GuestTerminated": own})

    def test_a_stop_by_the_user_and_a_stop_by_kubevirt_have_their_reasons(self):
        self.start()
        self.send_shutdown(self.qemu)
        self.qemu.exit()
        event = self.wait_reported(3)[0]
        self.assertEqual((event["reason"], event["type"]), ("GuestShutdown", "Normal"))
        self.qemu = self.world.started_vm(self.stream, VM)
        self.put_vmi(uid="uid-of-the-next")
        self.put_vm("Stop", uid="uid-of-the-next")
        self.wait_declared()
        self.send_shutdown(self.qemu)
        self.qemu.exit()
        event = self.wait_reported(5)[-1]  # its pod belongs to another instance
        self.assertEqual((event["reason"], event["type"]), ("PlatformRequestedShutdown", "Normal"))
        self.assertEqual(self.conditions(VMIS)["GuestTerminated"]["reason"], "PlatformRequestedShutdown")

    def test_the_reasons_match_enhancement_362(self):
        spec = importlib.util.spec_from_file_location("kubevirt_vmeventd", HOOK)
        hook = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(hook)
        pb = world.pb
        for verdict, reason in {
                "USER GUEST_POWEROFF": "GuestShutdown", "USER GUEST_HIBERNATE": "GuestShutdown",
                "ADMIN HOST_POWERDOWN": "PlatformRequestedShutdown", "ADMIN HOST_DESTROY": "HostShutdown",
                "ADMIN HOST_SIGNAL": "HostShutdown", "ADMIN HOST_SHUTDOWN": "HostShutdown",
                "ADMIN HOST_KILL": "HostStoppedFailed", "ADMIN MIGRATED_AWAY": None, "ADMIN HOST_SAVE": None,
                "CRASH GUEST_PANIC": "GuestCrashed", "CRASH WATCHDOG": "GuestCrashed",
                "CRASH QEMU_KILLED": "HostStoppedFailed", "CRASH OUT_OF_MEMORY": "HostStoppedFailed",
                "UNKNOWN UNOBSERVED": None}.items():
            shutdown_class, cause = verdict.split()
            detail = pb.ShutdownDetail(cause=pb.ShutdownCause.Value(f"SHUTDOWN_CAUSE_{cause}"),
                                       shutdown_class=pb.ShutdownClass.Value(f"SHUTDOWN_CLASS_{shutdown_class}"))
            self.assertEqual(hook.reason_of(detail), reason, verdict)
        detail = pb.ShutdownDetail(cause=pb.SHUTDOWN_CAUSE_HOST_DESTROY, intent=pb.Intent(actor="kubevirt"),
                                   shutdown_class=pb.SHUTDOWN_CLASS_ADMIN)
        self.assertEqual(hook.reason_of(detail), "PlatformRequestedShutdown")

    def test_an_outage_loses_and_repeats_nothing(self):
        hook = self.start()
        self.crash()
        self.wait_reported(3)
        hook.kill()
        hook.wait()
        self.crash("tenant_other")
        # The state after a crash between the Event and the cursor.
        (self.world.path / "cursor").write_text(f"{self.world.info().journal_id}:0\n")
        self.start()
        self.wait_reported(4)
        self.crash("tenant_last")
        self.assertEqual(self.wait_reported(5)[-1]["involvedObject"]["name"], "last")
        self.assertEqual(len(self.api.objects(VMIS)[0]["status"]["conditions"]), 1)

    def test_a_failed_write_is_retried(self):
        self.start()
        self.api.faults = [503, 500, 429, 409]
        self.crash()
        self.wait_reported(3)

    def test_a_terminating_namespace_delays_no_other(self):
        self.api.terminating.add("tenant")
        self.start()
        self.crash()
        stopped = self.crash("tenant_web2").sequence
        world.wait_until("the hook is behind both ends",
                         lambda: int((self.world.path / "cursor").read_text().rpartition(":")[2]) >= stopped)
        self.assertEqual(self.api.objects(EVENTS), [])

    def test_a_later_instance_of_the_same_name_gets_no_event(self):
        self.put_vmi(uid="uid-of-the-next", created="2999-01-01T00:00:00Z")
        self.start()
        self.crash()
        vm, vmi = self.wait_reported(2)
        self.assertEqual(vm["involvedObject"]["uid"], "uid-of-vm")
        self.assertNotIn("uid", vmi["involvedObject"])
        self.assertEqual(self.conditions(VMIS), {})

    def test_an_old_end_gets_no_event(self):
        self.start("--max-age", "0")
        self.crash()
        self.wait_log("longer than --max-age")
        self.assertEqual(self.api.objects(EVENTS), [])

    def test_a_deleted_instance_and_a_vm_outside_of_kubevirt_get_no_event(self):
        self.start()
        self.api.delete(VMIS, "tenant", "web1")
        self.crash("plain")
        self.crash()
        self.assertEqual([each["involvedObject"]["kind"] for each in self.wait_reported(2)],
                         ["VirtualMachine", "VirtualMachineInstance"])
        self.assertEqual(self.conditions(VMS)["GuestTerminated"]["reason"], "HostStoppedFailed")


if __name__ == "__main__":
    world.run_tests(__doc__)
