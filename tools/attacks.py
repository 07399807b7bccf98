#!/usr/bin/env python3
"""Attacks vmeventd over the network and on its Unix socket, and measures what others notice of it.

usage: tools/attacks.py BIN_DIR [--seconds N] [--attack NAME]... [--any-time] [--any-memory] [--list]

Each attack runs for N seconds (60) against a daemon of its own, from as many processes as it needs, some of them on the
Unix socket where that takes no call of this user's. Meanwhile one client calls GetServerInfo on the Unix socket and
another by TCP, from another address, each 20 ms; every tenth time on a new connection. At the end a VM starts. Printed
are the calls' times, how much the daemon's memory grew at most, and how often attackers were cut. Exit status 1: the
daemon died, grew by more than 64 MiB, did not answer a call, did not follow the VM, or answered fewer than 99 of 100
calls within 100 ms. The times say as much about the machine: compare them with those of the attack "none", or let
--any-time take them, as ./dev test does; --any-memory is for a sanitized daemon, which keeps what it frees.

It needs openssl(1). The attacks go to loopback only.
"""

import argparse
import array
import contextlib
import json
import multiprocessing
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MOST_GROWTH_KIB = 64 * 1024
PATIENCE = 30
SERVICE = "/vmeventd.v1.VmEventService/"
EMPTY = bytes(5)  # a gRPC message without content
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION, UNKNOWN = 0, 1, 2, 3, 4, 6, 8, 9, 11
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(first, bits, value):
    """HPACK's integers (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytes([first | most]), value - most
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def field(name, value):
    return b"\0" + integer(0, 7, len(name)) + name + integer(0, 7, len(value)) + value


def call_headers(path):
    return b"".join(field(name.encode(), value.encode()) for name, value in (
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers")))


def call(stream, path, message=EMPTY):
    return frame(HEADERS, END_HEADERS, stream, call_headers(path)) + frame(DATA, END_STREAM, stream, message)


class Target:
    """The addresses of a daemon, and how to connect there. Attackers get a copy."""

    def __init__(self, directory, tls):
        self.socket, self.tls, self.directory = directory / "run" / "s", tls, directory
        self.port = 0

    def unix(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.socket))
        return connection

    def tcp(self, address="127.0.0.9"):
        connection = socket.socket()
        connection.settimeout(PATIENCE)
        connection.bind((address, 0))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def context(self):
        context = ssl.create_default_context(cafile=str(self.directory / "tls.crt"))
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        return context

    def serve(self, address="127.0.0.9", number=0):
        """A connection on which HTTP/2 may be used; of attackers with an odd number the Unix socket's."""
        if number % 2 and not self.tls:
            return self.unix()
        connection = self.tcp(address)
        return self.context().wrap_socket(connection) if self.tls else connection


# The others, who measure.

class Caller:
    """One connection of HTTP/2, with one call at a time."""

    def __init__(self, connection):
        self.connection, self.stream, self.waiting = connection, 1, b""
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def _take(self, size):
        while len(self.waiting) < size:
            more = self.connection.recv(65536)
            if not more:
                raise ConnectionError("the daemon has closed the connection")
            self.waiting += more
        out, self.waiting = self.waiting[:size], self.waiting[size:]
        return out

    def ask(self, method="GetServerInfo", message=EMPTY):
        """Returns how many bytes the answer has."""
        stream, self.stream = self.stream, self.stream + 2
        self.connection.sendall(call(stream, SERVICE + method, message))
        answer = 0
        while True:
            header = self._take(9)
            length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
            of = int.from_bytes(header[5:], "big")
            payload = self._take(length)
            if kind == SETTINGS and not flags & 1:
                self.connection.sendall(frame(SETTINGS, 1, 0))
            elif kind == PING and not flags & 1:
                self.connection.sendall(frame(PING, 1, 0, payload))
            elif kind == DATA:
                answer += length
                if length:
                    grant = struct.pack(">I", length)
                    self.connection.sendall(frame(WINDOW_UPDATE, 0, 0, grant) + frame(WINDOW_UPDATE, 0, stream, grant))
            elif kind == 7:
                raise ConnectionError("GOAWAY")
            if of == stream and flags & END_STREAM and kind in (DATA, HEADERS):
                if not answer:
                    raise ConnectionError("the call was refused")
                return answer

    def close(self):
        self.connection.close()


class Observer(threading.Thread):
    """Calls again and again, and keeps the times."""

    def __init__(self, connect):
        super().__init__(daemon=True)
        self.connect, self.times, self.failures, self.stopped = connect, [], [], False

    def run(self):
        caller, calls = None, 0
        while not self.stopped:
            begin = time.monotonic()
            try:
                if caller is None or calls % 10 == 0:
                    if caller is not None:
                        caller.close()
                    caller = Caller(self.connect())
                caller.ask()
                self.times.append(time.monotonic() - begin)
            except OSError as error:
                self.failures.append(str(error))
                caller = None
            calls += 1
            time.sleep(0.02)


def shake_hands(monitor):
    """Answers as QEMU does on its monitor, up to the last answer of the handshake."""
    monitor.sendall(b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}}}\n')
    with monitor.makefile("rb") as lines:
        command = {}
        while command.get("execute") != "query-status":
            command = json.loads(lines.readline())
            answer = {"status": "running", "running": True} if command["execute"] == "query-status" else {}
            monitor.sendall(json.dumps({"return": answer, "id": command.get("id", 0)}).encode() + b"\n")


# The attacks. Each takes the target, and the number of its process; it runs until it is killed, and returns or raises
# OSError where it was cut: then it begins again.

def started(target, number=0):
    connection = target.serve(number=number)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    return connection


def drain(connection):
    """Reads what has come, without waiting."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        pass
    connection.settimeout(PATIENCE)


def send_forever(connection, burst):
    while True:
        connection.sendall(burst)
        drain(connection)


def none(_target, _number):
    time.sleep(3600)


def continuation(target, number):
    connection = started(target, number)
    key = b"k" * 4000
    connection.sendall(frame(HEADERS, 0, 1, b"\x40" + integer(0, 7, len(key)) + key + integer(0, 7, 1) + b"v"))
    send_forever(connection, frame(CONTINUATION, 0, 1, b"\xbe\xbe") * 400)


def continuation_that_ends(target, _number):
    connection, stream = started(target), 1
    while True:
        burst, block = b"", call_headers(SERVICE + "GetServerInfo")
        for _ in range(100):
            burst += frame(HEADERS, 0, stream, block[:20]) + frame(CONTINUATION, END_HEADERS, stream, block[20:])
            stream += 2
        connection.sendall(burst)
        drain(connection)


def huge_strings(target, number):
    """Strings of which little comes, and gRPC would copy what has come at each piece."""
    connection, stream = started(target, number), 1
    while True:
        for length in (1 << 14, 1 << 20, (1 << 31) - 1):
            begin = b"\0" + integer(0, 7, length)
            connection.sendall(frame(HEADERS, END_HEADERS, stream, begin + b"x" * (16384 - len(begin))))
            stream += 2
            drain(connection)


def many_fields(target, number):
    """Calls of 16,000 references to one field, by a client that never acknowledges the daemon's SETTINGS."""
    connection = started(target, number)
    begin = call_headers(SERVICE + "GetVm") + b"\x40\x01x\x01y"
    for stream in range(1, 4000, 2):
        connection.sendall(frame(HEADERS, END_HEADERS, stream, begin + b"\xbe" * (16384 - len(begin))))
        drain(connection)


def headers_in_pieces(target, _number):
    """Many calls, each with one frame of headers whose bytes come one by one."""
    connection, stream = started(target), 1
    while True:
        block = call_headers(SERVICE + "GetServerInfo") + field(b"a", b"b" * 7000)
        whole = frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, EMPTY)
        for at in range(0, len(whole), 16):
            connection.sendall(whole[at:at + 16])
        stream += 2
        drain(connection)


def every_byte(target, _number):
    connection, stream = started(target), 1
    while True:
        for byte in call(stream, SERVICE + "GetServerInfo"):
            connection.sendall(bytes([byte]))
        stream += 2
        drain(connection)


def frames(*burst, connections=1):
    def flood(target, number):
        with contextlib.suppress(OSError):
            send_forever(started(target, number), b"".join(burst) * 200)

    def attack(target, number):
        threads = [threading.Thread(target=flood, args=(target, number), daemon=True) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        raise ConnectionError("all are cut")
    return attack


def resets(target, _number):
    connection, stream = started(target), 1
    while True:
        burst = b""
        for _ in range(100):
            burst += call(stream, SERVICE + "WatchEvents") + frame(RESET, 0, stream, struct.pack(">I", 8))
            stream += 2
        connection.sendall(burst)
        drain(connection)


def unread(target, number):
    """Large answers that nobody reads, then small calls; also unknown methods."""
    connections = []
    for i in range(10):
        connection = started(target)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connections.append(connection)
        window = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, (1 << 31) - 1)) + frame(
            WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1 - 65535))
        connection.sendall(window)
        method = SERVICE + ("ListEvents", "ListVms", "Unknown")[(i + number) % 3]
        burst = b"".join(call(2 * j + 1, method, page() if method.endswith("Events") else EMPTY) for j in range(1900))
        try:
            connection.settimeout(1)
            connection.sendall(burst)
        except OSError:
            pass
    time.sleep(5)


def page():
    """A ListEventsRequest with the largest page_size."""
    message = b"\x28" + b"\xe8\x07"  # page_size 1000
    return b"\0" + struct.pack(">I", len(message)) + message


def window_of_0(target, _number):
    """500 ListEvents whose answers may not be sent: the client grants nothing."""
    connection = target.serve()
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))
    for i in range(500):
        connection.sendall(call(2 * i + 1, SERVICE + "ListEvents", page()))
        drain(connection)
    for _ in range(10):
        time.sleep(1)
        drain(connection)


def calls_without_request(target, _number):
    connections = []
    for _ in range(20):
        connection = started(target)
        connection.sendall(b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, call_headers(SERVICE + "GetVm"))
                                    for i in range(400)))
        connections.append(connection)
    time.sleep(12)


def silent(target, number):
    """Connections that send nothing, from many addresses."""
    connections = [target.tcp(f"127.{1 + number}.{i % 200}.{1 + i // 200}") for i in range(400)]
    time.sleep(0.5)
    del connections


def client_hello(target):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = target.context().wrap_bio(incoming, outgoing)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def hellos(target, number):
    """A handshake costs the daemon a signature, and the client nothing."""
    hello, i = client_hello(target), 0
    while True:
        connection = target.tcp(f"127.{1 + number}.{i % 200}.9")
        connection.sendall(hello)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.recv(1)
        connection.close()
        i += 1


def half_records(target, number):
    """Half a ClientHello; and after the handshake records of which half comes, byte by byte."""
    hello, connections = client_hello(target), []
    for i in range(200):
        connection = target.tcp(f"127.{1 + number}.{i}.9")
        connection.sendall(hello[:len(hello) // 2])
        connections.append(connection)
    for _ in range(20):
        connection = started(target, number)
        raw = socket.socket(fileno=os.dup(connection.fileno()))
        raw.sendall(b"\x17\x03\x03\x40\x00")  # 16 KiB of application data
        connections += [connection, raw]
    for _ in range(100):
        for connection in connections[201::2]:
            connection.sendall(b"x")
        time.sleep(0.05)


def s_client(version, command):
    def attack(target, _number):
        with subprocess.Popen(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{target.port}", version, "-alpn", "h2"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            try:
                while client.poll() is None:
                    client.stdin.write(command)
                    client.stdin.flush()
                    time.sleep(0.001)
            finally:
                client.kill()
    return attack


def passed_descriptors(target, _number):
    """A socket whose close would wait for a minute (SO_LINGER), sent to the daemon."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection = socket.create_connection(listener.getsockname())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    connection.setblocking(False)
    try:
        while True:
            connection.send(bytes(65536))
    except BlockingIOError:
        pass
    daemon = target.unix()
    daemon.sendmsg([PREFACE], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
    connection.close()
    time.sleep(0.2)


AT = b'"timestamp": {"seconds": 1, "microseconds": 2}'
SAYINGS = (b'{"event": "BLOCK_IO_ERROR", "data": {"device": "hd0"}, ' + AT + b"}\r\n") * 500, (
    b'{"event": "' + b"x" * ((1 << 20) - 100)), (
    b'{"event": "BLOCK_IO_ERROR", "data": {"device": "' + b"x" * (1 << 19) + b'"}, ' + AT + b"}\r\n")


def monitors(target, number):
    """150 of QEMUs that flood the daemon, begin a line of 1 MiB and never end it, or send long lines."""
    def speak(path, saying):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(4)
            while True:
                monitor, _ = listener.accept()
                with monitor, contextlib.suppress(OSError, ValueError):
                    shake_hands(monitor)
                    monitor.sendall(saying)
                    while saying is not SAYINGS[1]:
                        monitor.sendall(saying)
                    monitor.recv(1)
    threads = [threading.Thread(target=speak, daemon=True, args=(
        str(target.directory / "vms" / f"hostile{number}-{i}.qmp"), SAYINGS[i % 3])) for i in range(150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Attack:
    """`run` in as many processes; against TLS; needs_history: there is much to list."""

    def __init__(self, run, processes=1, tls=False, needs_history=False):
        self.run, self.processes, self.tls, self.needs_history = run, processes, tls, needs_history


ATTACKS = {
    "none": Attack(none),
    "none-tls": Attack(none, tls=True),
    "continuation": Attack(continuation, 2),
    "continuation-tls": Attack(continuation, 2, tls=True),
    "continuation-that-ends": Attack(continuation_that_ends, 2),
    "huge-strings": Attack(huge_strings, 2),
    "many-fields": Attack(many_fields, 2),
    "headers-in-pieces": Attack(headers_in_pieces, 2),
    "every-byte": Attack(every_byte, 2),
    "every-byte-tls": Attack(every_byte, 2, tls=True),
    "unknown-frames": Attack(frames(frame(UNKNOWN, 0, 0), connections=25), 2),
    "unknown-frames-tls": Attack(frames(frame(UNKNOWN, 0, 0)), 2, tls=True),
    "priority": Attack(frames(frame(PRIORITY, 0, 1, bytes(5))), 2),
    "pings": Attack(frames(frame(PING, 0, 0, bytes(8))), 2),
    "settings": Attack(frames(frame(SETTINGS, 0, 0)), 2),
    "windows": Attack(frames(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")), 2),
    "resets": Attack(resets, 2),
    "resets-tls": Attack(resets, 2, tls=True),
    "unread": Attack(unread, 3, needs_history=True),
    "window-of-0": Attack(window_of_0, 2, needs_history=True),
    "calls-without-request": Attack(calls_without_request, 2),
    "silent": Attack(silent, 2),
    "silent-tls": Attack(silent, 2, tls=True),
    "client-hellos": Attack(hellos, 3, tls=True),
    "half-records": Attack(half_records, 2, tls=True),
    "renegotiation": Attack(s_client("-tls1_2", b"R\n"), 2, tls=True),
    "key-updates": Attack(s_client("-tls1_3", b"K\n"), 2, tls=True),
    "passed-descriptors": Attack(passed_descriptors, 2),
    "monitors": Attack(monitors, 2),
}


class Daemon:
    def __init__(self, programs, attack):
        self.scratch = tempfile.TemporaryDirectory(prefix="attacks-")  # pylint: disable=consider-using-with
        directory = pathlib.Path(self.scratch.name)
        directory.chmod(0o755)
        (directory / "vms").mkdir()
        (directory / "run").mkdir(mode=0o755)
        self.target = Target(directory, attack.tls)
        self.client = [programs / "vmevents", f"--server=unix:{self.target.socket}"]
        command = [programs / "vmeventd_tuned", "event-limits=off"] if attack.needs_history else [programs / "vmeventd"]
        command += [f"--watch={directory}/vms:*.qmp", f"--listen=unix:{self.target.socket}",
                    "--listen=127.0.0.1:0", f"--state-dir={directory}/state",
                    "--process-tracking=off"]  # one process has many VMs
        if attack.tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                            "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                            directory / "tls.key", "-out", directory / "tls.crt"], check=True, capture_output=True)
            command += [f"--tls-cert={directory}/tls.crt", f"--tls-key={directory}/tls.key"]
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stderr=log)  # pylint: disable=consider-using-with
        end = time.monotonic() + PATIENCE
        while (info := self._info()) is None:
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("vmeventd does not start: " + self.log.read_text())
            time.sleep(0.05)
        addresses = [one["address"] for one in info["listeners"]]
        self.target.port = int(next(one for one in addresses if not one.startswith("unix:")).rpartition(":")[2])
        if attack.needs_history:
            self._speak()

    def _info(self):
        """The daemon's own state; None: it has not started."""
        answer = subprocess.run(self.client + ["info", "-o", "json"], capture_output=True, check=False)
        info = json.loads(answer.stdout) if answer.returncode == 0 else {}
        return info if info.get("listeners") and not info.get("waits_for") else None

    @contextlib.contextmanager
    def monitor_of(self, name):
        """The monitor of a VM whose handshake is over."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(PATIENCE)
            listener.bind(str(self.target.directory / "vms" / f"{name}.qmp"))
            listener.listen()
            monitor, _ = listener.accept()
            with monitor:
                shake_hands(monitor)
                yield monitor

    def _speak(self):
        """A VM with 20,000 events."""
        with self.monitor_of("vm") as monitor:
            event = {"event": "WATCHDOG", "data": {"action": "none"}, "timestamp": {"seconds": 1, "microseconds": 0}}
            monitor.sendall((json.dumps(event) + "\n").encode() * 20_000)
            caller, end = Caller(self.target.unix()), time.monotonic() + PATIENCE
            while caller.ask("ListEvents", page()) < 100_000:
                if time.monotonic() > end:
                    sys.exit("vmeventd has not kept the events that make its answers large")
                time.sleep(0.1)

    def follows_a_vm(self):
        """After how many ms a VM that starts now is listed; None: it is not."""
        name = b"late"
        message = b"\x0a" + bytes([len(name)]) + name  # GetVmRequest.vm_name
        try:
            with self.monitor_of(name.decode()):
                caller, begin = Caller(self.target.unix()), time.monotonic()
                while time.monotonic() < begin + PATIENCE:
                    with contextlib.suppress(ConnectionError):  # NOT_FOUND, so far
                        caller.ask("GetVm", b"\0" + struct.pack(">I", len(message)) + message)
                        return 1000 * (time.monotonic() - begin)
                    time.sleep(0.001)
        except OSError:
            pass
        return None

    def resident_kib(self):
        if self.process.poll() is not None:
            return 0
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.scratch.cleanup()


def attack_forever(attack, target, number, cuts):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            attack.run(target, number)
        except OSError:
            with cuts.get_lock():
                cuts.value += 1


def percentile(times, part):
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("inf")


def run(name, attack, options):
    """Prints a line; returns whether the daemon held out."""
    daemon = Daemon(options.programs.resolve(), attack)
    cuts = multiprocessing.Value("i", 0)
    attackers = [multiprocessing.Process(target=attack_forever, args=(attack, daemon.target, i, cuts), daemon=True)
                 for i in range(attack.processes)]
    try:
        observers = [Observer(daemon.target.unix), Observer(lambda: daemon.target.serve("127.0.0.2"))]
        before = most = daemon.resident_kib()
        for process in attackers:
            process.start()
        for observer in observers:
            observer.start()
        end = time.monotonic() + options.seconds
        while time.monotonic() < end and daemon.process.poll() is None:
            time.sleep(0.1)
            most = max(most, daemon.resident_kib())
        follows = daemon.follows_a_vm()
        for observer in observers:
            observer.stopped = True
        for observer in observers:
            observer.join(PATIENCE)
    finally:
        for process in attackers:
            if process.pid is not None:
                process.kill()
                process.join()
        died = daemon.process.poll() is not None
        daemon.close()
    times = [one for observer in observers for one in observer.times]
    failures = [text for observer in observers for text in observer.failures]
    late = sum(one > 0.1 for one in times)
    grew = most - before > MOST_GROWTH_KIB and not options.any_memory
    slow = late > len(times) / 100 and not options.any_time
    held = not (died or failures or grew or slow) and follows is not None and times
    print(f"{name:24} {'ok    ' if held else 'FAILED'} memory +{(most - before) / 1024:5.1f} MiB; {len(times)} calls: "
          f"p50 {percentile(times, .5):.1f} ms, p99 {percentile(times, .99):.1f} ms, max {percentile(times, 1):.1f} ms, "
          f"{late} over 100 ms; "
          + ("the VM is not followed" if follows is None else f"the VM is listed {follows:.0f} ms after its handshake")
          + f"; attackers cut {cuts.value} times"
          + (f"; {len(failures)} calls failed: {failures[0]}" if failures else "")
          + ("; IT DIED" if died else ""),
          flush=True)
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path, metavar="BIN_DIR")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--attack", action="append", choices=ATTACKS, metavar="NAME")
    parser.add_argument("--any-time", action="store_true", help="do not limit the time of calls")
    parser.add_argument("--any-memory", action="store_true", help="do not limit the daemon's memory")
    parser.add_argument("--list", action="store_true", help="print the attacks' names")
    options = parser.parse_args()
    if options.list:
        print(*ATTACKS, sep="\n")
        return 0
    multiprocessing.set_start_method("fork")
    held = [run(name, ATTACKS[name], options) for name in options.attack or ATTACKS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
