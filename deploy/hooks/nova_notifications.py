#!/usr/bin/python3
"""Declares intents from OpenStack nova's versioned notifications.

An example to adapt. nova-compute announces each operation that ends an instance's QEMU (in nova.conf: [notifications]
notification_format = versioned or both). This program listens on nova's message bus and declares each to the vmeventd of
the instance's compute node, so that a stop through the guest agent is an admin's as well. It needs
python3-oslo.messaging, and vmevents with the right to declare intents (/usr/share/doc/vmeventd/security.md, "Roles").

  nova_notifications.py [--config-file /etc/nova/nova.conf]

It reads the bus, the exchange, the topics and the kind of queues from nova's own configuration. Run one for each cell,
since each has a bus of its own. nova-vmeventd.service, beside it, runs it as a service.

The notification and the stop are sent at the same time. If the VM has ended first, the intent comes too
late and is refused; the verdict is then by the evidence alone. A notification that has waited on the bus for longer than a
minute declares nothing: by now the instance may run again.

Its queue is "vmeventd". nova's own queue, "versioned_notifications.info", fills up where no other program reads it: limit both
as /usr/share/doc/vmeventd/act.md describes.
"""

import subprocess
import sys

import oslo_messaging
from oslo_config import cfg
from oslo_utils import timeutils

# The operations of nova.compute.manager that end a QEMU on its node. A soft reboot ends it too: libvirt's driver shuts
# the guest down and starts a new domain.
OPERATIONS = {"power_off", "shutdown", "delete", "soft_delete", "reboot", "rebuild", "rescue", "unrescue", "resize",
              "resize_revert", "shelve", "shelve_offload", "suspend"}
CALL_SECONDS = 10
MAX_AGE_SECONDS = 60  # of a notification
QUEUE = "vmeventd"  # of its own, beside other listeners


def vmevents(host, *arguments):
    """Runs vmevents against the vmeventd of `host`."""
    try:
        done = subprocess.run(["vmevents", "--server", host, *arguments], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=CALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{host}: {error}", file=sys.stderr)
        return
    if done.returncode != 0:
        print(f"{host}: {done.stderr.strip()}", file=sys.stderr)


class Endpoint:
    """Called by oslo.messaging for each notification of the priority INFO."""

    def info(self, _context, _publisher, event_type, payload, metadata):
        kind, _, rest = event_type.partition(".")
        operation, _, phase = rest.partition(".")
        if kind != "instance" or operation not in OPERATIONS or phase != "start":
            return
        instance = payload["nova_object.data"]
        host, uuid = instance["host"], instance["uuid"]
        if not host:
            return  # it is on no node
        if timeutils.is_older_than(metadata["timestamp"], MAX_AGE_SECONDS):
            print(f"{host}: no intent for the {operation} of {uuid}: it began at {metadata['timestamp']}", file=sys.stderr)
            return
        who = instance.get("action_initiator_user") or "unknown"
        vmevents(host, "intent", "declare", uuid, "--actor", "nova",
                 "--reason", f"{operation.replace('_', ' ')} by user {who}", "--ttl", "10m")


def make_listener(arguments):
    """A listener on the bus of nova's configuration, with nova's defaults for what that leaves out."""
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
    listener.wait()


if __name__ == "__main__":
    main()
