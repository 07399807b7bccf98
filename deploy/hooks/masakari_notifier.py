#!/usr/bin/python3
"""Notifies OpenStack masakari of VMs that crashed, so that its engine starts them again.

An example to adapt; it needs python3-vmeventd and python3-keystoneauth1. One runs on each compute node, next to the vmeventd that follows
the node's libvirt, as masakari-instancemonitor does, in whose place it may stand. For each VM whose end is a
CRASH it posts what masakari's engine acts on: a notification of the type VM with the event LIFECYCLE,
STOPPED_FAILED and the UUID of the instance. That includes watchdogs that expired, QEMUs that were killed because memory
ran out, and guests that panicked, where they have a panic device: nova gives x86 guests none. An end by the user or by an
admin is none. Nobody can say who wanted an UNKNOWN end: it is none either, unless --unknown restart is given; then too
an instance that may still run, here or elsewhere, is left alone.

  masakari_notifier.py --cursor /var/lib/masakari-vmeventd/cursor [--hostname NAME]

It logs in to keystone as the variables of the openstack client say: OS_AUTH_URL, OS_USERNAME, OS_PASSWORD,
OS_PROJECT_NAME, OS_USER_DOMAIN_NAME, OS_PROJECT_DOMAIN_NAME, OS_CACERT, or OS_AUTH_TYPE=v3applicationcredential,
OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET; masakari's endpoint is that of the catalog
(instance-ha; OS_INTERFACE, OS_REGION_NAME), or --endpoint URL.
masakari-vmeventd.service, next to it, runs it as a service.

Its position is in the cursor file: after an outage it resumes there. An instance is notified at most once for
each life of its QEMU. Since the engine stops an instance that runs before it starts it, none is notified that
runs on this node again, or whose crash is older than --max-age: it may run elsewhere.
"""

import argparse
import datetime
import json
import logging
import os
import pathlib
import random
import socket
import sys
import time

import grpc
import vmeventd
from keystoneauth1 import adapter, exceptions, loading, session
from vmeventd.v1 import vm_events_pb2 as pb
from vmeventd.v1 import vm_events_pb2_grpc as rpc

LOG = logging.getLogger("masakari_notifier")
CALL_SECONDS = 10
FIRST_PAUSE, MAX_PAUSE = 0.5, 30.0
MAX_RUNS = 1000  # number of notified runs that the cursor stores


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
        del self.notified[:-MAX_RUNS]
        vmeventd.replace_file(self._path, json.dumps(
            {"position": str(position) if position else None, "notified": self.notified}))


class Masakari:
    """masakari's API. It waits until a notification is accepted or cannot succeed."""

    def __init__(self, options):
        self._options, self._api = options, None
        if options.dry_run:
            return
        self._api = adapter.Adapter(
            session.Session(auth=loading.load_auth_from_argparse_arguments(options), timeout=CALL_SECONDS,
                            verify=os.environ.get("OS_CACERT") or True),
            service_type="instance-ha", interface=os.environ.get("OS_INTERFACE", "internal"),
            region_name=os.environ.get("OS_REGION_NAME"), endpoint_override=options.endpoint)

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
                # Logs in, and again where the token has expired.
                answer = self._api.post("/notifications", json=body, raise_exc=False)
                if self._is_settled(event, answer):
                    return
                why = f"masakari answers {answer.status_code} {answer.text[:200]}"
            except exceptions.ClientException as error:
                why = f"{error!r}"
            LOG.warning("%s: %s; trying again", event.vm.name, why)
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, MAX_PAUSE)

    @staticmethod
    def _is_settled(event, answer):
        name = f"{event.vm.name}, instance {event.vm.uuid}"
        if answer.status_code == 202:
            LOG.warning("%s: notified: %s", name, event.message)
        elif answer.status_code == 409:  # it has such a notification already, or the host is under maintenance
            LOG.warning("%s: masakari ignores it: %s", name, answer.text[:300])
        elif answer.status_code == 400:  # the host is in no segment
            LOG.error("%s: masakari refuses it: %s", name, answer.text[:300])
        return answer.status_code in (202, 400, 409)


def is_running_again(server, event):
    """Returns true if another QEMU of this name runs; waits for vmeventd, which knows."""
    while True:
        with server.channel() as channel:
            try:
                vm = rpc.VmEventServiceStub(channel).GetVm(
                    pb.GetVmRequest(vm_name=event.vm.name), timeout=CALL_SECONDS).vm
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
    if event.shutdown.shutdown_class == pb.SHUTDOWN_CLASS_UNKNOWN:
        if event.type != pb.EVENT_TYPE_STOPPED:
            return "its QEMU still runs, and nobody can say who wanted its end"
    if event.shutdown.may_still_run:
        return "it may still run, here or elsewhere"
    age = datetime.datetime.utcnow() - event.observe_time.ToDatetime()
    if age > datetime.timedelta(seconds=options.max_age):
        return f"it crashed {age} ago, longer than --max-age"
    if is_running_again(server, event):
        return "it runs again"
    return None


def follow(options, masakari):
    server = vmeventd.Server(options.server)
    cursor = Cursor(options.cursor)
    classes = [pb.SHUTDOWN_CLASS_CRASH]
    if options.unknown == "restart":
        classes.append(pb.SHUTDOWN_CLASS_UNKNOWN)
    crashes = pb.EventFilter(types=[pb.EVENT_TYPE_STOPPED, pb.EVENT_TYPE_GUEST_SHUTDOWN, pb.EVENT_TYPE_GAP],
                             classes=classes)
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
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock", help="address of vmeventd")
    parser.add_argument("--cursor", required=True, metavar="FILE", help="file with its position")
    parser.add_argument("--hostname", default=socket.gethostname(),
                        help="name of this node in masakari's segment (default: the host name)")
    parser.add_argument("--endpoint", metavar="URL", help="address of masakari's API, such as http://HOST:15868/v1")
    parser.add_argument("--max-age", type=float, default=3600, metavar="SECONDS",
                        help="largest age of a crash that is notified (default: 3600)")
    parser.add_argument("--unknown", choices=("leave", "restart"), default="leave",
                        help="what to do with an instance whose end is UNKNOWN (default: leave)")
    parser.add_argument("--dry-run", action="store_true", help="write what would be posted, post nothing")
    for kind in ("USER", "PROJECT"):
        os.environ.setdefault(f"OS_{kind}_DOMAIN_NAME", "Default")
    loading.register_auth_argparse_arguments(parser, sys.argv[1:], default="password")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    try:
        follow(options, Masakari(options))
    except exceptions.MissingRequiredOptions as missing:
        parser.error(f"{missing}: set OS_AUTH_URL and the others of the openstack client")
    except vmeventd.Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
