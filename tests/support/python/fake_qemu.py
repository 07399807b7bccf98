"""Drives tests/support/fake_qemu, like FakeQemu in tests/support/fake_qemu.h."""

import fcntl
import os
import signal
import socket


def encode(value):
    """Encodes the subset of CBOR that the fake uses."""
    def head(major, number):
        if number < 24:
            return bytes([major << 5 | number])
        for mark, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if number < 1 << 8 * size:
                return bytes([major << 5 | mark]) + number.to_bytes(size, "big")
        raise ValueError(number)
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        return head(3, len(text)) + text
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())
    raise TypeError(value)


def decode(data, at=0):
    """Returns the value at `at` of CBOR data, and the start of the next one."""
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[low], at
    number = low
    if low >= 24:
        size = 1 << low - 24
        number, at = int.from_bytes(data[at:at + size], "big"), at + size
    if major == 0:
        return number, at
    if major in (2, 3):
        return data[at:at + number].decode("utf-8", "surrogateescape"), at + number
    if major not in (4, 5):
        raise ValueError(f"CBOR of major type {major}")
    items = []
    for _ in range(number * (major - 3)):
        item, at = decode(data, at)
        items.append(item)
    return (items if major == 4 else dict(zip(items[::2], items[1::2]))), at


class FakeQemu:
    """A process that serves QMP on its sockets and executes requests."""

    def __init__(self, program):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        leash, self._leash = os.pipe()
        # Keeps the descriptors 3 and 4 free, which the fake uses.
        channel = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 64)
        leash_end = fcntl.fcntl(leash, fcntl.F_DUPFD_CLOEXEC, 64)
        # A sanitizer leaves it the signals that end it.
        handled = ("segv", "sigbus", "abort", "sigill", "sigfpe")
        environment = {**os.environ, "ASAN_OPTIONS": ":".join(f"handle_{name}=0" for name in handled)}
        self.pid = os.posix_spawn(program, [program], environment, file_actions=[
            (os.POSIX_SPAWN_DUP2, channel, 3), (os.POSIX_SPAWN_DUP2, leash_end, 4)])
        for descriptor in (channel, leash_end, leash):
            os.close(descriptor)
        theirs.close()
        self._channel = ours
        self._number = 0
        self._reaped = False

    def _send(self, request):
        self._number += 1
        self._channel.send(encode({**request, "number": self._number}))

    def _do(self, what, monitor=None, **arguments):
        self._send({"do": what, **({} if monitor is None else {"monitor": monitor}), **arguments})
        answer, _ = decode(self._channel.recv(128 << 10))
        assert answer["number"] == self._number
        return answer["result"]

    def add_monitor(self, path, **behavior):
        return self._do("add", path=path, behavior=behavior)

    def behave(self, monitor=0, **behavior):
        self._do("behave", monitor, behavior=behavior)

    def send(self, text, monitor=0):
        for begin in range(0, len(text), 30000):
            self._do("send", monitor, bytes=text[begin:begin + 30000])

    def close_client(self, monitor=0):
        self._do("close client", monitor)

    def unlink(self, monitor=0):
        self._do("unlink", monitor)

    def exit(self):
        self._send({"do": "exit"})
        self.reap()

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        self.reap()

    def reap(self):
        if not self._reaped:
            os.waitpid(self.pid, 0)
            self._reaped = True

    def close(self):
        if not self._reaped:
            self.kill()
        self._channel.close()
        os.close(self._leash)
