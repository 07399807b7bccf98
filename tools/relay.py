#!/usr/bin/env python3
"""Relays connections from one port of loopback to another: relay.py FROM TO

While it is stopped (SIGSTOP) nothing passes and nothing is refused, as in a partitioned network.
"""

import socket
import sys
import threading


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other direction was quicker


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        client = listener.accept()[0]
        try:
            server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        except OSError:
            client.close()
            continue
        for ends in ((client, server), (server, client)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


main()
