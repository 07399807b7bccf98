#!/usr/bin/python3
"""deploy/hooks/kubevirt_vmeventd.py with the rights of its account, against a real kube-apiserver and the real vmeventd.
KubeVirt's part is played by the test: nothing of it runs.

  kubevirt_apiserver_test.py --apiserver FILE --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import argparse
import signal
import sys

import yaml
from hook_case import HOOKS, ROOT, HookTest, world

from kube_apiserver import KubeApiServer

KUBEVIRT = "/apis/kubevirt.io/v1/namespaces/tenant"
CORE = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = "/api/v1/namespaces/vmeventd/serviceaccounts"
READY = {"type": "Ready", "status": "True"}


class KubevirtApiServerTest(HookTest):
    """Each test has a daemon and the hook; the API server is everybody's."""

    program = None  # set by the command line

    @classmethod
    def setUpClass(cls):
        cls.api = KubeApiServer(cls.program)
        cls.addClassCleanup(cls.api.close)
        cls.api.define_kubevirt()
        for namespace in ("tenant", "vmeventd"):
            cls.api.call("POST", CORE, {"metadata": {"name": namespace}})
        cls.api.call("POST", f"{CORE}/tenant/serviceaccounts", {"metadata": {"name": "default"}})
        for path, name in ((ACCOUNT, "serviceaccount"), (f"{RBAC}/clusterroles", "clusterrole"),
                           (f"{RBAC}/clusterrolebindings", "clusterrolebinding")):
            cls.api.call("POST", path, yaml.safe_load(
                (ROOT / f"deploy/kubernetes/components/kubevirt-hook/{name}.yaml").read_text()))
        token = cls.api.call("POST", f"{ACCOUNT}/vmeventd-kubevirt/token", {"spec": {}})
        cls.token = token["status"]["token"]

    def setUp(self):
        super().setUp()
        token = self.world.path / "token"
        token.write_text(self.token)
        cursor = self.world.path / "cursor"
        self.run_beside(["/usr/bin/python3", HOOKS / "kubevirt_vmeventd.py", "--node", "node1", "--server",
                         f"unix:{self.world.socket}", "--cursor", cursor, "--api", self.api.url, "--ca", self.api.ca,
                         "--token-file", token], world.hook_environment())
        world.wait_until("the hook follows", cursor.exists)

    def start(self, name):
        """The VM tenant/NAME, as KubeVirt has one that runs; its QEMU and the uid of its instance."""
        about = {"name": name, "finalizers": ["foregroundDeleteVirtualMachine"],
                 "labels": {"kubevirt.io/nodeName": "node1"}}
        self.api.call("POST", f"{KUBEVIRT}/virtualmachines", {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": about, "spec": {"running": True}})
        self.api.patch(f"{KUBEVIRT}/virtualmachines/{name}/status", {"status": {"conditions": [READY]}})
        made = self.api.call("POST", f"{KUBEVIRT}/virtualmachineinstances", {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": about, "spec": {},
            "status": {"phase": "Running", "nodeName": "node1", "conditions": [READY]}})
        uid = made["metadata"]["uid"]
        self.api.call("POST", f"{CORE}/tenant/pods", {
            "metadata": {"name": f"virt-launcher-{name}", "annotations": {"kubevirt.io/domain": name},
                         "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": uid}},
            "spec": {"nodeName": "node1", "automountServiceAccountToken": False,
                     "containers": [{"name": "compute", "image": "virt-launcher"}]}})
        return self.world.started_vm(self.stream, f"tenant_{name}"), uid

    def events(self, name):
        found = self.api.call("GET", f"{CORE}/tenant/events")["items"]
        return [each for each in found if each["involvedObject"]["name"].endswith(name)]

    def expect_written(self, name, reason):
        """An Event on each of the three, with its uid, and a condition in addition to KubeVirt's."""
        world.wait_until(f"three Events; the log: {self.log}", lambda: len(self.events(name)) == 3)
        objects = {"VirtualMachine": f"{KUBEVIRT}/virtualmachines/{name}", "Pod": f"{CORE}/tenant/pods/virt-launcher-{name}",
                   "VirtualMachineInstance": f"{KUBEVIRT}/virtualmachineinstances/{name}"}
        for event in self.events(name):
            known = self.api.call("GET", objects.pop(event["involvedObject"]["kind"]))
            self.assertEqual((event["involvedObject"]["uid"], event["reason"]), (known["metadata"]["uid"], reason))
            if event["involvedObject"]["kind"] != "Pod":
                kept, added = known["status"]["conditions"]
                self.assertEqual((kept, added["type"], added["reason"]), (READY, "GuestTerminated", reason))
                self.assertEqual((added["message"], added["lastTransitionTime"]),
                                 (event["message"], event["firstTimestamp"]))
        self.assertEqual(objects, {})

    def test_a_crash_is_written_to_the_vm_and_its_instance(self):
        qemu, _ = self.start("crashed")
        qemu.kill(signal.SIGKILL)
        self.expect_written("crashed", "HostStoppedFailed")

    def test_a_shutdown_by_the_user_is_written_to_the_vm_and_its_instance(self):
        qemu, _ = self.start("users")
        self.send_shutdown(qemu)
        qemu.exit()
        self.expect_written("users", "GuestShutdown")

    def expect_platform(self, name, qemu, reason):
        self.assertEqual(self.stream.wait_event("INTENT_DECLARED", f"tenant_{name}").intent.reason,
                         f"{reason}, tenant/{name}")
        self.send_shutdown(qemu)
        qemu.exit()
        self.expect_admin(f"tenant_{name}")
        self.expect_written(name, "PlatformRequestedShutdown")

    def test_a_deletion_is_declared(self):
        qemu, _ = self.start("deleted")
        self.api.call("DELETE", f"{KUBEVIRT}/virtualmachineinstances/deleted")
        self.expect_platform("deleted", qemu, "its VirtualMachineInstance is deleted")

    def test_a_request_to_stop_is_declared(self):
        qemu, uid = self.start("stopped")
        self.api.patch(f"{KUBEVIRT}/virtualmachines/stopped/status",
                       {"status": {"stateChangeRequests": [{"action": "Stop", "uid": uid}]}})
        self.expect_platform("stopped", qemu, "stop of its VirtualMachine")

    def test_an_eviction_is_declared(self):
        qemu, _ = self.start("evicted")
        self.api.call("POST", f"{CORE}/tenant/pods/virt-launcher-evicted/eviction", {
            "apiVersion": "policy/v1beta1", "kind": "Eviction",
            "metadata": {"namespace": "tenant", "name": "virt-launcher-evicted"}})
        self.expect_platform("evicted", qemu, "its pod is deleted")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--apiserver", required=True)
    options, sys.argv[1:] = parser.parse_known_args()
    KubevirtApiServerTest.program = options.apiserver
    world.run_tests(__doc__)
