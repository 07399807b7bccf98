#!/usr/bin/env python3
"""pass_lingering.py TEXT: sends TEXT over the Unix socket that is its descriptor 3, and with it a TCP
socket whose close takes an hour; four times, or until the peer or the kernel refuses it. Keeps no
reference to what it has passed. Prints the last errno, or 0, and stays.

A process of its own does it: whoever drops the last reference waits, the test must not."""

import os
import signal
import socket
import struct
import sys
import threading


def make_lingering(listener):
    passed = socket.socket()
    # Small, so that many of them take little memory.
    passed.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    passed.connect(listener.getsockname())
    passed.setblocking(False)
    try:
        while True:
            passed.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    passed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return passed.detach()


def main():
    listener = socket.create_server(("127.0.0.1", 0))  # what it does not accept keeps its peer waiting
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    error = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3) as over:
        for _ in range(4):
            passed = make_lingering(listener)
            try:
                socket.send_fds(over, [sys.argv[1].encode()], [passed], socket.MSG_NOSIGNAL)
            except OSError as refused:
                error = refused.errno
            threading.Thread(target=os.close, args=[passed], daemon=True).start()
            if error != 0:
                break
    print(error, flush=True)
    signal.pause()


main()
