"""systemd, as far as it keeps file descriptors for a service that ends and is started again.

vmeventd's unit has FileDescriptorStoreMax=, so this is what it has wherever it is installed as a service.
"""

import array
import fcntl
import os
import socket
import threading

MAX_DESCRIPTORS = 253  # of a message
FIRST_FREE = 10  # beyond those that a process is passed
# Only the process itself knows its LISTEN_PID.
PASS = 'exec {redirections}; LISTEN_PID=$$ exec "$@"'


class ServiceManager:
    """The service manager of one service."""

    def __init__(self, path):
        self._path = path
        self._store = []  # (name, descriptor)
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        threading.Thread(target=self._serve, daemon=True).start()

    def environment(self):
        with self._lock:
            names = ":".join(name for name, _ in self._store)
            stored = {"LISTEN_FDS": str(len(self._store)), "LISTEN_FDNAMES": names} if names else {}
        return {"NOTIFY_SOCKET": str(self._path), **stored}

    def command(self, command):
        """`command` with what is stored for it, and the descriptors that it is to inherit."""
        with self._lock:
            descriptors = [fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST_FREE) for _, fd in self._store]
        if not descriptors:
            return command, ()
        redirections = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(descriptors))
        return ["bash", "-c", PASS.format(redirections=redirections), "bash", *command], descriptors

    def _serve(self):
        while True:
            text, descriptors = self._receive()
            fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            name = fields.get("FDNAME", "stored")
            with self._lock:
                if "FDSTOREREMOVE" in fields:
                    for stored in [each for each in self._store if each[0] == name]:
                        self._store.remove(stored)
                        os.close(stored[1])
                if "FDSTORE" in fields:
                    self._store += [(name, fd) for fd in descriptors]
                    continue
            for fd in descriptors:  # of a BARRIER: all before it is done
                os.close(fd)

    def _receive(self):
        """The text of the next message, and its descriptors."""
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        text, control, _, _ = self._socket.recvmsg(4096, space, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array("i")
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[:len(data) - len(data) % descriptors.itemsize])
        return text.decode(errors="replace"), list(descriptors)
