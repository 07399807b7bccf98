"""A real kube-apiserver (tools/kube_apiserver.sh) on etcd, without controllers and nodes. It admits pods of the nodes'
priority as GKE does: only in a namespace whose quota permits them."""

import json
import pathlib
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

import world

TOKEN = "admin"
ADMISSION = {
    "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [{
        "name": "ResourceQuota", "configuration": {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration", "limitedResources": [{
                "resource": "pods", "matchScopes": [{
                    "scopeName": "PriorityClass", "operator": "In",
                    "values": ["system-node-critical", "system-cluster-critical"]}]}]}}]}
ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TIME = {"type": "string", "format": "date-time", "nullable": True}
TEXT = {"type": "string"}
# As KubeVirt's definitions have it. Other fields of a condition are dropped.
CONDITIONS = {"type": "array", "items": {"type": "object", "required": ["status", "type"], "properties": {
    "lastProbeTime": TIME, "lastTransitionTime": TIME, "message": TEXT, "reason": TEXT, "status": TEXT, "type": TEXT}}}
KUBEVIRT = {"type": "object", "properties": {"spec": ANY, "status": {**ANY, "properties": {"conditions": CONDITIONS}}}}


class KubeApiServer:
    """Runs from the constructor to close()."""

    def __init__(self, program):
        self._directory = tempfile.TemporaryDirectory(prefix="vmk-")
        path = pathlib.Path(self._directory.name)
        self.url, self.ca = f"https://127.0.0.1:{world.free_port()}", path / "certs/apiserver.crt"
        etcd, peers = (f"http://127.0.0.1:{world.free_port()}" for _ in range(2))
        (path / "tokens").write_text(f"{TOKEN},admin,admin,system:masters\n")
        (path / "admission").write_text(json.dumps(ADMISSION))
        subprocess.run(["openssl", "genrsa", "-out", path / "key"], check=True, capture_output=True)
        self._log = open(path / "log", "wb")
        self._processes = [subprocess.Popen([str(word) for word in command], stdout=self._log, stderr=self._log)
                           for command in (
            ("etcd", "--data-dir", path / "etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
             "--listen-peer-urls", peers),
            (program, "--etcd-servers", etcd, "--bind-address=127.0.0.1", "--secure-port", self.url.rpartition(":")[2],
             "--cert-dir", self.ca.parent, "--token-auth-file", path / "tokens", "--authorization-mode=RBAC",
             "--admission-control-config-file", path / "admission", "--service-cluster-ip-range=10.0.0.0/24",
             "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file", path / "key",
             "--service-account-signing-key-file", path / "key", "--feature-gates=BoundServiceAccountTokenVolume=true"))]
        world.wait_until("the API server is ready", self._is_ready)

    def close(self):
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._log.close()
        self._directory.cleanup()

    def _is_ready(self):
        for process in self._processes:
            assert process.poll() is None, pathlib.Path(self._log.name).read_text()
        try:
            return self.call("GET", "/readyz?verbose", read=bytes.decode).endswith("readyz check passed\n")
        except OSError:
            return False

    def call(self, method, path, body=None, kind="application/json", read=json.loads):
        """Calls as the admin; raises HTTPError."""
        request = urllib.request.Request(
            self.url + path, None if body is None else json.dumps(body).encode(), method=method,
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
        try:
            with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=self.ca),
                                        timeout=world.patience()) as answer:
                return read(answer.read())
        except urllib.error.HTTPError as error:
            error.msg += f": {error.read().decode(errors='replace')}"
            raise

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def define(self, group, version, kind, scope="Namespaced", schema=None, subresources=()):
        """Makes another project's kind, and waits until it is served."""
        plural = kind.lower() + "s"
        self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural}, "versions": [{
                "name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema or ANY},
                "subresources": {name: {} for name in subresources}}]}})
        world.wait_until(f"{kind} is served", lambda: self._is_served(f"/apis/{group}/{version}/{plural}"))

    def define_kubevirt(self):
        """An instance has no subresource for its status."""
        self.define("kubevirt.io", "v1", "VirtualMachineInstance", schema=KUBEVIRT)
        self.define("kubevirt.io", "v1", "VirtualMachine", schema=KUBEVIRT, subresources=("status",))

    def _is_served(self, path):
        try:
            return self.call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
