#!/usr/bin/python3
"""deploy/hooks/nova_notifications.py receives what nova's own code publishes, and declares it to the real vmeventd.

  nova_test.py [--rabbitmq] --vmeventd FILE --vmevents FILE --fake-qemu FILE

nova (python3-nova) makes and sends the notifications. Their bus is kombu's, in memory, or with --rabbitmq a RabbitMQ; hook and
nova are in one process either way. The hook starts first, with its own defaults, as in a process of its own.
"""

import argparse
import contextlib
import datetime
import importlib.util
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
import uuid

from hook_case import HOOKS, ROOT, HookTest, world

HOOK = HOOKS / "nova_notifications.py"
ACT = ROOT / "docs/act.md"


def documented_lines():
    """What the page has a user add to nova.conf."""
    blocks = re.findall(r"^```ini\n(.*?)^```$", ACT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if "notification_format" in block)


class RabbitMq:
    """The broker, in Erlang, with a port mapper of its own."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="vmr-")
        port, mapper, peers = (str(world.free_port()) for _ in range(3))
        self.url = f"rabbit://guest:guest@127.0.0.1:{port}/"
        path = pathlib.Path(self._directory.name)
        (path / "plugins").write_text("[].")
        # pylint: disable=consider-using-with
        self._mapper = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", mapper])
        self._log = open(path / "output", "w+b")
        self._broker = subprocess.Popen(["/usr/lib/rabbitmq/bin/rabbitmq-server"], stdout=self._log, stderr=self._log, env={
            "PATH": os.environ["PATH"], "HOME": str(path), "ERL_EPMD_PORT": mapper, "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": port, "RABBITMQ_DIST_PORT": peers,
            "RABBITMQ_MNESIA_BASE": str(path), "RABBITMQ_LOG_BASE": str(path),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(path / "plugins")})
        world.wait_until("RabbitMQ has started", self._has_started)

    def _has_started(self):
        output = (pathlib.Path(self._directory.name) / "output").read_text()
        assert self._broker.poll() is None, output
        return "Starting broker... completed" in output

    def close(self):
        for program in (self._broker, self._mapper):
            program.terminate()
            program.wait()
        self._log.close()
        self._directory.cleanup()


def load_hook():
    spec = importlib.util.spec_from_file_location("nova_notifications", HOOK)
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


class Nova:
    """nova's notifier, with the configuration of a nova-compute."""

    def __init__(self, configuration):
        # pylint: disable=import-outside-toplevel,import-error
        from nova import config, context, objects, rpc
        rpc.set_defaults(control_exchange="nova")  # as nova.config.parse_args does
        config.CONF(["--config-file", str(configuration)], project="nova")
        rpc.init(config.CONF)
        objects.register_all()
        self._contexts, self._objects = context.RequestContext, objects
        self._rpc = rpc
        self._ask("alice-id", "project-id", user_name="alice", project_name="demo")

    def _ask(self, *who, **names):
        """A request of somebody, for what follows."""
        self._context = self._contexts(*who, **names)
        self.request = self._context.request_id

    def ask_itself(self):
        """Asks as a periodic task of nova does."""
        self._ask(is_admin=True)

    def close(self):
        if self._rpc.TRANSPORT:
            self._rpc.cleanup()

    def _instance(self, vm_uuid, host, power_state):
        objects, image = self._objects, str(uuid.uuid4())
        empty = {name: None for name in (
            "os_type", "architecture", "availability_zone", "task_state", "created_at", "launched_at", "terminated_at",
            "deleted_at", "updated_at", "root_device_name", "ephemeral_key_uuid", "key_name", "locked_by", "compute_id",
            "info_cache") if name in objects.Instance.fields}
        flavor = objects.Flavor(flavorid="1", name="small", memory_mb=1, vcpus=1, root_gb=1, ephemeral_gb=0, swap=0,
                                disabled=False, is_public=True, extra_specs={}, rxtx_factor=1, vcpu_weight=0,
                                projects=[], description=None)
        return objects.Instance(
            self._context, uuid=vm_uuid, user_id="alice", project_id="project", reservation_id="r", display_name="web1",
            display_description="", hostname="web1", host=host, node="node1", ramdisk_id="", kernel_id="",
            image_ref=image, vm_state="active", power_state=power_state, progress=0, locked=False, auto_disk_config=False,
            metadata={}, system_metadata={}, trusted_certs=None, tags=objects.TagList(objects=[]),
            keypairs=objects.KeyPairList(objects=[]), flavor=flavor, **empty)

    def fail(self, action, vm_uuid, host):
        """An operation of nova-compute that fails after it has begun."""
        # pylint: disable=import-outside-toplevel,import-error
        from nova import exception_wrapper

        @exception_wrapper.wrap_exception(service="compute", binary="nova-compute")
        def operation(_manager, _context):
            self.notify(action, vm_uuid, host)
            raise RuntimeError("the operation failed")
        # A node's name; here it is the daemon's address.
        with unittest.mock.patch.object(exception_wrapper, "CONF", types.SimpleNamespace(host=host)):
            try:
                operation(None, self._context)
            except RuntimeError:
                pass

    def notify(self, action, vm_uuid, host, phase="START", power_state=1):
        """Notifies as nova.compute.manager does, about an instance that runs."""
        # pylint: disable=import-outside-toplevel,import-error
        from nova.compute import utils
        from nova.objects import fields
        instance = self._instance(vm_uuid, host, power_state)
        about = {"phase": getattr(fields.NotificationPhase, phase)}
        if phase == "ERROR":
            try:
                raise RuntimeError("the operation failed")
            except RuntimeError as error:
                about["exception"] = error
        if action == "RESCUE":
            utils.notify_about_instance_rescue_action(self._context, instance, "node1", instance.image_ref, **about)
        elif action == "REBUILD":
            utils.notify_about_instance_rebuild(self._context, instance, "node1", **about)
        else:
            utils.notify_about_instance_action(self._context, instance, "node1",
                                               action=getattr(fields.NotificationAction, action), **about)


class NovaTest(HookTest):
    """Each test has a daemon and a hook that listens to nova."""

    bus = "kombu+memory:////"

    def setUp(self):
        super().setUp()
        old = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", old)
        os.environ["PATH"] = self.programs()
        self.server = f"unix:{self.world.socket}"  # in place of the node's name

    def listen(self, more="", queue="vmeventd"):
        configuration = self.world.path / "nova.conf"
        configuration.write_text(f"[DEFAULT]\ntransport_url = {self.bus}\n{documented_lines()}{more}")
        hook = load_hook()
        hook.QUEUE = queue
        listener = hook.make_listener(["--config-file", str(configuration)])
        listener.start()
        self.addCleanup(listener.wait)
        self.addCleanup(listener.stop)
        nova = Nova(configuration)
        self.addCleanup(nova.close)
        return nova

    def started(self, name):
        vm_uuid = str(uuid.uuid4())
        return self.world.started_vm(self.stream, name, uuid=vm_uuid), vm_uuid

    def test_an_operation_that_ends_a_qemu_is_declared(self):
        nova = self.listen()
        for action in ("POWER_OFF", "SHUTDOWN", "DELETE", "SOFT_DELETE", "REBOOT", "REBUILD", "RESCUE", "UNRESCUE",
                       "RESIZE", "RESIZE_REVERT", "SHELVE", "SHELVE_OFFLOAD", "SUSPEND"):
            with self.subTest(action):
                name = action.lower()
                qemu, vm_uuid = self.started(name)
                nova.notify(action, vm_uuid, self.server)
                intent = self.stream.wait_event("INTENT_DECLARED", name).intent
                self.assertEqual((intent.actor, intent.reason), (
                    "nova", f"{name.replace('_', ' ')} by alice (project demo), {nova.request}"))
                self.send_shutdown(qemu)
                qemu.exit()
                self.expect_admin(name)

    def test_exchange_topics_and_kind_of_queues_come_from_novas_configuration(self):
        for name, queues in (("classic", ""), ("durable", "amqp_durable_queues = true"), ("deleted", "amqp_auto_delete = true"),
                             ("quorum", "rabbit_quorum_queue = true")):
            with self.subTest(name):
                nova = self.listen(f"[oslo_messaging_rabbit]\n{queues}\n[DEFAULT]\ncontrol_exchange = {name}\n"
                                   f"[notifications]\nversioned_notifications_topics = {name}1,{name}2\n", name)
                _, vm_uuid = self.started(name)
                nova.notify("POWER_OFF", vm_uuid, self.server)
                self.stream.wait_event("INTENT_DECLARED", name)

    def test_a_notification_that_waited_too_long_is_not_declared(self):
        hook = load_hook()
        _, vm_uuid = self.started("vm1")
        payload = {"nova_object.data": {"host": self.server, "uuid": vm_uuid}}
        now = datetime.datetime.utcnow()
        for age in (hook.MAX_AGE_SECONDS + 1, 0):
            self.assertNotIn("INTENT_DECLARED", self.stream.types())
            # The time as oslo.messaging writes it.
            hook.Endpoint().info({}, "nova-compute:node1", "instance.power_off.start", payload,
                                 {"timestamp": str(now - datetime.timedelta(seconds=age))})
        self.stream.wait_event("INTENT_DECLARED")

    def test_a_late_notification_is_not_for_the_next_run(self):
        hook = load_hook()
        _, vm_uuid = self.started("vm1")
        started = self.world.get().start_time.ToDatetime()
        payload = {"nova_object.data": {"host": self.server, "uuid": vm_uuid}}
        for seconds in (-1, 1):  # time of the notification, after the start of the run
            self.assertNotIn("INTENT_DECLARED", self.stream.types())
            hook.Endpoint().info({"request_id": "req-1"}, "nova-compute:node1", "instance.reboot.start", payload,
                                 {"timestamp": str(started + datetime.timedelta(seconds=seconds))})
        self.stream.wait_event("INTENT_DECLARED")

    def test_an_operation_that_ends_or_fails_withdraws_its_intent(self):
        nova = self.listen()
        for name, end in (
                ("end", lambda *vm: nova.notify("SUSPEND", *vm, "END")), ("error", lambda *vm: nova.notify("SUSPEND", *vm, "ERROR")),
                ("exception", None)):
            with self.subTest(name):
                qemu, vm_uuid = self.started(name)
                if end:
                    nova.notify("SUSPEND", vm_uuid, self.server)
                    intent = self.stream.wait_event("INTENT_DECLARED", name).intent
                    end(vm_uuid, self.server)
                else:  # both are on the bus at once
                    nova.fail("SUSPEND", vm_uuid, self.server)
                    intent = self.stream.wait_event("INTENT_DECLARED", name).intent
                ended = self.stream.wait_event("INTENT_ENDED", name)
                self.assertEqual(ended.intent, intent)
                self.send_shutdown(qemu)
                qemu.exit()
                self.expect_class(name, "USER")

    def test_the_end_of_one_operation_leaves_the_intent_of_another(self):
        nova = self.listen()
        _, vm_uuid = self.started("vm1")
        nova.notify("POWER_OFF", vm_uuid, self.server)
        self.stream.wait_event("INTENT_DECLARED")
        nova.notify("REBOOT", vm_uuid, self.server, "END")
        nova.ask_itself()
        nova.notify("POWER_OFF", vm_uuid, self.server, "END")
        _, other = self.started("other")
        nova.fail("SUSPEND", other, self.server)
        self.stream.wait_event("INTENT_ENDED", "other")
        self.assertTrue(self.world.get("vm1").HasField("intent"))

    def test_a_stop_of_an_ended_instance_is_not_logged(self):
        nova = self.listen()
        with contextlib.redirect_stderr(io.StringIO()) as log:
            gone = str(uuid.uuid4())
            nova.notify("POWER_OFF", gone, self.server)
            nova.notify("SHELVE_OFFLOAD", gone, self.server, power_state=4)  # shutdown
            nova.ask_itself()
            nova.notify("POWER_OFF", gone, self.server)
            _, vm_uuid = self.started("vm1")
            nova.notify("POWER_OFF", vm_uuid, self.server)
            intent = self.stream.wait_event("INTENT_DECLARED").intent
            self.assertEqual(intent.reason, f"power off by nova itself, {nova.request}")
            world.wait_until("the user's is in the log", lambda: "power off by alice" in log.getvalue())
            self.assertEqual(log.getvalue().count(gone), 1)

    def test_an_operation_that_ends_nothing_is_not_declared(self):
        nova = self.listen()
        _, vm_uuid = self.started("vm1")
        nova.notify("POWER_OFF", vm_uuid, self.server, "END")
        nova.notify("PAUSE", vm_uuid, self.server)
        nova.notify("POWER_OFF", vm_uuid, None)
        nova.notify("POWER_OFF", str(uuid.uuid4()), self.server)
        _, other = self.started("other")
        nova.notify("POWER_OFF", other, self.server)
        self.stream.wait_event("INTENT_DECLARED", "other")
        self.assertNotIn("INTENT_DECLARED", self.stream.types())

    def test_the_unit_file_is_valid(self):
        self.check_unit("nova-vmeventd.service", "/usr/local/bin/nova_notifications.py")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rabbitmq", action="store_true")
    options, sys.argv[1:] = parser.parse_known_args()
    if options.rabbitmq:
        broker = RabbitMq()
        unittest.addModuleCleanup(broker.close)
        NovaTest.bus = broker.url
    world.run_tests(__doc__)
