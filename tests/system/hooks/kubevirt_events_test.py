#!/usr/bin/python3
"""deploy/hooks/kubevirt_events.py against an API server that speaks Kubernetes' protocol, and the real vmeventd.

  kubevirt_events_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import signal

from hook_case import HOOKS, HookTest, world

import fake_kube_api

VMIS = "/apis/kubevirt.io/v1/virtualmachineinstances"
PODS = "/api/v1/pods"
EVENTS = "/api/v1/events"
TOKEN = "secret"
VM = "tenant_web1"  # as KubeVirt names the domain of tenant/web1


class KubevirtEventsTest(HookTest):
    """Each test has a daemon, an API server and the VM tenant/web1 on the node "node1"."""

    def setUp(self):
        super().setUp()
        self.api = fake_kube_api.FakeKubeApi(TOKEN)
        self.addCleanup(self.api.close)
        self.put_vmi()
        self.put_pod("virt-launcher-web1-abcde", "node1")
        (self.world.path / "token").write_text(TOKEN)

    def start(self, *arguments):
        hook = self.run_beside(
            ["/usr/bin/python3", HOOKS / "kubevirt_events.py", "--node", "node1", "--server", f"unix:{self.world.socket}", "--cursor",
             self.world.path / "cursor", "--api", self.api.url, "--token-file", self.world.path / "token", *arguments],
            world.hook_environment())
        world.wait_until("the hook follows", (self.world.path / "cursor").exists)
        return hook

    def put_vmi(self, uid="uid-of-web1", created="2026-01-01T00:00:00Z"):
        self.api.put(VMIS, "tenant", "web1", uid, metadata={"creationTimestamp": created})

    def put_pod(self, name, node, vmi="uid-of-web1"):
        self.api.put(PODS, "tenant", name, f"uid-of-{name}",
                     {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": vmi}, spec={"nodeName": node})

    def crash(self, name=VM, nth=1):
        self.world.started_vm(self.stream, name).kill(signal.SIGKILL)
        return self.stream.wait_event("STOPPED", name, nth)

    def wait_events(self, number):
        self.api.wait(lambda api: len(api.objects(EVENTS)) >= number)
        found = self.api.objects(EVENTS)
        self.assertEqual(len(found), number)
        return found

    def test_the_instance_and_its_pod_get_an_event(self):
        self.put_pod("virt-launcher-web1-target", "node2")
        self.start()
        stopped = self.crash()
        vmi, pod = self.wait_events(2)
        self.assertEqual(vmi["involvedObject"], {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "namespace": "tenant",
            "name": "web1", "uid": "uid-of-web1"})
        self.assertEqual(pod["involvedObject"], {
            "apiVersion": "v1", "kind": "Pod", "namespace": "tenant", "name": "virt-launcher-web1-abcde",
            "uid": "uid-of-virt-launcher-web1-abcde"})
        for event in (vmi, pod):
            self.assertEqual((event["reason"], event["type"], event["count"]), ("Crashed", "Warning", 1))
            self.assertEqual(event["source"], {"component": "vmeventd", "host": "node1"})
            self.assertEqual(event["firstTimestamp"], stopped.observe_time.ToJsonString()[:19] + "Z")
            self.assertTrue(event["message"].startswith(
                f"{stopped.message} (class CRASH, cause QEMU_KILLED, rule qemu-killed) evidence: "), event)
            self.assertIn("exit signal 9", event["message"])

    def test_a_stop_by_the_user_is_no_warning(self):
        self.start()
        qemu = self.world.started_vm(self.stream, VM)
        self.send_shutdown(qemu)
        qemu.exit()
        vmi, _ = self.wait_events(2)
        self.assertEqual((vmi["reason"], vmi["type"]), ("StoppedByUser", "Normal"))

    def test_an_outage_loses_and_repeats_nothing(self):
        hook = self.start()
        self.crash()
        self.wait_events(2)
        hook.kill()
        hook.wait()
        self.crash(nth=2)
        # As after a crash between the Event and the cursor.
        (self.world.path / "cursor").write_text(f"{self.world.info().journal_id}:0\n")
        self.start()
        self.wait_events(4)
        self.crash("tenant_last")
        found = self.wait_events(5)
        self.assertEqual(found[-1]["involvedObject"]["name"], "last")

    def test_the_api_server_is_away_and_the_token_is_replaced(self):
        (self.world.path / "token").write_text("old")
        self.start()
        self.crash()
        self.wait_log("401")
        self.api.faults = [503, 500, 429]
        (self.world.path / "token").write_text(TOKEN)
        self.wait_events(2)

    def test_a_successor_of_the_same_name_is_another(self):
        self.put_vmi("uid-of-the-next", "2999-01-01T00:00:00Z")
        self.start()
        self.crash()
        (vmi,) = self.wait_events(1)
        self.assertNotIn("uid", vmi["involvedObject"])

    def test_the_past_gets_no_event(self):
        self.start("--max-age", "0")
        self.crash()
        self.wait_log("longer than --max-age")
        self.assertEqual(self.api.objects(EVENTS), [])

    def test_an_instance_that_is_gone_and_a_vm_of_others(self):
        self.api.delete(VMIS, "tenant", "web1")
        self.start()
        self.crash("plain")
        self.crash()
        (vmi,) = self.wait_events(1)
        self.assertEqual(vmi["involvedObject"]["name"], "web1")


if __name__ == "__main__":
    world.run_tests(__doc__)
