#!/usr/bin/python3
"""Notifies OpenStack masakari of VMs that crashed, so that its engine starts them again.

An example to adapt; it needs python3-vmeventd. One runs on each compute node, beside the vmeventd that follows
the node's libvirt, as masakari-instancemonitor does, in whose place it may stand. For each VM whose end is a
CRASH it posts what masakari's engine acts on: a notification of the type VM with the event LIFECYCLE,
STOPPED_FAILED and the UUID of the instance. That includes guests that panicked, watchdogs that expired and
QEMUs that were killed because memory ran out. An end by the user or by an admin is none.

  masakari_notifier.py --cursor /var/lib/masakari-vmeventd/cursor [--hostname NAME]

It logs in to keystone as the variables of the openstack client say: OS_AUTH_URL, OS_USERNAME, OS_PASSWORD,
OS_PROJECT_NAME, OS_USER_DOMAIN_NAME, OS_PROJECT_DOMAIN_NAME, OS_CACERT, or OS_APPLICATION_CREDENTIAL_ID and
OS_APPLICATION_CREDENTIAL_SECRET; masakari's endpoint is that of the catalog (instance-ha), or --endpoint URL.
masakari-vmeventd.service, beside it, runs it as a service.

Its position is in the cursor file: after an outage it goes on where it was. An instance is notified at most once for
each life of its QEMU. Since the engine stops an instance that runs before it starts it, none is notified that
runs on this node again, or whose crash is older than --max-age: it may run elsewhere.
"""

import argparse
import datetime
import http.client
import json
import logging
import os
import pathlib
import random
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request

import grpc
import vmeventd
from vmeventd.v1 import vm_events_pb2 as pb
from vmeventd.v1 import vm_events_pb2_grpc as rpc

LOG = logging.getLogger("masakari_notifier")
CALL_SECONDS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
MOST_RUNS = 1000  # of which the cursor knows that they were notified


class Cursor:
    """The position, and the runs that were notified, in a file that is replaced as a whole."""

    def __init__(self, path):
        self._path = pathlib.Path(path)
        self.position, self.notified = None, []
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            self.position = vmeventd.Position.parse(stored["position"]) if stored["position"] else None
            self.notified = [str(run) for run in stored["notified"]]
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            sys.exit(f"{path} is no cursor: {error}; remove it, or name another file")

    def save(self, position):
        self.position = position
        del self.notified[:-MOST_RUNS]
        vmeventd.replace_file(self._path, json.dumps(
            {"position": str(position) if position else None, "notified": self.notified}))


class Keystone:
    """Tokens, and masakari's endpoint."""

    def __init__(self, environment, context):
        self._environment, self._context = environment, context
        self.token, self.endpoint = None, None

    def log_in(self):
        """Raises OSError if keystone gives no token."""
        env = self._environment.get
        if env("OS_APPLICATION_CREDENTIAL_ID"):
            identity = {"methods": ["application_credential"], "application_credential": {
                "id": env("OS_APPLICATION_CREDENTIAL_ID"), "secret": env("OS_APPLICATION_CREDENTIAL_SECRET")}}
            auth = {"identity": identity}
        else:
            identity = {"methods": ["password"], "password": {"user": {
                "name": env("OS_USERNAME"), "password": env("OS_PASSWORD"),
                "domain": {"name": env("OS_USER_DOMAIN_NAME", "Default")}}}}
            auth = {"identity": identity, "scope": {"project": {
                "name": env("OS_PROJECT_NAME"),
                "domain": {"name": env("OS_PROJECT_DOMAIN_NAME", "Default")}}}}
        url = env("OS_AUTH_URL").rstrip("/").removesuffix("/v3") + "/v3/auth/tokens"
        status, headers, body = call(url, {"auth": auth}, {}, self._context)
        if status != 201:
            raise OSError(f"keystone gives no token: {status} {body[:200]}")
        self.token = headers["X-Subject-Token"]
        region = env("OS_REGION_NAME")
        for service in json.loads(body)["token"].get("catalog", []):
            for each in service["endpoints"] if service["type"] == "instance-ha" else []:
                if each["interface"] == env("OS_INTERFACE", "internal") and region in (None, each["region"]):
                    self.endpoint = each["url"]


def call(url, body, headers, context):
    """The status, headers and text of the answer to a POST; OSError if there is none."""
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST",
                                     headers={"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS, context=context) as answer:
            return answer.status, answer.headers, answer.read(1 << 20).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read(1 << 20).decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error


class Masakari:
    """masakari's API. It waits until a notification is accepted or of no use."""

    def __init__(self, options, environment):
        context = ssl.create_default_context(cafile=environment.get("OS_CACERT"))
        self._keystone = Keystone(environment, context)
        self._options, self._context = options, context

    def notify(self, event):
        body = {"notification": {
            "type": "VM", "hostname": self._options.hostname,
            "generated_time": event.observe_time.ToDatetime().isoformat(timespec="seconds"),
            "payload": {"event": "LIFECYCLE", "vir_domain_event": "STOPPED_FAILED",
                        "instance_uuid": event.vm.uuid}}}
        if self._options.dry_run:
            LOG.warning("would notify: %s", json.dumps(body))
            return
        pause = FIRST_PAUSE
        while True:
            try:
                if self._post(event, body):
                    return
            except (OSError, ValueError, KeyError, TypeError) as error:  # or no answer of keystone's
                LOG.warning("%s: %r; trying again", event.vm.name, error)
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _post(self, event, body):
        """Whether that is settled."""
        if self._keystone.token is None:
            self._keystone.log_in()
        endpoint = self._options.endpoint or self._keystone.endpoint
        if not endpoint:
            raise OSError("keystone's catalog has no endpoint of instance-ha: give --endpoint URL")
        status, _, text = call(endpoint.rstrip("/") + "/notifications", body,
                               {"X-Auth-Token": self._keystone.token}, self._context)
        name = f"{event.vm.name}, instance {event.vm.uuid}"
        if status == 202:
            LOG.warning("%s: notified: %s", name, event.message)
        elif status == 409:  # it has such a notification already, or the host is under maintenance
            LOG.warning("%s: masakari ignores it: %s", name, text[:300])
        elif status == 400:  # the host is in no segment
            LOG.error("%s: masakari refuses it: %s", name, text[:300])
        else:
            if status == 401:
                self._keystone.token = None
            raise OSError(f"masakari answers {status} {text[:200]}")
        return True


def is_running_again(server, event):
    """Whether another QEMU of this name runs; waits for vmeventd, which knows."""
    while True:
        with server.channel() as channel:
            try:
                vm = rpc.VmEventServiceStub(channel).GetVm(
                    pb.GetVmRequest(name=event.vm.name), timeout=CALL_SECONDS).vm
                break
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    return False
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    return True  # more than one runs under that name
                LOG.warning("%s: vmeventd does not answer: %s", event.vm.name, error.details())
        time.sleep(FIRST_PAUSE)
    return vm.ref.run_id != event.vm.run_id and vm.state != pb.VM_STATE_STOPPED


def reason_against(options, server, cursor, event):
    """Why an event is not to be notified, or None."""
    if event.vm.run_id in cursor.notified:
        return "its end was notified"
    if not event.vm.uuid:
        return "its QEMU has no UUID: it is no instance of nova"
    age = datetime.datetime.utcnow() - event.observe_time.ToDatetime()
    if age > datetime.timedelta(seconds=options.max_age):
        return f"it crashed {age} ago, longer than --max-age"
    if is_running_again(server, event):
        return "it runs again"
    return None


def follow(options, masakari):
    server = vmeventd.Server(options.server)
    cursor = Cursor(options.cursor)
    crashes = pb.EventFilter(types=[pb.EVENT_TYPE_STOPPED, pb.EVENT_TYPE_GUEST_SHUTDOWN, pb.EVENT_TYPE_GAP],
                             classes=[pb.SHUTDOWN_CLASS_CRASH])
    # Provisional: a host whose disk is full waits for no recovery. What comes again was notified.
    for item in vmeventd.follow(server, position=cursor.position, start="now", filter=crashes,
                                provisional=True):
        if isinstance(item, vmeventd.Gap):
            LOG.error("crashes may be missing: %s", item.why)
        elif isinstance(item, vmeventd.NewEvent) and item.event.type == pb.EVENT_TYPE_GAP:
            LOG.error("crashes may be missing: %s", item.event.message)
        elif isinstance(item, vmeventd.NewEvent):
            why_not = reason_against(options, server, cursor, item.event)
            if why_not is None:
                masakari.notify(item.event)
                cursor.notified.append(item.event.vm.run_id)
            else:
                LOG.warning("%s: not notified: %s", item.event.vm.name, why_not)
        if item.position != cursor.position or isinstance(item, vmeventd.NewEvent):
            cursor.save(item.position)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock", help="of vmeventd")
    parser.add_argument("--cursor", required=True, metavar="FILE", help="where it keeps its position")
    parser.add_argument("--hostname", default=socket.gethostname(),
                        help="of this node in masakari's segment; default: as the kernel has it")
    parser.add_argument("--endpoint", metavar="URL", help="of masakari, as http://HOST:15868/v1")
    parser.add_argument("--max-age", type=float, default=3600, metavar="SECONDS",
                        help="of a crash that is notified; default: 3600")
    parser.add_argument("--dry-run", action="store_true", help="write what would be posted, post nothing")
    options = parser.parse_args()
    if not options.dry_run and not os.environ.get("OS_AUTH_URL"):
        parser.error("OS_AUTH_URL is not set")
    logging.basicConfig(format="%(message)s")
    try:
        follow(options, Masakari(options, os.environ))
    except vmeventd.Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
