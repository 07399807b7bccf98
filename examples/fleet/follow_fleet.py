#!/usr/bin/env python3
"""Follows the events of a fleet in NATS JetStream and records each one once, whatever fails.

  follow_fleet.py --server nats1:4222 --record crashes.db --subject 'vmevents.v1.*.*.*.stopped.crash'

It speaks NATS's protocol itself and needs no package; with --credentials the program openssl signs.
What it does is what a program that must miss nothing and do nothing twice does with any client of NATS:

  * It reads by a durable consumer with a filter: the server stores its position, also while it is away.
  * It does its own work and notes ce-source and ce-id in one transaction, and acknowledges after that.
    A message that it did not acknowledge comes again; the note shows that the work is done already.
  * It pulls, so that no more comes than it can take.
  * It believes the subject, which the server permitted, and no header that names another node. A header may
    have any bytes, and the status of a server's own message.

The record is SQLite: sqlite3 crashes.db 'SELECT time, source, vm, type FROM events ORDER BY time'.
"""

import argparse
import base64
import json
import os
import random
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

STREAM = "VMEVENTS"
BATCH = 100
EXPIRES = 5  # seconds: a pull ends after it
ANSWER = 3  # seconds: a request whose answer takes longer is lost, as while JetStream starts
SILENCE = 15  # seconds: a server that sends nothing for so long is lost
LONGEST_PAUSE = 30  # seconds, between attempts to connect


class Lost(Exception):
    """The connection is lost, or the server does not do what it should: try again later."""


class Connection:
    """One connection to a NATS server."""

    def __init__(self, server, options):
        host, _, port = server.rpartition(":")
        try:
            self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=SILENCE)
        except OSError as error:
            raise Lost(f"{server}: {error}") from error
        self.server = server
        self.unread = bytearray()
        self.api = f"$JS.{options.domain}.API" if options.domain else "$JS.API"
        self.inbox = f"_INBOX.vmevents.{random.SystemRandom().getrandbits(128):032x}"
        info = self.parsed(self.line().removeprefix("INFO "))
        if options.tls_ca:
            tls = ssl.create_default_context(cafile=options.tls_ca)
            if options.tls_cert:
                tls.load_cert_chain(options.tls_cert, options.tls_key)
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host.strip("[]"))
            except OSError as error:
                raise Lost(f"{server}: {error}") from error
        elif info.get("tls_required"):
            sys.exit(f"follow_fleet: {server} requires TLS: give --tls-ca FILE")
        login = {"verbose": False, "headers": True, "no_responders": True, "name": "follow_fleet"}
        if options.user:
            login.update(user=options.user, **{"pass": os.environ.get("NATS_PASSWORD", "")})
        if options.credentials:
            login.update(credentials_of(options.credentials, info.get("nonce", "")))
        self.send(f"CONNECT {json.dumps(login)}\r\nSUB {self.inbox}.* 1\r\nPING\r\n".encode())

    def parsed(self, text):
        try:
            return json.loads(text)
        except ValueError as error:
            raise Lost(f"{self.server}: {error}") from error

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Lost(f"{self.server}: {error}") from error

    def publish(self, subject, payload=b"", reply=""):
        self.send(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def read(self, enough):
        """Reads until `enough` says where what is wanted ends."""
        while (end := enough(self.unread)) is None:
            try:
                more = self.socket.recv(65536)
            except OSError as error:  # a time-out is an OSError, too
                raise Lost(f"{self.server}: {error}") from error
            if not more:
                raise Lost(f"{self.server} closed the connection")
            self.unread += more
        wanted = bytes(self.unread[:end])
        del self.unread[:end]
        return wanted

    def line(self):
        return self.read(lambda d: d.find(b"\r\n") + 2 if b"\r\n" in d else None).decode(errors="replace").rstrip()

    def message(self):
        """The next message: its subject, reply, headers, payload."""
        while True:
            words = self.line().split(" ")
            if words[0] == "PING":
                self.send(b"PONG\r\n")
            elif words[0] == "-ERR":
                raise Lost(f"{self.server}: {' '.join(words[1:])}")
            elif words[0] in ("MSG", "HMSG"):
                size = int(words[-1])
                data = self.read(lambda d, size=size: size + 2 if len(d) >= size + 2 else None)
                head = int(words[-2]) if words[0] == "HMSG" else 0
                reply = words[3] if len(words) == (6 if words[0] == "HMSG" else 5) else ""
                return words[1], reply, headers_of(data[:head]), data[head:size]

    def request(self, subject, body):
        """JetStream's answer to a request of its API."""
        self.socket.settimeout(ANSWER)
        self.publish(f"{self.api}.{subject}", json.dumps(body).encode(), f"{self.inbox}.api")
        while True:
            subject, _, headers, data = self.message()
            if subject != f"{self.inbox}.api":
                continue
            if headers.get("Status") == "503":
                raise Lost(f"{self.server} has no JetStream, or not for this account")
            self.socket.settimeout(SILENCE)
            return self.parsed(data)


def headers_of(text):
    """The headers of a message; the server's own messages have a status: 408 and so on."""
    lines = text.decode(errors="replace").split("\r\n")
    headers = dict(zip(("Status", "Description"), lines[0].split(" ", 2)[1:]))
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = urllib.parse.unquote(value.strip())
    return headers


def credentials_of(path, nonce):
    """Logs in with a credentials file of NATS (.creds): its JWT, and the server's nonce signed by its key."""
    with open(path, encoding="ascii") as file:
        lines = [line.strip() for line in file]
    begins = [at for at, line in enumerate(lines) if line.startswith("-----BEGIN")]
    jwt, seed = (lines[at + 1] for at in begins)
    # Two bytes that name its kind, the 32 of an Ed25519 key, and a checksum; openssl reads PKCS #8.
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34]
    key = bytes.fromhex("302e020100300506032b657004220420") + raw
    with tempfile.NamedTemporaryFile() as text:
        text.write(nonce.encode())
        text.flush()
        signature = subprocess.run(
            ["openssl", "pkeyutl", "-sign", "-rawin", "-in", text.name, "-inkey", "/dev/stdin",
             "-keyform", "DER"],
            input=key, stdout=subprocess.PIPE, check=True).stdout
    return {"jwt": jwt, "sig": base64.urlsafe_b64encode(signature).decode().rstrip("=")}


def is_of_its_subject(subject, headers):
    """Returns true if the message is an event of the node that the server permitted to publish the subject."""
    words = subject.split(".")
    source = headers.get("ce-source", "").split("/")
    expected = ".".join(["vmevents.v1", *words[5:]])
    return (len(source) == 5 and source[:4] == ["", "vmevents", *words[2:4]]
            and headers.get("ce-type", "") == expected and headers.get("ce-id", "").isdecimal())


def printable(text):
    """The text without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


class Record:
    """The record of what was done: each event once."""

    def __init__(self, path):
        try:
            self.database = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            sys.exit(f"follow_fleet: {path}: {error}")
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS events (source TEXT, id TEXT, time TEXT, type TEXT, vm TEXT,"
            " payload BLOB, PRIMARY KEY (source, id)) WITHOUT ROWID"
        )

    def add(self, headers, payload):
        """Returns true if the event is new. The program's own work belongs in the same transaction."""
        row = [headers.get(f"ce-{name}", "") for name in ("source", "id", "time", "type", "subject")]
        with self.database:
            done = self.database.execute(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", (*row, payload)
            )
        return done.rowcount == 1


def follow(connection, options, record):
    """Takes messages until `options.count` more events were new."""
    answer = connection.request(
        f"CONSUMER.DURABLE.CREATE.{STREAM}.{options.durable}",
        {
            "stream_name": STREAM,
            "config": {
                "durable_name": options.durable,
                "deliver_policy": options.start,
                "ack_policy": "explicit",
                "ack_wait": 30 * 10**9,
                "max_ack_pending": 10 * BATCH,
                "filter_subject": options.subject,
            },
        },
    )
    if "error" in answer:
        raise Lost(f"{connection.server}: {answer['error']['description']}")
    pulls = 0
    room = 8 << 20  # bytes of a pull: a server ends a connection that has more than 64 MiB to take
    while options.count > 0:
        pulls += 1
        # A message that is pulled and not acknowledged comes again only after ack_wait.
        batch = min(BATCH, options.count)
        connection.publish(
            f"{connection.api}.CONSUMER.MSG.NEXT.{STREAM}.{options.durable}",
            json.dumps({"batch": batch, "max_bytes": room, "expires": EXPIRES * 10**9}).encode(),
            f"{connection.inbox}.{pulls}",
        )
        for taken in range(batch):
            subject, reply, headers, payload = connection.message()
            if subject.startswith(connection.inbox):  # the server's own
                if subject != f"{connection.inbox}.{pulls}":
                    continue
                if headers.get("Status") in ("404", "408"):
                    break  # nothing more came in its time
                if headers.get("Description", "").startswith("Message Size Exceeds"):
                    room *= 1 if taken else 2
                    break
                raise Lost(f"{connection.server} ends the consumer: {headers.get('Status')}")
            if not is_of_its_subject(subject, headers):
                print(f"follow_fleet: a message of {printable(subject)} is no event of that node: ignored",
                      file=sys.stderr, flush=True)
            elif record.add(headers, payload):
                options.count -= 1
                words = (headers.get("ce-time", ""), headers["ce-source"].rpartition("/")[0],
                         headers["ce-type"], headers.get("ce-subject", ""))
                print(printable(" ".join(words)), flush=True)
            connection.publish(reply, b"+ACK")
            if options.count == 0:
                # The server has read the acknowledgement once it answers.
                connection.request(f"CONSUMER.INFO.{STREAM}.{options.durable}", {})
                break


def server_address(text):
    address = text.removeprefix("nats://")
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: is not HOST:PORT, as nats1:4222; --tls-ca makes it TLS")
    return address


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", action="append", required=True, type=server_address, metavar="HOST:PORT",
                        help="a NATS server; may be repeated")
    parser.add_argument("--record", required=True, metavar="FILE", help="SQLite database of the events that were handled")
    parser.add_argument("--subject", default="vmevents.v1.>", help="subject of the events to follow")
    parser.add_argument("--durable", default="follow_fleet", metavar="NAME",
                        help="name of the consumer, a different one for each program")
    parser.add_argument("--start", choices=["all", "new"], default="all",
                        help="where a new consumer begins")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="end after this number of new events")
    parser.add_argument("--user", help="log in with this name and $NATS_PASSWORD")
    parser.add_argument("--domain", metavar="NAME",
                        help="JetStream domain that has the stream, if the servers are leaf nodes")
    parser.add_argument("--credentials", metavar="FILE", help="log in with this credentials file (.creds)")
    parser.add_argument("--tls-ca", metavar="FILE", help="use TLS, with this authority of the servers (PEM)")
    parser.add_argument("--tls-cert", metavar="FILE")
    parser.add_argument("--tls-key", metavar="FILE")
    return parser.parse_args()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    options = parse_arguments()
    record = Record(options.record)
    pause = 0.5
    reason = ""
    while True:
        for server in random.sample(options.server, len(options.server)):
            connection = None
            try:
                connection = Connection(server, options)
                before = time.monotonic()
                follow(connection, options, record)
                return
            except Lost as lost:
                if str(lost) != reason:
                    print(f"follow_fleet: {lost}; trying again", file=sys.stderr, flush=True)
                reason = str(lost)
                if connection and time.monotonic() - before > LONGEST_PAUSE:
                    pause = 0.5
            finally:
                if connection:
                    connection.close()
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, LONGEST_PAUSE)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except OSError as error:  # of a file that an option names
        sys.exit(f"follow_fleet: {error}")
