#!/usr/bin/python3
"""Writes a Kubernetes Event on the instance and the pod of each of KubeVirt's VMs that stops.

An example to adapt; it needs python3-vmeventd. One runs beside each vmeventd, for the VMs of its node, as the
DaemonSet of deploy/kubernetes/kubevirt-events or as a service of the node. `kubectl describe vmi web1` then says who
ended it, how, and what shows that.

  kubevirt_events.py --node NODE --cursor FILE [--server unix:/run/vmeventd/vmeventd.sock]

In a pod it finds the API server and its token by itself. Its service account needs get of
virtualmachineinstances in the API group kubevirt.io, list of pods, and create of events
(/usr/share/doc/vmeventd/managers.md). Elsewhere: --api URL, --ca FILE and --token-file FILE.

Its position is in the cursor file: after an outage it goes on where it was. An Event's name follows from the run
of the VM, so that the API server refuses the same twice.
"""

import argparse
import hashlib
import http.client
import json
import logging
import os
import pathlib
import random
import ssl
import sys
import time
import urllib.parse

import vmeventd
from vmeventd.v1 import vm_events_pb2 as pb

LOG = logging.getLogger("kubevirt_events")
ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
CALL_SECONDS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
MOST_TEXT = 1024  # bytes of an Event's message
REASONS = {pb.SHUTDOWN_CLASS_USER: "StoppedByUser", pb.SHUTDOWN_CLASS_ADMIN: "StoppedByAdmin",
           pb.SHUTDOWN_CLASS_CRASH: "Crashed"}


class Api:
    """The Kubernetes API. One connection for each call."""

    def __init__(self, url, ca_file, token_file):
        self._url = urllib.parse.urlsplit(url)
        self._token_file = token_file
        self._tls = ssl.create_default_context(cafile=ca_file) if self._url.scheme == "https" else None

    def call(self, method, path, body=None):
        """The status and the object of the answer; OSError if there is none."""
        host, port = self._url.hostname, self._url.port
        if self._tls is not None:
            connection = http.client.HTTPSConnection(host, port or 443, timeout=CALL_SECONDS, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port or 80, timeout=CALL_SECONDS)
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token_file:  # it is replaced from time to time
            headers["Authorization"] = "Bearer " + pathlib.Path(self._token_file).read_text().strip()
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read(8 << 20)
            return answer.status, json.loads(text) if text else {}
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def settled(self, method, path, body=None):
        """The same, but OSError for what may be otherwise later: all but 2xx, 404, 409 and 422."""
        status, answer = self.call(method, path, body)
        ends = {each.get("reason") for each in (answer.get("details") or {}).get("causes") or []}
        if status // 100 != 2 and status not in (404, 409, 422) and "NamespaceTerminating" not in ends:
            raise OSError(f"{method} {path}: {status} {answer.get('message', '')}")
        return status, answer


def text_of(event):
    """Class, cause and evidence in words, from the server's own sentence on."""
    shutdown = event.shutdown
    words = [event.message, f"(class {short(pb.ShutdownClass, shutdown.shutdown_class)}, "
             f"cause {short(pb.ShutdownCause, shutdown.cause)}, rule {shutdown.rule})"]
    if shutdown.evidence:
        words.append("evidence: " + "; ".join(each.what for each in shutdown.evidence))
    if shutdown.caveats:
        words.append("caveats: " + ", ".join(short(pb.ShutdownCaveat, each) for each in shutdown.caveats))
    return " ".join(words).encode()[:MOST_TEXT].decode(errors="ignore")


def short(enum, number):
    name = enum.Name(number) if number in enum.values() else str(number)
    return name.removeprefix("SHUTDOWN_").split("_", 1)[-1]


class Writer:
    """Writes the Events of a stopped VM."""

    def __init__(self, api, node):
        self._api, self._node = api, node

    def write(self, event):
        namespace, underscore, name = event.vm.name.partition("_")  # as KubeVirt names the domain
        if not underscore:
            LOG.info("%s: no VM of KubeVirt", event.vm.name)
            return
        vmi = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "namespace": namespace,
               "name": name}
        status, known = self._api.settled(
            "GET", f"/apis/kubevirt.io/v1/namespaces/{quote(namespace)}/virtualmachineinstances/{quote(name)}")
        if status == 200 and is_before(known, event):
            vmi["uid"] = known["metadata"]["uid"]
        self._write(event, vmi)
        if "uid" in vmi:
            query = urllib.parse.urlencode({"labelSelector": f"kubevirt.io/created-by={vmi['uid']}",
                                            "fieldSelector": f"spec.nodeName={self._node}"})
            _, pods = self._api.settled("GET", f"/api/v1/pods?{query}")
            for pod in pods.get("items") or []:
                meta = pod["metadata"]
                self._write(event, {"apiVersion": "v1", "kind": "Pod", "namespace": meta["namespace"],
                                    "name": meta["name"], "uid": meta["uid"]})

    def _write(self, event, about):
        when = event.observe_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
        identity = hashlib.sha256(f"{event.vm.run_id} {about['kind']} {about['name']}".encode()).hexdigest()[:16]
        shutdown_class = event.shutdown.shutdown_class
        status, answer = self._api.settled("POST", f"/api/v1/namespaces/{quote(about['namespace'])}/events", {
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": about["namespace"], "name": f"{about['name'][:200]}.{identity}"},
            "involvedObject": about,
            "reason": REASONS.get(shutdown_class, "Stopped"),
            "type": "Warning" if shutdown_class == pb.SHUTDOWN_CLASS_CRASH else "Normal",
            "message": text_of(event),
            "source": {"component": "vmeventd", "host": self._node},
            "reportingComponent": "vmeventd", "reportingInstance": self._node,
            "firstTimestamp": when, "lastTimestamp": when, "count": 1})
        if status not in (201, 409):  # 409: it is there already
            LOG.warning("%s: no Event: %s %s", event.vm.name, status, answer.get("message", ""))

    def write_at_last(self, event):
        pause = FIRST_PAUSE
        while True:
            try:
                return self.write(event)
            except OSError as error:
                LOG.warning("%s: %s; trying again", event.vm.name, error)
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)


def quote(text):
    return urllib.parse.quote(text, safe="")


def is_before(known, event):
    """Whether the object was there when the VM stopped: it is not its successor of the same name."""
    created = known["metadata"].get("creationTimestamp", "")
    return created <= event.observe_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")


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


def follow(options, writer):
    cursor = pathlib.Path(options.cursor)
    stops = pb.EventFilter(types=[pb.EVENT_TYPE_STOPPED])
    for item in vmeventd.follow(options.server, position=read_position(cursor), start="now", filter=stops):
        if isinstance(item, vmeventd.Gap):
            LOG.error("stops may be missing: %s", item.why)
        elif isinstance(item, vmeventd.NewEvent) and item.event.type == pb.EVENT_TYPE_STOPPED:
            # What is read from the oldest event on, after a gap, is the past, and its Events have expired.
            age = time.time() - item.event.observe_time.ToNanoseconds() / 1e9
            if age > options.max_age:
                LOG.warning("%s: no Event: it stopped %.0f s ago, longer than --max-age", item.event.vm.name, age)
            else:
                writer.write_at_last(item.event)
        write_position(cursor, item.position)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node", default=os.environ.get("NODE_NAME"), help="default: $NODE_NAME")
    parser.add_argument("--cursor", required=True, metavar="FILE", help="where it keeps its position")
    parser.add_argument("--max-age", type=float, default=3600, metavar="SECONDS",
                        help="of a stop that gets an Event; default: 3600, as long as clusters keep Events")
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock", help="of vmeventd")
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
    logging.basicConfig(format="%(message)s")
    try:
        follow(options, Writer(Api(options.api, options.ca, options.token_file), options.node))
    except vmeventd.Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
