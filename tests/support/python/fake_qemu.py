"""Drives tests/support/fake_qemu, like FakeQemu in tests/support/fake_qemu.h."""

import fcntl
import json
import os
import signal
import socket


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
        self._channel.send(json.dumps({**request, "number": self._number}).encode())

    def _do(self, what, monitor=None, **arguments):
        self._send({"do": what, **({} if monitor is None else {"monitor": monitor}), **arguments})
        answer = json.loads(self._channel.recv(128 << 10))
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
