#!/usr/bin/python3
"""Declares intents from OpenStack nova's versioned notifications.

An example to adapt. nova sends a notification before it stops an instance (notify_on_state_change and
[notifications] notification_format = versioned or both in nova.conf). This program listens for them and
declares each to the vmeventd of the instance's compute node, so that a stop through the guest agent is
an admin's as well. It needs python3-oslo.messaging, and vmevents with the right to declare intents
(/usr/share/doc/vmeventd/operations.md, "Access").

  nova_notifications.py rabbit://USER:PASSWORD@HOST:5672/
  nova_notifications.py --url-file FILE

nova-vmeventd.service, beside it, runs it as a service. No password is in its command line then.

The notification and the stop are sent at the same time. If the VM has ended first, the intent comes too
late and is refused; the verdict is then by the evidence alone.
"""

import pathlib
import subprocess
import sys

TOPIC = "versioned_notifications"
# What ends a QEMU on its node. A reboot is one only if it is hard.
OPERATIONS = {
    "instance.power_off.start": "power off",
    "instance.shutdown.start": "shut down",
    "instance.delete.start": "delete",
    "instance.shelve.start": "shelve",
    "instance.suspend.start": "suspend",
    "instance.resize.start": "resize",
    "instance.evacuate": "evacuate",
}
CALL_SECONDS = 10


def vmevents(host, *arguments):
    """Runs vmevents against the vmeventd of `host`; its output, or None if it fails."""
    try:
        done = subprocess.run(["vmevents", "--server", host, *arguments], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=CALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{host}: {error}", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"{host}: {done.stderr.strip()}", file=sys.stderr)
        return None
    return done.stdout


class Endpoint:
    """Called by oslo.messaging for each notification of the priority INFO."""

    def info(self, _context, _publisher, event_type, payload, _metadata):
        operation = OPERATIONS.get(event_type)
        if operation is None:
            return
        instance = payload.get("nova_object.data", {})
        host, uuid = instance.get("host"), instance.get("uuid")
        if not host or not uuid:
            return  # it is on no node
        who = instance.get("action_initiator_user") or "unknown"
        vmevents(host, "intent", "declare", uuid, "--actor", "nova",
                 "--reason", f"{operation} by user {who}", "--ttl", "10m")


def url_of(arguments):
    """The message bus, from the command line or a file that it names."""
    if len(arguments) == 1 and not arguments[0].startswith("-"):
        return arguments[0]
    if len(arguments) == 2 and arguments[0] == "--url-file":
        return pathlib.Path(arguments[1]).read_text().strip()
    return sys.exit(__doc__)


def main():
    # pylint: disable=import-outside-toplevel
    import oslo_messaging
    from oslo_config import cfg
    transport = oslo_messaging.get_notification_transport(cfg.ConfigOpts(), url=url_of(sys.argv[1:]))
    listener = oslo_messaging.get_notification_listener(
        transport, [oslo_messaging.Target(topic=TOPIC)], [Endpoint()], executor="threading",
        pool="vmeventd")  # a queue of its own, beside other listeners
    listener.start()
    listener.wait()


if __name__ == "__main__":
    main()
