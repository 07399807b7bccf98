#!/usr/bin/python3
"""Declares intents for KubeVirt's VMs, from what somebody asks the Kubernetes API for.

An example to adapt; it needs Python alone. One runs beside each vmeventd, for the VMs of its node, as a
container of the DaemonSet's pods or as a service of the node. It watches three kinds of objects:

  VirtualMachineInstance  is deleted (kubectl delete, or KubeVirt for a VM that is stopped or restarted)
  VirtualMachine          has a request to stop (virtctl stop, virtctl restart)
  Pod                     the virt-launcher of a VMI is deleted: an eviction (kubectl drain) of a VMI that
                          does not migrate, preemption, kubectl delete

and declares each to vmeventd before KubeVirt has shut the guest down, so that a stop through the guest
agent is an admin's as well. A VMI that has ended by itself is deleted too: no intent is declared for it.
If the VM has ended first, the intent comes too late and is refused; the verdict is then by the evidence
alone.

  kubevirt_intents.py --node NODE [--server unix:/run/vmeventd/vmeventd.sock]

In a pod it finds the API server and its token by itself. Its service account needs, in the API group
kubevirt.io, get, list and watch of virtualmachineinstances and virtualmachines, and the same of pods
(/usr/share/doc/vmeventd/managers.md). Elsewhere: --api URL, --ca FILE and --token-file FILE.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
VMIS = "/apis/kubevirt.io/v1/virtualmachineinstances"
VMS = "/apis/kubevirt.io/v1/virtualmachines"
PODS = "/api/v1/pods"
PAGE = 500             # objects of one answer to a list
MAX_LINE = 8 << 20     # etcd stores no larger objects than 1.5 MiB
WATCH_SECONDS = 300    # then the server ends a watch, and the next one goes on from there
SILENCE_SECONDS = 330  # a connection that brings nothing for longer is made again
CALL_SECONDS = 10      # of vmevents
UNREACHABLE = 4        # vmevents exits so where vmeventd is not there
TRIES, TRY_SECONDS = 5, 1
FIRST_RETRY, MAX_RETRY = 0.2, 30.0
# A guest may take that long beyond its grace period, until KubeVirt destroys it.
MARGIN_SECONDS = 300
MAX_TTL_SECONDS = 24 * 3600


class Expired(Exception):
    """The API server no longer has what came after the position of the watch."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Api:
    """The Kubernetes API, read only. One connection for each call."""

    def __init__(self, url, ca_file, token_file):
        self._url = urllib.parse.urlsplit(url)
        self._token_file = token_file
        self._tls = ssl.create_default_context(cafile=ca_file) if self._url.scheme == "https" else None

    def get(self, path, **query):
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._url.hostname, self._url.port or 443,
                                                     timeout=SILENCE_SECONDS, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._url.hostname, self._url.port or 80,
                                                    timeout=SILENCE_SECONDS)
        headers = {"Accept": "application/json"}
        if self._token_file:  # it is replaced from time to time
            headers["Authorization"] = "Bearer " + pathlib.Path(self._token_file).read_text().strip()
        connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}", headers=headers)
        answer = connection.getresponse()
        if answer.status == 410:
            raise Expired()
        if answer.status != 200:
            raise OSError(f"GET {path}: {answer.status} {answer.read(200).decode(errors='replace')}")
        return answer

    def list(self, path, **query):
        """All objects, and the position at which a watch goes on."""
        objects, more = [], {}
        while True:
            page = json.load(self.get(path, limit=PAGE, **query, **more))
            objects += page.get("items") or []
            meta = page.get("metadata", {})
            if not meta.get("continue"):
                return objects, meta.get("resourceVersion", "")
            more = {"continue": meta["continue"]}

    def watch(self, path, position, **query):
        """What changes from `position` on, until the server ends the watch."""
        answer = self.get(path, watch="1", allowWatchBookmarks="true", resourceVersion=position,
                          timeoutSeconds=WATCH_SECONDS, **query)
        while line := answer.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                raise OSError(f"watch of {path}: a line that is cut, or of more than {MAX_LINE} bytes")
            change = json.loads(line)
            if change["type"] == "ERROR":
                status = change.get("object", {})
                if status.get("code") == 410:
                    raise Expired()
                raise OSError(f"watch of {path}: {status.get('message', 'an error')}")
            yield change["type"], change["object"]


class Watcher(threading.Thread):
    """Follows the objects of one kind for ever. `on_list` is called with all of them, at the start and
    when changes were missed, `on_change` with what a watch says: ADDED, MODIFIED or DELETED; both under the lock."""

    def __init__(self, api, path, lock, on_list, on_change, **query):
        super().__init__(daemon=True)
        self._api, self._path, self._query = api, path, query
        self._lock, self._on_list, self._on_change = lock, on_list, on_change

    def run(self):
        position, wait = None, FIRST_RETRY
        while True:
            try:
                if position is None:
                    objects, position = self._api.list(self._path, **self._query)
                    with self._lock:
                        self._on_list(objects)
                for kind, each in self._api.watch(self._path, position, **self._query):
                    position = each.get("metadata", {}).get("resourceVersion", position)
                    wait = FIRST_RETRY
                    if kind != "BOOKMARK":
                        with self._lock:
                            self._on_change(kind, each)
            except Expired:
                position = None
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                say(f"{self._path}: {error}; trying again")
                wait = min(wait * 2, MAX_RETRY)
            time.sleep(wait * random.uniform(0.5, 1.0))  # also between two watches: no busy loop


class Declarer:
    """Declares one intent for each VMI at the most. One thread at a time."""

    def __init__(self, node, server):
        self._node, self._server = node, server
        self._vmis = {}        # that run on the node, by namespace and name
        self._requested = {}   # of a VM that is to stop, by the same: the UID of its VMI, and why
        self._evicted = {}     # likewise, of a VMI whose pod is deleted
        self._declared = {}    # by the same: the UID of the VMI for which that was tried

    def list_vmis(self, vmis):
        self._vmis = {}
        for vmi in vmis:
            self.on_vmi("MODIFIED", vmi)
        self._declared = {key: uid for key, uid in self._declared.items() if key in self._vmis}

    def list_vms(self, vms):
        self._requested = {}
        for vm in vms:
            self.on_vm("MODIFIED", vm)

    def list_pods(self, pods):
        self._evicted = {}
        for pod in pods:
            self.on_pod("MODIFIED", pod)

    def on_vmi(self, kind, vmi):
        meta, status = vmi["metadata"], vmi.get("status", {})
        key = (meta["namespace"], meta["name"])
        over = status.get("phase") in ("Succeeded", "Failed")
        if over or kind == "DELETED" or status.get("nodeName") != self._node:
            self._vmis.pop(key, None)
            self._declared.pop(key, None)
            return
        self._vmis[key] = vmi
        if meta.get("deletionTimestamp"):
            self._declare(key, "its VirtualMachineInstance is deleted")
        else:
            self._declare_requested(key)

    def on_vm(self, kind, vm):
        meta, status = vm["metadata"], vm.get("status", {})
        key = (meta["namespace"], meta["name"])
        self._requested.pop(key, None)
        requests = {each.get("action"): each for each in status.get("stateChangeRequests") or []}
        if kind == "DELETED" or "Stop" not in requests:
            return
        reason = "restart of its VirtualMachine" if "Start" in requests else "stop of its VirtualMachine"
        self._requested[key] = (requests["Stop"].get("uid"), reason)
        self._declare_requested(key)

    def on_pod(self, kind, pod):
        meta, status = pod["metadata"], pod.get("status", {})
        key = (meta["namespace"], meta.get("annotations", {}).get("kubevirt.io/domain"))
        self._evicted.pop(key, None)
        over = status.get("phase") in ("Succeeded", "Failed")  # its VMI ended, or has moved
        if over or kind == "DELETED" or not meta.get("deletionTimestamp"):
            return
        conditions = {each.get("type"): each for each in status.get("conditions") or []}
        disruption = conditions.get("DisruptionTarget", {}).get("reason")  # EvictionByEvictionAPI, ...
        reason = "its pod is deleted" + (f" ({disruption})" if disruption else "")
        self._evicted[key] = (meta.get("labels", {}).get("kubevirt.io/created-by"), reason)
        self._declare_requested(key)

    def _declare_requested(self, key):
        for requests in (self._requested, self._evicted):
            uid, reason = requests.get(key, (None, None))
            if uid and key in self._vmis and self._vmis[key]["metadata"]["uid"] == uid:
                self._declare(key, reason)

    def _declare(self, key, reason):
        vmi = self._vmis[key]
        uid = vmi["metadata"]["uid"]
        if self._declared.get(key) == uid:
            return
        self._declared[key] = uid
        grace = vmi.get("spec", {}).get("terminationGracePeriodSeconds")
        ttl = min((30 if grace is None else max(int(grace), 0)) + MARGIN_SECONDS, MAX_TTL_SECONDS)
        name = "_".join(key)  # as KubeVirt names the domain
        command = ["vmevents", "--server", self._server, "intent", "declare", name, "--actor", "kubevirt",
                   "--reason", f"{reason}, {'/'.join(key)}", "--ttl", f"{ttl}s"]
        for left in reversed(range(TRIES)):
            try:
                done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=CALL_SECONDS)
            except (OSError, subprocess.TimeoutExpired) as error:
                return say(f"{name}: {error}")
            if done.returncode != UNREACHABLE or left == 0:
                break
            time.sleep(TRY_SECONDS)  # vmeventd is restarted
        say(f"{name}: " + (reason if done.returncode == 0 else done.stderr.strip()))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node", default=os.environ.get("NODE_NAME"), help="default: $NODE_NAME")
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock", help="of vmevents")
    parser.add_argument("--api", help="the API server; default: the pod's")
    parser.add_argument("--ca", help="its certificate authority; default: the pod's")
    parser.add_argument("--token-file", help="default: the pod's, or none with --api")
    options = parser.parse_args()
    if not options.node:
        parser.error("--node: the name of this node is needed, as Kubernetes has it")
    if not options.api:
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host:
            parser.error("--api: this is no pod, so the URL of the API server is needed")
        options.api = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        options.ca = options.ca or str(ACCOUNT / "ca.crt")
        options.token_file = options.token_file or str(ACCOUNT / "token")
    api = Api(options.api, options.ca, options.token_file)
    lock, declarer = threading.Lock(), Declarer(options.node, options.server)
    watchers = [Watcher(api, VMIS, lock, declarer.list_vmis, declarer.on_vmi,
                        labelSelector=f"kubevirt.io/nodeName={options.node}"),
                Watcher(api, VMS, lock, declarer.list_vms, declarer.on_vm),
                Watcher(api, PODS, lock, declarer.list_pods, declarer.on_pod,
                        labelSelector="kubevirt.io=virt-launcher",
                        fieldSelector=f"spec.nodeName={options.node}")]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()


if __name__ == "__main__":
    main()
