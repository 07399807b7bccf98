"""A real vmeventd with fake QEMUs, for tests in Python."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

from fake_qemu import FakeQemu
from patience import patience

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROTO = ROOT / "proto/vmeventd/v1/vm_events.proto"
STUBS = tempfile.TemporaryDirectory()


def _make_stubs():
    """The Python package vmeventd, which has the contract's stubs, health_pb2 and status_pb2."""
    subprocess.run([ROOT / "client/python/stubs.py", STUBS.name], check=True)
    for path in ("grpc/health/v1/health", "google/rpc/status"):
        subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={STUBS.name}", f"{path}.proto"], check=True)
        # The folder would hide the packages grpc and google: the module is loaded by itself.
        os.rename(f"{STUBS.name}/{path}_pb2.py", f"{STUBS.name}/{path.split('/')[-1]}_pb2.py")
        shutil.rmtree(f"{STUBS.name}/{path.split('/', maxsplit=1)[0]}")
    sys.path.insert(0, STUBS.name)


_make_stubs()

# pylint: disable=wrong-import-position,import-error
import health_pb2  # noqa: E402
import status_pb2  # noqa: E402
from vmeventd.v1 import vm_events_pb2 as pb  # noqa: E402
from vmeventd.v1 import vm_events_pb2_grpc  # noqa: E402

# The clients see every sentence of the daemon in other words.
OTHER_SENTENCES = "VMEVENTD_OTHER_SENTENCES" in os.environ
PROGRAMS = {}  # vmeventd, fake_qemu, hung_disk: set by the test program


class Timeout(AssertionError):
    """An expected condition did not come true."""


class Impossible(Exception):
    """This machine or user cannot do what the test needs."""


def wait_until(what, condition):
    """Calls `condition` until its value is true, and returns that."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > began + patience():
            raise Timeout(f"timed out waiting until {what}")
        time.sleep(0.005)


def qmp(name, data=None, seconds=1):
    """A QMP event's line."""
    event = {"event": name, "timestamp": {"seconds": seconds, "microseconds": 2}}
    if data is not None:
        event["data"] = data
    return json.dumps(event) + "\r\n"


def type_name(event):
    return pb.EventType.Name(event.type).removeprefix("EVENT_TYPE_")


class Stream:
    """A WatchEvents stream that records everything it receives."""

    def __init__(self, world, request, channel=None):
        self.messages = []
        self.events = []
        self.error = None
        self._changed = threading.Condition()
        stub = vm_events_pb2_grpc.VmEventServiceStub(channel) if channel else world.stub
        self.call = stub.WatchEvents(request)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        try:
            for message in self.call:
                with self._changed:
                    self.messages.append(message)
                    self.events.extend(message.events)
                    self._changed.notify_all()
        except grpc.RpcError as error:
            self.error = error
        with self._changed:
            self._changed.notify_all()

    def wait(self, what, condition):
        """Waits for a true value of `condition()` and returns it; fails if the stream ends first."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self.error, patience())
            value = condition()
            if not value:
                raise Timeout(f"timed out waiting until {what}; events: "
                              f"{[type_name(e) + ' ' + e.vm.name for e in self.events]}, "
                              f"error: {self.error}")
            return value

    def wait_event(self, kind, name="vm1", nth=1):
        def find():
            found = [e for e in self.events if type_name(e) == kind and e.vm.name == name]
            return found[nth - 1] if len(found) >= nth else None
        return self.wait(f"event {nth} of the type {kind} of {name} arrives", find)

    def wait_end(self):
        self._reader.join(patience())
        assert not self._reader.is_alive(), "the stream did not end"
        return self.error.code() if self.error else grpc.StatusCode.OK

    def types(self, name="vm1"):
        return [type_name(e) for e in self.events if e.vm.name == name]

    def close(self):
        self.call.cancel()
        self._reader.join(patience())


class World:
    """A directory of monitors, the daemon that watches it, and everything a check started."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="vmc-")
        self.path = pathlib.Path(self._directory.name)
        self.monitors = self.path / "ctrl"
        self.monitors.mkdir()
        self.state = self.path / "state"
        self.socket = self.path / "sock"
        self.watches = [f"{self.monitors}:*.kvmd"]
        self.arguments = []
        self._closing = []
        self._mounted = False
        self._environment = None
        self._daemon = None
        self.own_socket = self.path / "own" if OTHER_SENTENCES else self.socket
        self.stub = None
        self.channel = None

    # The daemon.

    def start(self, *arguments, tuning=(), health="SERVING"):
        """Starts the daemon with additional arguments, and waits until it has this health. `tuning`: what no
        flag sets, as tests/support/tuned_vmeventd.cc takes it."""
        self.arguments = list(arguments)
        program = [PROGRAMS["vmeventd"] + "_tuned", *tuning] if tuning else [PROGRAMS["vmeventd"]]
        command = [*program, "--state-dir", str(self.state)]
        if "--signal-senders" not in arguments:
            command += ["--signal-senders", "off"]
        for watch in self.watches:
            command += ["--watch", watch]
        if "--listen" not in arguments:
            command += ["--listen", f"unix:{self.own_socket}"]
        command += [str(argument) for argument in arguments]
        with open(self.path / "log", "ab") as log:
            self._daemon = subprocess.Popen(command, stderr=log, stdout=log, env=self._environment)
        if "--listen" not in arguments:
            # gRPC waits for seconds after a connect that fails.
            wait_until(f"the daemon listens; its log: {self.log()}", self._accepts)
            if self.own_socket != self.socket and not self.socket.exists():
                self.change_sentences(self.socket)
        self.channel = self.connect()
        self.stub = vm_events_pb2_grpc.VmEventServiceStub(self.channel)
        wait_until(f"the daemon's health is {health}; its log: {self.log()}", lambda: self.health("") == health)
        return self

    def change_sentences(self, address):
        """Serves the daemon at another socket too, with every sentence in other words."""
        import other_sentences  # pylint: disable=import-outside-toplevel
        self._closing.append(other_sentences.OtherSentences(f"unix:{address}", f"unix:{self.own_socket}"))

    def begin(self, *arguments):
        """Starts the daemon. Returns a stream of its events."""
        self.start(*arguments)
        return self.oldest()

    def follow(self, *arguments):
        """Starts the daemon and the VM vm1. Returns a stream and the VM's QEMU."""
        stream = self.begin(*arguments)
        return stream, self.started_vm(stream)

    def _accepts(self):
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self.own_socket)) == 0

    def small_disk(self):
        """Puts the state directory on a disk of 1 MiB, before the daemon starts."""
        self.state.mkdir(mode=0o750)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0750", "tmpfs", self.state],
                              check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise Impossible(done.stderr.strip())
        self._mounted = True

    def fill_disk(self):
        with open(self.state / "filler", "wb", buffering=0) as filler:
            for size in (4096, 1):
                try:
                    while True:
                        filler.write(b"x" * size)
                except OSError:
                    pass

    def empty_disk(self):
        (self.state / "filler").unlink()

    def hanging_disk(self):
        """Lets the disk hang between hang_disk() and release_disk(), of daemons that start from now on."""
        # The library comes before AddressSanitizer's, and is independent of it.
        self._environment = {**os.environ, "LD_PRELOAD": PROGRAMS["hung_disk"],
                             "HUNG_DISK_WHILE": str(self.path / "hang"),
                             "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def hang_disk(self):
        (self.path / "hang").touch()

    def release_disk(self):
        (self.path / "hang").unlink()

    def log(self):
        return (self.path / "log").read_text(errors="replace")

    def wait_attached(self, name):
        """For a real QEMU, which may hang if it ends before (docs/internals/qemu.md)."""
        wait_until(f"{name} is attached", lambda: self.get(name).attached)

    def connect(self, address=None, options=()):
        channel = grpc.insecure_channel(
            address or f"unix:{self.socket}",
            options=[("grpc.use_local_subchannel_pool", 1),
                     ("grpc.initial_reconnect_backoff_ms", 50),
                     ("grpc.max_reconnect_backoff_ms", 50), *options])
        self._closing.append(channel)
        return channel

    def health(self, service):
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString)
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=patience())
        except grpc.RpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    @property
    def pid(self):
        return self._daemon.pid

    def stop(self, number=signal.SIGTERM):
        if self._daemon is not None:
            self._daemon.send_signal(number)
            self._daemon.wait(patience())
            self._daemon = None

    def restart(self, number=signal.SIGTERM):
        arguments = self.arguments
        self.stop(number)
        self.start(*arguments)

    def damage_journal(self):
        """Replaces the journal by a file that is none, and starts a daemon that finds it."""
        self.stop()
        (self.state / "journal.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
        for name in ("journal.db-wal", "journal.db-shm"):
            (self.state / name).unlink(missing_ok=True)
        self.start()

    # VMs.

    def vm(self, name="vm1", directory=None, **behavior):
        """A fake QEMU with a followed monitor."""
        qemu = FakeQemu(PROGRAMS["fake_qemu"])
        self._closing.append(qemu)
        qemu.path = str(pathlib.Path(directory or self.monitors) / f"{name}.kvmd")
        # Removes a socket left by an earlier QEMU, as QEMU itself does.
        pathlib.Path(qemu.path).unlink(missing_ok=True)
        qemu.add_monitor(qemu.path, **behavior)
        return qemu

    def started_vm(self, stream, name="vm1", **behavior):
        nth = stream.types(name).count("STARTED") + 1
        qemu = self.vm(name, **behavior)
        stream.wait_event("STARTED", name, nth)
        wait_until("the monitor is attached", lambda: self.get(name).qemu_version)
        return qemu

    # Calls.

    def watch(self, channel=None, **request):
        stream = Stream(self, pb.WatchEventsRequest(**request), channel)
        self._closing.append(stream)
        return stream

    def oldest(self, **request):
        return self.watch(from_oldest=True, **request)

    def call(self, method, request=None, **fields):
        """Calls a method; returns its answer or the RpcError."""
        kind = getattr(pb, method + "Request")
        try:
            return getattr(self.stub, method)(request or kind(**fields), timeout=patience())
        except grpc.RpcError as error:
            return error

    def call_raw(self, method, request):
        """The same with an encoded request and answer."""
        try:
            return self.channel.unary_unary(f"/vmeventd.v1.VmEventService/{method}")(
                request, timeout=patience())
        except grpc.RpcError as error:
            return error

    def get(self, name="vm1", **fields):
        answer = self.call("GetVm", vm_name=name, **fields)
        return pb.Vm() if isinstance(answer, grpc.RpcError) else answer.vm

    def declare(self, name="vm1", actor="who", reason="why", **fields):
        """Declares an intent and returns it."""
        answer = self.call("DeclareIntent", vm_name=name, actor=actor, reason=reason, **fields)
        assert code(answer) == "OK", answer
        return answer.intent

    def refused(self, status, method, **fields):
        """Checks that a call fails with this status, or with this status and reason, and returns its message."""
        answer = self.call(method, **fields)
        is_status = reason(answer) if " " in status else code(answer)
        assert is_status == status, f"{method} {fields}: {is_status}, not {status}: {answer}"
        return answer.details()

    def info(self):
        return self.call("GetServerInfo")

    def events(self, **fields):
        """All events of ListEvents, page by page."""
        found = []
        token = ""
        while True:
            page = self.call("ListEvents", page_token=token, **fields)
            if isinstance(page, grpc.RpcError):
                raise AssertionError(page)
            found += page.events
            token = page.next_page_token
            if not token:
                return found

    def close(self):
        for thing in reversed(self._closing):
            thing.close()
        self.stop(signal.SIGKILL)
        if self._mounted:
            subprocess.run(["umount", self.state], check=True)
        self._directory.cleanup()


class WorldTest(unittest.TestCase):
    """Each test has a world, which has no daemon at first."""

    def setUp(self):
        self.world = World()
        self.addCleanup(self.world.close)

    def run_beside(self, command, environment=None, **streams):
        """Runs a program until the test ends; its output is in `log`."""
        with open(self.world.path / "hook.log", "ab") as log:
            program = subprocess.Popen(command, stderr=log, env=environment, **streams)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        return program

    @property
    def log(self):
        return (self.world.path / "hook.log").read_text()


def code(answer):
    """Returns the name of the status of a result of World.call."""
    return answer.code().name if isinstance(answer, grpc.RpcError) else "OK"


def details(error):
    """The messages in the details of a status, by their names."""
    assert isinstance(error, grpc.RpcError), error
    found = {}
    for key, value in error.trailing_metadata():
        if key != "grpc-status-details-bin":
            continue
        status = status_pb2.Status.FromString(value)
        assert (status.code, status.message) == (error.code().value[0], error.details()), status
        for detail in status.details:
            kind = detail.type_url.removeprefix("type.googleapis.com/google.rpc.")
            found[kind] = getattr(status_pb2, kind).FromString(detail.value)
    return found


def reason(error):
    """The status and the ErrorReason of a call that failed."""
    info = details(error)["ErrorInfo"]
    assert info.domain == "vmeventd"
    pb.ErrorReason.Value("ERROR_REASON_" + info.reason)
    return f"{code(error)} {info.reason}"


def facts(error):
    """Returns the facts that the ErrorInfo of a failed call has in addition to its reason."""
    return dict(details(error)["ErrorInfo"].metadata)


def hook_environment(**variables):
    """Returns the environment of a hook in Python."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": STUBS.name, "PYTHONDONTWRITEBYTECODE": "1", **variables}


HELD_PORTS = []


def make_certificate(folder, name, *extensions, authority=None):
    """Makes NAME.pem and NAME.key in `folder`: an authority, or a certificate of the one of that name."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    if authority:
        command += ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"]
        extensions = ("basicConstraints=critical,CA:FALSE", *extensions)
    for extension in extensions:
        command += ["-addext", extension]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def free_port():
    """A port of loopback that nobody else gets as long as this process lives: a socket holds it, without listening. A
    server with SO_REUSEADDR may listen there, as those of Go and eventlet."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    HELD_PORTS.append(held)
    return held.getsockname()[1]


def run_tests(description):
    """Runs the tests of the program that was started, with the programs that its command line names."""
    parser = argparse.ArgumentParser(description=description)
    for program in ("vmeventd", "vmevents", "fake-qemu"):
        parser.add_argument(f"--{program}", required=True)
    options, rest = parser.parse_known_args()
    PROGRAMS.update(vmeventd=options.vmeventd, vmevents=options.vmevents, fake_qemu=options.fake_qemu)
    unittest.main(module="__main__", argv=sys.argv[:1] + rest, verbosity=2)
