#!/usr/bin/python3
"""deploy/hooks/masakari_notifier.py with the real vmeventd, against masakari-api itself (python3-masakari) on SQLite.

  masakari_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE

Its keystone is tests/support/python/fake_openstack.py.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import urllib.request

from hook_case import HOOKS, ROOT, UUID, HookTest, world

import fake_openstack

OTHER_UUID = "550e8400-e29b-41d4-a716-446655440001"
HOST = "compute1"
CONFIGURATION = """
[DEFAULT]
auth_strategy = keystone
masakari_api_listen = 127.0.0.1
masakari_api_listen_port = {port}
masakari_api_workers = 1
transport_url = fake:/
log_file = {directory}/api.log
state_path = {directory}
[database]
connection = sqlite:///{directory}/masakari.sqlite
[wsgi]
api_paste_config = {directory}/api-paste.ini
[coordination]
backend_url = file://{directory}/locks
[oslo_messaging_notifications]
driver = noop
[keystone_authtoken]
auth_type = password
auth_url = {keystone}
www_authenticate_uri = {keystone}
username = {user}
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
token_cache_time = -1
"""
# The configuration of the package masakari-api, for its API of version 1.
PASTE = """
[composite:masakari_api]
use = call:masakari.api.urlmap:urlmap_factory
/v1: v1
[pipeline:v1]
pipeline = faultwrap sizelimit authtoken keystonecontext application
[filter:faultwrap]
paste.filter_factory = masakari.api.openstack:FaultWrapper.factory
[filter:sizelimit]
paste.filter_factory = oslo_middleware:RequestBodySizeLimiter.factory
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:keystonecontext]
paste.filter_factory = masakari.api.auth:MasakariKeystoneContext.factory
[app:application]
paste.app_factory = masakari.api.openstack.ha:APIRouterV1.factory
"""

API = "import sys; from masakari.cmd.api import main; sys.exit(main())"
PACKAGE = pathlib.Path("/usr/lib/python3/dist-packages/masakari")


def corrected_package(directory):
    """A copy of masakari, corrected by the line of the page."""
    page = (ROOT / "docs/act.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("sed ") and str(PACKAGE) in line)
    shutil.copytree(PACKAGE, directory / "masakari")
    subprocess.run(line.replace(str(PACKAGE), str(directory / "masakari")), shell=True, check=True)
    return {**os.environ, "PYTHONPATH": str(directory)}


class Masakari:
    """masakari-api with one segment, which has the host."""

    def __init__(self, keystone):
        self._keystone = keystone
        self._directory = tempfile.TemporaryDirectory()
        port = world.free_port()
        self.endpoint = f"http://127.0.0.1:{port}/v1"
        configuration = pathlib.Path(self._directory.name, "masakari.conf")
        configuration.write_text(CONFIGURATION.format(
            port=port, directory=self._directory.name, keystone=keystone.url, user=fake_openstack.USER,
            password=fake_openstack.PASSWORD))
        configuration.with_name("api-paste.ini").write_text(PASTE)
        arguments = ["--config-file", configuration]
        subprocess.run(["masakari-manage", *arguments, "db", "sync"], check=True,
                       stderr=subprocess.DEVNULL)
        self._output = open(pathlib.Path(self._directory.name, "output"), "wb")
        self._api = subprocess.Popen(["/usr/bin/python3", "-c", API, *arguments], stdout=self._output,
                                     stderr=self._output, env=corrected_package(configuration.parent))
        world.wait_until("masakari-api answers", self._answers)
        segment = self._call("segments", {"segment": {
            "name": "s", "recovery_method": "auto", "service_type": "compute"}})["segment"]["uuid"]
        # Not through the API, which would ask nova whether it has such a host.
        self._query(
            "INSERT INTO hosts (uuid, name, reserved, type, control_attributes, on_maintenance,"
            " failover_segment_id, deleted) VALUES (?, ?, 0, 'COMPUTE', 'SSH', 0, ?, 0)",
            (OTHER_UUID, HOST, segment))

    def _answers(self):
        if self._api.poll() is not None:
            raise AssertionError(pathlib.Path(self._output.name).read_text())
        try:
            self._call("segments")
            return True
        except OSError:
            return False

    def _call(self, path, body=None):
        request = urllib.request.Request(
            f"{self.endpoint}/{path}", json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json", "X-Auth-Token": self._keystone.give()})
        with urllib.request.urlopen(request, timeout=world.patience()) as answer:
            return json.load(answer)

    def notifications(self):
        """The payloads of the accepted notifications, in order. Not read through the API, which a test may let fail."""
        return [json.loads(row[0]) for row in self._query(
            "SELECT payload FROM notifications WHERE type = 'VM' ORDER BY id")]

    def _query(self, *arguments):
        with contextlib.closing(sqlite3.connect(f"{self._directory.name}/masakari.sqlite",
                                                timeout=world.patience())) as database, database:
            return database.execute(*arguments).fetchall()

    def close(self):
        self._api.terminate()
        self._api.wait()
        self._output.close()
        self._directory.cleanup()


def payload(instance=UUID):
    """What masakari's engine acts on (masakari/engine/instance_events.py)."""
    return {"event": "LIFECYCLE", "vir_domain_event": "STOPPED_FAILED", "instance_uuid": instance}


class MasakariTest(HookTest):
    """Each test has a daemon, the instance vm1 and the API."""

    @classmethod
    def setUpClass(cls):
        cls.keystone = fake_openstack.Keystone()
        cls.addClassCleanup(cls.keystone.close)
        cls.masakari = Masakari(cls.keystone)
        cls.addClassCleanup(cls.masakari.close)

    def setUp(self):
        self.keystone.masakari = self.masakari.endpoint
        self.before = self.masakari.notifications()
        super().setUp()
        self.hook = None
        # masakari takes two equal notifications within three minutes for one, so each test has another instance.
        self.uuid = f"550e8400-e29b-41d4-a716-{os.urandom(6).hex()}"

    def start(self, *arguments, password=fake_openstack.PASSWORD):
        self.hook = self.run_beside(
            ["/usr/bin/python3", HOOKS / "masakari_notifier.py", "--server", f"unix:{self.world.socket}", "--cursor",
             self.world.path / "cursor", "--hostname", HOST, *arguments],
            world.hook_environment(OS_AUTH_URL=self.keystone.url, OS_USERNAME=fake_openstack.USER,
                                   OS_PASSWORD=password, OS_PROJECT_NAME="service"))
        cursor = self.world.path / "cursor"
        world.wait_until("the hook follows", lambda: cursor.exists() and (
            self.world.info().streams == 2 or self.hook.poll() is not None))

    @staticmethod
    def stop(hook):
        hook.kill()
        hook.wait()

    def crash(self, name="vm1", uuid=None):
        qemu = self.world.started_vm(self.stream, name, uuid=uuid or self.uuid)
        qemu.kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED", name)

    def new(self):
        return self.masakari.notifications()[len(self.before):]

    def wait_notified(self, *payloads):
        world.wait_until(f"masakari has {payloads}; the log: {self.log}",
                         lambda: len(self.new()) >= len(payloads))
        self.assertEqual(self.new(), list(payloads))

    def expect_only(self, *payloads):
        """Ends another VM: when its notification has come, those of all earlier ends have come, too."""
        last = f"550e8400-e29b-41d4-a716-{os.urandom(6).hex()}"
        self.crash("last", last)
        self.wait_notified(*payloads, payload(last))

    def test_a_crash_is_notified_and_other_ends_are_not(self):
        self.start()
        users = self.world.started_vm(self.stream, "users", uuid=OTHER_UUID)
        self.send_shutdown(users)
        users.exit()
        self.stream.wait_event("STOPPED", "users")
        self.crash()
        self.expect_only(payload(self.uuid))
        self.assertIn("notified: ", self.log)

    def test_a_panic_is_notified_once(self):
        self.start()
        qemu = self.world.started_vm(self.stream, uuid=self.uuid)
        qemu.behave(status="guest-panicked")
        qemu.send(world.qmp("GUEST_PANICKED", {"action": "pause"})
                  + world.qmp("SHUTDOWN", {"guest": True, "reason": "guest-panic"}) + world.qmp("STOP"))
        self.stream.wait_event("GUEST_SHUTDOWN")  # 5 s later
        self.wait_notified(payload(self.uuid))
        qemu.exit()
        self.stream.wait_event("STOPPED")
        self.wait_log("its end was notified")
        self.expect_only(payload(self.uuid))

    def test_an_outage_loses_nothing(self):
        self.start()
        self.stop(self.hook)
        self.crash()
        self.world.restart(signal.SIGKILL)
        self.stream = self.world.oldest()
        self.start()
        self.wait_notified(payload(self.uuid))
        self.stop(self.hook)
        self.start()
        self.expect_only(payload(self.uuid))

    def test_a_failing_keystone_and_an_expired_token_are_retried(self):
        self.start()
        self.keystone.faults = [503, 500]
        self.crash()
        self.wait_notified(payload(self.uuid))
        self.keystone.revoke()
        logins = self.keystone.logins
        self.expect_only(payload(self.uuid))
        self.assertGreater(self.keystone.logins, logins)

    def test_a_duplicate_that_masakari_ignores_is_not_sent_again(self):
        self.start()
        self.crash()
        self.wait_notified(payload(self.uuid))
        self.stop(self.hook)
        (self.world.path / "cursor").write_text(
            json.dumps({"position": f"{self.world.info().journal_id}:0", "notified": []}))
        self.start()
        self.wait_log("masakari ignores it")
        self.expect_only(payload(self.uuid))

    def test_a_host_without_a_segment_is_logged(self):
        self.start("--hostname", "elsewhere")
        self.crash()
        self.wait_log("masakari refuses it")
        self.assertEqual(self.new(), [])

    def test_an_instance_that_runs_again_is_not_notified(self):
        self.start()
        self.stop(self.hook)
        self.crash()
        self.world.started_vm(self.stream, uuid=self.uuid)
        self.start()
        self.wait_log("not notified: it runs again")
        self.expect_only()

    def test_an_old_end_and_an_end_of_another_vm_are_not_notified(self):
        self.start("--max-age", "0")
        self.crash()
        self.wait_log("longer than --max-age")
        self.crash("vm2", "00000000-0000-0000-0000-000000000000")
        self.wait_log("it is no instance")
        self.assertEqual(self.new(), [])

    def test_a_dry_run_posts_nothing(self):
        self.start("--dry-run")
        self.crash()
        self.wait_log("would notify: ")
        self.assertEqual(self.new(), [])

    def test_the_unit_file_is_valid(self):
        self.check_unit("masakari-vmeventd.service", "/usr/local/bin/masakari_notifier.py")


if __name__ == "__main__":
    world.run_tests(__doc__)
