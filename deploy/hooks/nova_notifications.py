#!/usr/bin/python3
"""Declares intents from OpenStack nova's versioned notifications.

An example to adapt. nova-compute announces each operation that ends an instance's QEMU, if nova.conf has the lines of
/usr/share/doc/vmeventd/act.md. This program listens on nova's message bus and declares each to the vmeventd of
the instance's compute node, so that a stop through the guest agent is an admin's as well. It needs
python3-oslo.messaging, and vmevents with the right to declare intents (/usr/share/doc/vmeventd/security.md, "Roles").

  nova_notifications.py [--config-file /etc/nova/nova.conf]

It reads the bus, the exchange, the topics and the kind of queues from nova's own configuration. Run one for each cell,
since each has a bus of its own. nova-vmeventd.service, next to it, runs it as a service.

The notification and the stop are sent at the same time. If the VM has ended first, the intent comes too late and is
refused; the verdict is then by the evidence alone, and the event INTENT_LATE tells who asked. An intent is never for the instance's next
run: nova-compute writes the time into the notification, by the same clock as the vmeventd of its node. What has waited on the
bus for longer than a minute declares nothing.

An operation that fails, or is over while the VM runs on, withdraws its intent. An intent's request_id is nova's request, the
operation and the instance, by which it is found.

Its queue is "vmeventd". nova's own queues, "versioned_notifications.info" and ".error", fill up where no other program
reads them: limit all as /usr/share/doc/vmeventd/act.md describes.
"""

import collections
import json
import subprocess
import sys
import threading

import oslo_messaging
from oslo_config import cfg
from oslo_utils import timeutils

# The operations of nova.compute.manager that end a QEMU on its node. A soft reboot ends it too: libvirt's driver shuts
# the guest down and starts a new domain.
OPERATIONS = {"power_off", "shutdown", "delete", "soft_delete", "reboot", "rebuild", "rescue", "unrescue", "resize",
              "resize_revert", "shelve", "shelve_offload", "suspend"}
ACTOR = "nova"
CALL_SECONDS = 10
MAX_AGE_SECONDS = 60  # of a notification
MAX_OVER = 1000  # operations that are known to be over: more than begin while one is declared
NOT_FOUND = 3  # exit status of vmevents
QUEUE = "vmeventd"  # its own queue, next to those of other listeners


def log(text):
    print(text, file=sys.stderr, flush=True)


def vmevents(host, *arguments):
    """Runs vmevents against the vmeventd of `host`. Returns its exit status, its output and its error."""
    try:
        done = subprocess.run(["vmevents", "--server", host, *arguments], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=CALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, "", str(error)
    return done.returncode, done.stdout, done.stderr.strip()


def withdraw(host, uuid, operation, request):
    """Withdraws the intent of a request for an operation on an instance; all of the request where these are None."""
    status, output, error = vmevents(host, "-o", "jsonl", "intent", "list")
    if status != 0:
        log(f"{host}: the intents of {request} stay open: {error}")
        return
    for intent in map(json.loads, output.splitlines()):
        own = intent["request_id"].split("/")
        if intent["actor"] != ACTOR or len(own) != 3 or own[0] != request:
            continue
        if operation is not None and own[1:] != [operation, uuid]:
            continue
        status, _, error = vmevents(host, "intent", "withdraw", intent["intent_id"])
        if status not in (0, NOT_FOUND):  # not found: it has ended with its run
            log(f"{host}: {intent['reason']}: the intent stays open: {error}")


def words(operation):
    return operation.replace("_", " ")


def initiator(context, instance):
    """The user and the project in words, by name where the notification has that; None: nova itself, as its power sync."""
    user = context.get("user_name") or instance.get("action_initiator_user")
    project = context.get("project_name") or instance.get("action_initiator_project")
    if not user:
        return None
    return " ".join(f"{user} (project {project})".split()) if project else " ".join(user.split())


class Endpoint:
    """Called by oslo.messaging for each notification of the priorities INFO and ERROR, on several threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._over = collections.deque(maxlen=MAX_OVER)  # arguments of withdraw()

    def info(self, context, _publisher, event_type, payload, metadata):
        kind, _, rest = event_type.partition(".")
        operation, _, phase = rest.partition(".")
        if kind != "instance" or operation not in OPERATIONS:
            return
        instance = payload["nova_object.data"]
        if not instance["host"]:
            return  # it is on no node
        if phase == "start":
            self._begin(context, instance, operation, metadata["timestamp"])
        elif phase in ("end", "error"):
            self._end(instance["host"], instance["uuid"], operation, context.get("request_id"))

    def error(self, context, publisher, event_type, payload, metadata):
        # Most failed operations announce only the failure, without the instance: they are found by their request.
        service, _, host = publisher.partition(":")
        if event_type == "compute.exception" and service == "nova-compute":
            self._end(host, None, None, context.get("request_id"))
        else:
            self.info(context, publisher, event_type, payload, metadata)

    def _begin(self, context, instance, operation, began):
        host, uuid, request = instance["host"], instance["uuid"], context.get("request_id")
        who = initiator(context, instance)
        reason = f"{words(operation)} by {who or 'nova itself'}, {request}"
        if timeutils.is_older_than(began, MAX_AGE_SECONDS):
            log(f"{host}: {uuid}: no intent for {reason}: it began at {began}")
            return
        status, _, error = vmevents(host, "intent", "declare", uuid, "--actor", ACTOR, "--reason", reason, "--ttl", "10m",
                                    "--started-before", f"{began}Z", "--request-id", f"{request}/{operation}/{uuid}")
        if status == NOT_FOUND:
            # nova itself stops what has ended already; shelving and deleting continue after a stop
            if who and instance.get("power_state") != "shutdown":
                log(f"{host}: {uuid} had ended before the intent came: {reason}")
        elif status != 0:
            log(f"{host}: {uuid}: no intent for {reason}: {error}")
        elif self._is_over(host, uuid, operation, request):
            withdraw(host, uuid, operation, request)  # another thread was faster

    def _end(self, host, uuid, operation, request):
        if request:
            with self._lock:
                self._over.append((host, uuid, operation, request))
            withdraw(host, uuid, operation, request)

    def _is_over(self, host, uuid, operation, request):
        with self._lock:
            return (host, uuid, operation, request) in self._over or (host, None, None, request) in self._over


def make_listener(arguments):
    """A listener on the bus of nova's configuration; where that has no setting, with nova's default."""
    oslo_messaging.set_transport_defaults(control_exchange="nova")
    config = cfg.ConfigOpts()
    config.register_opt(cfg.ListOpt("versioned_notifications_topics", default=["versioned_notifications"]),
                        group="notifications")
    config(arguments, project="nova")
    targets = [oslo_messaging.Target(topic=topic) for topic in config.notifications.versioned_notifications_topics]
    return oslo_messaging.get_notification_listener(
        oslo_messaging.get_notification_transport(config), targets, [Endpoint()], executor="threading",
        pool=QUEUE)


def main():
    listener = make_listener(sys.argv[1:])
    listener.start()
    threading.Event().wait()  # until a signal


if __name__ == "__main__":
    main()
