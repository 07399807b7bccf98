#!/usr/bin/python3
"""Connects the vmeventd of a node with KubeVirt: what an admin asks KubeVirt for becomes an intent, and each VM that
stops gets Kubernetes Events and a condition.

It needs python3-vmeventd and python3-kubernetes. One runs next to each vmeventd, for the VMs of its node: as the
DaemonSet of deploy/kubernetes/components/kubevirt-hook, or as a service of the node.

  kubevirt_vmeventd.py --node NODE --cursor FILE [--server unix:/run/vmeventd/vmeventd.sock]

It declares an intent, before KubeVirt has shut the guest down, when
  a VirtualMachineInstance is deleted (kubectl delete, or KubeVirt for a VM that is stopped or restarted),
  a VirtualMachine has a request to stop (virtctl stop, virtctl restart),
  the virt-launcher pod of an instance is deleted: an eviction (kubectl drain) of one that does not migrate, preemption,
so that a stop through the guest agent is an admin's as well. An instance that ended by itself and is deleted then gets
none. If the VM ended first, the intent comes too late and is refused; the verdict is then by the evidence alone.

It reports a stop by an Event on the VirtualMachine, the instance and its pod, and by the condition GuestTerminated on
the first two. The reasons are those of KubeVirt's enhancement 362: GuestShutdown, PlatformRequestedShutdown, HostShutdown,
HostStoppedFailed, GuestCrashed. A condition that KubeVirt itself has written is left as it is.

In a pod it finds the API server, its token and its authority by itself. Elsewhere: --api URL, --ca FILE and
--token-file FILE. The rights that it needs are in deploy/kubernetes/components/kubevirt-hook/clusterrole.yaml. Its position
is in the cursor file: after an outage it resumes there. An Event's name follows from the run of the VM, so that the API
server refuses the same twice.
"""

import argparse
import collections
import hashlib
import json
import logging
import os
import pathlib
import random
import sys
import threading
import time
import urllib.parse

import grpc
import urllib3
import vmeventd
from google.protobuf import duration_pb2, timestamp_pb2
from kubernetes import client
from vmeventd.v1 import vm_events_pb2 as pb
from vmeventd.v1 import vm_events_pb2_grpc as rpc

LOG = logging.getLogger("kubevirt_vmeventd")
ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
KUBEVIRT = "/apis/kubevirt.io/v1"
VMIS, VMS, PODS = f"{KUBEVIRT}/virtualmachineinstances", f"{KUBEVIRT}/virtualmachines", "/api/v1/pods"
PAGE = 500             # objects of one answer to a list
WATCH_SECONDS = 300    # then the server ends a watch, and the next one resumes
SILENCE_SECONDS = 330  # a connection that brings nothing for longer is made again
CALL_SECONDS = 10
FIRST_PAUSE, MAX_PAUSE = 0.2, 30.0
# A guest may take that long beyond its grace period, until KubeVirt destroys it.
MARGIN_SECONDS = 300
MAX_TTL_SECONDS = 24 * 3600
MAX_DECLARED = 1000  # more than a node has VMs
MAX_TEXT = 1024  # bytes of an Event's message
CONDITION = "GuestTerminated"
OVER = ("Succeeded", "Failed")


def ends_namespace(body):
    """Whether an answer of the API server refuses an object because its namespace is being deleted: it never will be
    accepted."""
    try:
        causes = json.loads(body)["details"]["causes"]
        return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


class Expired(Exception):
    """The API server no longer has what came after the position of the watch."""


class Api:
    """The Kubernetes API. Raises OSError where a call may succeed later. A new connection reads the authority again, and
    each call the token: both are replaced from time to time."""

    def __init__(self, url, ca_file, token_file):
        settings = client.Configuration()
        settings.host, settings.ssl_ca_cert, settings.retries = url, ca_file, False
        if token_file:
            settings.api_key["authorization"] = ""
            settings.api_key_prefix["authorization"] = "Bearer"
            settings.refresh_api_key_hook = lambda changed: changed.api_key.update(
                authorization=pathlib.Path(token_file).read_text(encoding="utf-8").strip())
        self._client = client.ApiClient(settings)

    def call(self, method, path, query=(), body=None, seconds=CALL_SECONDS):
        """The response, whose body is not read yet."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            return self._client.call_api(
                path, method, query_params=list(dict(query).items()), header_params=headers, body=body,
                auth_settings=["BearerToken"], _preload_content=False, _return_http_data_only=True,
                _request_timeout=(CALL_SECONDS, seconds))
        except client.ApiException as error:
            if error.status == 410:
                raise Expired() from error
            raise
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"{method} {path}: {error}") from error

    def settled(self, method, path, query=(), body=None):
        """The status and the object of the answer. Raises OSError if another attempt may succeed: for every status
        except 2xx, 404, 422 and, for a POST whose object is there already, 409."""
        try:
            return 200, json.loads(self.call(method, path, query, body).data)
        except client.ApiException as error:
            text = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
            if error.status in (404, 422) or ends_namespace(text) or (error.status, method) == (409, "POST"):
                return error.status, {"message": text}
            raise OSError(f"{method} {path}: {error.status} {text[:300]}") from error
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise OSError(f"{method} {path}: {error}") from error

    def list(self, path, query):
        """All objects, and the position at which a watch resumes."""
        objects, more = [], {}
        while True:
            page = json.loads(self.call("GET", path, {"limit": PAGE, **query, **more}).data)
            objects += page.get("items") or []
            meta = page.get("metadata", {})
            if not meta.get("continue"):
                return objects, meta.get("resourceVersion", "")
            more = {"continue": meta["continue"]}

    def watch(self, path, position, query):
        """Yields the changes after `position`, until the server ends the watch. Not by kubernetes.watch, which ignores
        bookmarks and, in Debian 12, fails where a chunk ends within a character."""
        answer = self.call("GET", path, {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": position,
                                         "timeoutSeconds": WATCH_SECONDS, **query}, seconds=SILENCE_SECONDS)
        try:
            for line in answer:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    status = change.get("object", {})
                    if status.get("code") == 410:
                        raise Expired()
                    raise OSError(f"watch of {path}: {status.get('message', 'an error')}")
                yield change["type"], change["object"]
        finally:
            answer.close()


class Watcher(threading.Thread):
    """Follows the objects of one kind for ever. `on_change` is called with each change of a watch: ADDED, MODIFIED or DELETED.
    At the start and when changes were missed `forget` is called, and then `on_change` with all objects. Both are called under
    the lock."""

    def __init__(self, api, path, lock, forget, on_change, **query):
        super().__init__(daemon=True)
        self._api, self._path, self._query = api, path, query
        self._lock, self._forget, self._on_change = lock, forget, on_change

    def run(self):
        position, pause = None, FIRST_PAUSE
        while True:
            try:
                if position is None:
                    objects, position = self._api.list(self._path, self._query)
                    with self._lock:
                        self._forget()
                        for each in objects:
                            self._on_change("ADDED", each)
                for kind, each in self._api.watch(self._path, position, self._query):
                    position = each.get("metadata", {}).get("resourceVersion", position)
                    pause = FIRST_PAUSE
                    if kind != "BOOKMARK":
                        with self._lock:
                            self._on_change(kind, each)
            except Expired:
                position = None
            except (OSError, client.ApiException, urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
                LOG.warning("%s: %s; trying again", self._path, error)
                pause = min(pause * 2, MAX_PAUSE)
            time.sleep(pause * random.uniform(0.5, 1.0))  # also between two watches: no busy loop


def deletion_time(meta):
    """The end of the second in which the object was deleted, by the API server's clock: an instance that is started later, of
    the same name, is not meant."""
    time = timestamp_pb2.Timestamp()
    time.FromJsonString(meta["deletionTimestamp"])
    time.seconds += 1 - (meta.get("deletionGracePeriodSeconds") or 0)
    return time


class Declarer:
    """Declares at most one intent for each VMI. One thread at a time."""

    def __init__(self, node, server):
        self._node, self._server = node, server
        self.vmis = {}       # those that run on the node, by namespace and name
        self.requested = {}  # VMs that are to stop, by the same key: the UID of the VMI, why, and since when
        self.evicted = {}    # the same, for VMIs whose pods are deleted
        self._declared = collections.deque(maxlen=MAX_DECLARED)  # UIDs of VMIs for which it was tried

    def on_vmi(self, kind, vmi):
        meta, status = vmi["metadata"], vmi.get("status", {})
        key = (meta["namespace"], meta["name"])
        if status.get("phase") in OVER or kind == "DELETED" or status.get("nodeName") != self._node:
            self.vmis.pop(key, None)
            return
        self.vmis[key] = vmi
        if meta.get("deletionTimestamp"):
            self._declare(key, "its VirtualMachineInstance is deleted", deletion_time(meta))
        else:
            self._declare_requested(key)

    def on_vm(self, kind, vm):
        meta, status = vm["metadata"], vm.get("status", {})
        key = (meta["namespace"], meta["name"])
        self.requested.pop(key, None)
        requests = {each.get("action"): each for each in status.get("stateChangeRequests") or []}
        if kind == "DELETED" or "Stop" not in requests:
            return
        reason = "restart of its VirtualMachine" if "Start" in requests else "stop of its VirtualMachine"
        self.requested[key] = (requests["Stop"].get("uid"), reason, None)  # it has no time
        self._declare_requested(key)

    def on_pod(self, kind, pod):
        meta, status = pod["metadata"], pod.get("status", {})
        key = (meta["namespace"], meta.get("annotations", {}).get("kubevirt.io/domain"))
        self.evicted.pop(key, None)
        over = status.get("phase") in OVER  # its VMI ended, or has moved
        if over or kind == "DELETED" or not meta.get("deletionTimestamp"):
            return
        conditions = {each.get("type"): each for each in status.get("conditions") or []}
        disruption = conditions.get("DisruptionTarget", {}).get("reason")  # EvictionByEvictionAPI, ...
        reason = "its pod is deleted" + (f" ({disruption})" if disruption else "")
        self.evicted[key] = (meta.get("labels", {}).get("kubevirt.io/created-by"), reason, deletion_time(meta))
        self._declare_requested(key)

    def _declare_requested(self, key):
        for requests in (self.requested, self.evicted):
            uid, reason, began = requests.get(key, (None, None, None))
            if uid and key in self.vmis and self.vmis[key]["metadata"]["uid"] == uid:
                self._declare(key, reason, began)

    def _declare(self, key, reason, began):
        vmi = self.vmis[key]
        uid = vmi["metadata"]["uid"]
        if uid in self._declared:
            return
        self._declared.append(uid)
        grace = vmi.get("spec", {}).get("terminationGracePeriodSeconds")
        ttl = min((30 if grace is None else max(int(grace), 0)) + MARGIN_SECONDS, MAX_TTL_SECONDS)
        name = "_".join(key)  # as KubeVirt names the domain
        try:
            with self._server.channel() as channel:
                rpc.VmEventServiceStub(channel).DeclareIntent(pb.DeclareIntentRequest(
                    vm_name=name, actor="kubevirt", reason=f"{reason}, {'/'.join(key)}",
                    ttl=duration_pb2.Duration(seconds=ttl), started_before=began), timeout=CALL_SECONDS,
                                                              wait_for_ready=True)  # for a vmeventd that restarts
            LOG.warning("%s: intent declared: %s", name, reason)
        except grpc.RpcError as error:
            LOG.warning("%s: intent refused: %s", name, error.details())


def reason_of(shutdown):
    """The reason of enhancement 362; None where it was migrated away, or its memory saved to a file, or nobody knows."""
    shutdown_class, cause = shutdown.shutdown_class, shutdown.cause
    if cause in (pb.SHUTDOWN_CAUSE_MIGRATED_AWAY, pb.SHUTDOWN_CAUSE_HOST_SAVE):
        return None
    if shutdown_class == pb.SHUTDOWN_CLASS_USER:
        return "GuestShutdown"
    if shutdown_class == pb.SHUTDOWN_CLASS_ADMIN:
        # Only virt-launcher presses the power button.
        if shutdown.intent.actor == "kubevirt" or cause == pb.SHUTDOWN_CAUSE_HOST_POWERDOWN:
            return "PlatformRequestedShutdown"
        return "HostStoppedFailed" if cause == pb.SHUTDOWN_CAUSE_HOST_KILL else "HostShutdown"
    if shutdown_class == pb.SHUTDOWN_CLASS_CRASH:
        guests = cause in (pb.SHUTDOWN_CAUSE_GUEST_PANIC, pb.SHUTDOWN_CAUSE_WATCHDOG)
        return "GuestCrashed" if guests else "HostStoppedFailed"
    return None


def text_of(event):
    """Class, cause and evidence in words, from the server's own sentence on."""
    shutdown = event.shutdown
    words = [event.message, f"(class {short(pb.ShutdownClass, shutdown.shutdown_class)}, "
             f"cause {short(pb.ShutdownCause, shutdown.cause)}, rule {shutdown.rule})"]
    if shutdown.evidence:
        words.append("evidence: " + "; ".join(each.what for each in shutdown.evidence))
    if shutdown.caveats:
        words.append("caveats: " + ", ".join(short(pb.ShutdownCaveat, each) for each in shutdown.caveats))
    return " ".join(words).encode()[:MAX_TEXT].decode(errors="ignore")


def short(enum, number):
    name = enum.Name(number) if number in enum.values() else str(number)
    return name.removeprefix("SHUTDOWN_").split("_", 1)[-1]


def quote(text):
    return urllib.parse.quote(text, safe="")


class Reporter:
    """Writes the Events and conditions of a stopped VM."""

    def __init__(self, api, node):
        self._api, self._node = api, node

    def report(self, event):
        namespace, underscore, name = event.vm.name.partition("_")  # as KubeVirt names the domain
        if not underscore:
            LOG.info("%s: no VM of KubeVirt", event.vm.name)
            return
        when = event.observe_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
        vmi = self._find(namespace, "virtualmachineinstances", name, when)
        vm = self._find(namespace, "virtualmachines", name, when)
        reason = reason_of(event.shutdown)
        # KubeVirt copies an instance's conditions to its VM and removes others as long as there is an instance.
        if reason and vmi:
            self._add_condition(vmi, "", reason, event, when)
        if reason and vm:
            self._add_condition(vm, vmi["metadata"]["creationTimestamp"] if vmi else when, reason, event, when)
        pods = []
        if vmi:
            _, found = self._api.settled("GET", PODS, {
                "labelSelector": f"kubevirt.io/created-by={vmi['metadata']['uid']}",
                "fieldSelector": f"spec.nodeName={self._node}"})
            pods = [{"apiVersion": "v1", "kind": "Pod", **pod} for pod in found.get("items") or []]
        gone = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
                "metadata": {"namespace": namespace, "name": name}}
        for about in [vm, vmi or gone, *pods]:
            if about:
                self._write_event(event, about, reason or "Stopped", when)

    def _find(self, namespace, plural, name, when):
        """The object if it was there when the VM stopped: it is not its successor of the same name."""
        status, known = self._api.settled("GET", f"{KUBEVIRT}/namespaces/{quote(namespace)}/{plural}/{quote(name)}")
        return known if status == 200 and known["metadata"].get("creationTimestamp", "") <= when else None

    def _add_condition(self, about, since, reason, event, when):
        """Adds the condition, unless there is one of `since` or later: KubeVirt's own, or ours from before an
        outage."""
        conditions = about.get("status", {}).get("conditions") or []
        if any(each["type"] == CONDITION and (each.get("lastTransitionTime") or "") >= since for each in conditions):
            return
        meta, is_vm = about["metadata"], about["kind"] == "VirtualMachine"
        path = f"{KUBEVIRT}/namespaces/{quote(meta['namespace'])}/{about['kind'].lower()}s/{quote(meta['name'])}"
        added = {"type": CONDITION, "status": "True", "reason": reason, "message": text_of(event),
                 "lastProbeTime": None, "lastTransitionTime": when}
        # An instance has no subresource "status". Another writer in between is a conflict by the version.
        status, answer = self._api.settled("PATCH", f"{path}/status" if is_vm else path, body={
            "metadata": {"resourceVersion": meta["resourceVersion"]},
            "status": {"conditions": [each for each in conditions if each["type"] != CONDITION] + [added]}})
        if status not in (200, 404):
            LOG.warning("%s: no condition: %s %s", event.vm.name, status, answer["message"][:300])

    def _write_event(self, event, about, reason, when):
        meta = about["metadata"]
        identity = hashlib.sha256(f"{event.vm.run_id} {about['kind']} {meta['name']}".encode()).hexdigest()[:16]
        status, answer = self._api.settled("POST", f"/api/v1/namespaces/{quote(meta['namespace'])}/events", body={
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": meta["namespace"], "name": f"{meta['name'][:200]}.{identity}"},
            "involvedObject": {"apiVersion": about["apiVersion"], "kind": about["kind"],
                               **{key: meta[key] for key in ("namespace", "name", "uid") if key in meta}},
            "reason": reason, "type": "Warning" if reason in ("GuestCrashed", "HostStoppedFailed") else "Normal",
            "message": text_of(event),
            "source": {"component": "vmeventd", "host": self._node},
            "reportingComponent": "vmeventd", "reportingInstance": self._node,
            "firstTimestamp": when, "lastTimestamp": when, "count": 1})
        if status not in (200, 409):  # 409: it is there already
            LOG.warning("%s: no Event: %s %s", event.vm.name, status, answer["message"][:300])

    def report_at_last(self, event):
        pause = FIRST_PAUSE
        while True:
            try:
                return self.report(event)
            except OSError as error:
                LOG.warning("%s: %s; trying again", event.vm.name, error)
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, MAX_PAUSE)


def read_position(path):
    if not path.exists():
        return None
    try:
        return vmeventd.Position.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return sys.exit(f"{path} is no cursor: {error}; remove it, or name another file")


def write_position(path, position):
    if position is None:
        path.unlink(missing_ok=True)
        return
    vmeventd.replace_file(path, f"{position}\n")


def follow(options, reporter):
    cursor = pathlib.Path(options.cursor)
    stops = pb.EventFilter(types=[pb.EVENT_TYPE_STOPPED])
    for item in vmeventd.follow(options.server, position=read_position(cursor), start="now", filter=stops):
        if isinstance(item, vmeventd.Gap):
            LOG.error("stops may be missing: %s", item.why)
        elif isinstance(item, vmeventd.NewEvent) and item.event.type == pb.EVENT_TYPE_STOPPED:
            # After a gap the oldest events come first: they are the past, and their Events have expired.
            age = time.time() - item.event.observe_time.ToNanoseconds() / 1e9
            if age > options.max_age:
                LOG.warning("%s: no Event: it stopped %.0f s ago, longer than --max-age", item.event.vm.name, age)
            else:
                reporter.report_at_last(item.event)
        write_position(cursor, item.position)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node", default=os.environ.get("NODE_NAME"),
                        help="name of this node in Kubernetes (default: $NODE_NAME)")
    parser.add_argument("--cursor", required=True, metavar="FILE", help="file with its position")
    parser.add_argument("--max-age", type=float, default=3600, metavar="SECONDS",
                        help="largest age of a stop that is reported (default: 3600, the time for which clusters retain Events)")
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock", help="address of vmeventd")
    parser.add_argument("--api", help="URL of the API server (default: the pod's)")
    parser.add_argument("--ca", help="file with its certificate authority (default: the pod's)")
    parser.add_argument("--token-file", help="file with the token (default: the pod's; with --api none)")
    options = parser.parse_args()
    if not options.node:
        parser.error("--node: the name of this node in Kubernetes is required")
    if not options.api:
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host:
            parser.error("--api: this is no pod, so the URL of the API server is needed")
        options.api = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        options.ca = options.ca or str(ACCOUNT / "ca.crt")
        options.token_file = options.token_file or str(ACCOUNT / "token")
    return options


def main():
    options = parse_arguments()
    logging.basicConfig(format="%(message)s")
    api = Api(options.api, options.ca, options.token_file)
    lock, declarer = threading.Lock(), Declarer(options.node, vmeventd.Server(options.server))
    Watcher(api, VMIS, lock, declarer.vmis.clear, declarer.on_vmi,
            labelSelector=f"kubevirt.io/nodeName={options.node}").start()
    Watcher(api, VMS, lock, declarer.requested.clear, declarer.on_vm).start()
    Watcher(api, PODS, lock, declarer.evicted.clear, declarer.on_pod, labelSelector="kubevirt.io=virt-launcher",
            fieldSelector=f"spec.nodeName={options.node}").start()
    try:
        follow(options, Reporter(api, options.node))
    except vmeventd.Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
