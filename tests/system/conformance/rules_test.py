#!/usr/bin/python3
"""The rules of the Python package against a server that is modelled: thousands of random lives of a journal, with
streams that break off, crashes of both sides, a disk that fills, retention and replaced journals. No time passes.

  rules_test.py [--lives N] [--seed N]
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = tempfile.TemporaryDirectory()
subprocess.run([ROOT / "client/python/stubs.py", PACKAGE.name], check=True)
sys.path.insert(0, PACKAGE.name)

# pylint: disable=wrong-import-position,import-error
import vmeventd  # noqa: E402
from misbehaving_server import event, events, lost, progress  # noqa: E402
from vmeventd import _connection, _rules  # noqa: E402

OUT_OF_RANGE, UNAVAILABLE = grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE


class Server:
    """A daemon and its journal."""

    def __init__(self, rng):
        self._rng = rng
        self._journals = 0
        self.replace()

    def replace(self):
        self._journals += 1
        self.journal_id = f"journal-{self._journals}"
        self.kept = {}      # what is in the journal: events by sequence
        self.ever = set()   # what was, by sequence
        self.waiting = []   # sequences of what is not
        self.newest = 0
        self.oldest = 1
        self.writable = True

    def publish(self):
        """A new event; its sequence."""
        self.newest += 1
        if self.writable:
            self._keep(event(self.newest))
        else:
            self.waiting.append(self.newest)

    def _keep(self, kept):
        self.kept[kept.sequence] = kept
        self.ever.add(kept.sequence)

    def set_writable(self, writable):
        self.writable = writable
        if writable:
            for sequence in self.waiting:
                self._keep(event(sequence))
            self.waiting = []

    def durable(self):
        """Everything up to it is in the journal."""
        return self.waiting[0] - 1 if self.waiting else self.newest

    def crash(self):
        if self.waiting:
            self._keep(lost(self.waiting[0], self.waiting[-1]))
        self.waiting = []
        self.writable = True

    def retain(self):
        """Deletes some of the oldest."""
        for _ in range(self._rng.randint(1, 5)):
            if len(self.kept) > 1:
                del self.kept[min(self.kept)]
                self.oldest = min(self.kept)

    def start_of(self, request):
        """After which sequence a stream starts; None: OUT_OF_RANGE."""
        if request.WhichOneof("start") == "from_oldest":
            return self.oldest - 1
        after = request.after_sequence
        if request.journal_id != self.journal_id or not self.oldest - 1 <= after <= self.newest:
            return None
        return after

    def after(self, sequence, most, durable_only):
        """The next events of a stream."""
        if durable_only:
            return [self.kept[each] for each in range(sequence + 1, self.newest + 1) if each in self.kept][:most]
        found = [self.kept.get(each) or event(each, False) for each in range(sequence + 1, self.newest + 1)
                 if each in self.kept or each in self.waiting]
        return found[:most]


class Client:
    """A record, as a database would have it, and the rules that fill it."""

    def __init__(self, provisional):
        self._provisional = provisional
        self.position = None
        self.events = []   # journal, sequence, whether it is durable
        self.gaps = []     # the number of events before each
        self.rules = None
        self.restart()

    def restart(self):
        self._take_back()
        self.rules = _rules.Rules(None, self.position, "oldest", self._provisional, 5)

    def _take_back(self):
        if self.position:
            self.events = [each for each in self.events if each[0] != self.position.journal_id
                           or each[1] <= self.position.sequence]

    def take(self, items):
        for item in items:
            before = self.position
            self.position = item.position
            if isinstance(item, vmeventd.NewEvent):
                row = (item.position.journal_id, item.event.sequence, item.event.durable)
                assert row[:2] not in [each[:2] for each in self.events], f"{row} again"
                assert item.event.durable or self._provisional, f"{row} is not durable"
                assert item.event.durable or item.position.sequence < item.event.sequence, f"{row} is passed"
                self.events.append(row)
            elif isinstance(item, vmeventd.Rewind):
                assert self._provisional and item.position == before, item
                self._take_back()
            elif isinstance(item, vmeventd.Gap):
                self.gaps.append(len(self.events))
        # What the position has passed is durable.
        if self.position:
            self.events = [(journal_id, sequence, durable or (
                journal_id == self.position.journal_id and sequence <= self.position.sequence))
                           for journal_id, sequence, durable in self.events]


def stream(rng, server, client, steps):
    """One stream, with what happens meanwhile; `steps`: how long it lasts, None: until all is read."""
    request, items = client.rules.begin()
    client.take(items)
    sent = server.start_of(request)
    if sent is None:
        return client.take(client.rules.ended(OUT_OF_RANGE, "gone"))
    client.take(client.rules.take(progress(sent, server.journal_id, durable=server.durable())))
    while steps is None or steps > 0:
        if steps is not None:
            steps -= 1
            for _ in range(rng.randint(0, 3)):
                server.publish()
            if rng.random() < 0.15:
                server.set_writable(not server.writable)
            if rng.random() < 0.05:
                server.retain()
                if server.oldest > sent + 1:
                    return client.take(client.rules.ended(OUT_OF_RANGE, "retention"))
        batch = server.after(sent, rng.randint(1, 4), request.durable_only)
        if batch:
            sent = batch[-1].sequence
            message = events(*batch)
        else:
            newest = server.durable() if request.durable_only else server.newest
            message = progress(max(sent, newest), server.journal_id, durable=server.durable())
        client.take(client.rules.take(message))
        if steps is None and not batch:
            return None
    return client.take(client.rules.ended(UNAVAILABLE, "broke off"))


def live(seed):
    """Runs one life; raises AssertionError if the record is wrong at its end."""
    rng = random.Random(seed)
    server = Server(rng)
    client = Client(provisional=rng.random() < 0.5)
    for _ in range(rng.randint(1, 20)):
        what = rng.random()
        if what < 0.2:
            server.crash()
        elif what < 0.25:
            server.replace()
        elif what < 0.4:
            client.restart()
        elif what < 0.5:
            server.publish()
        stream(rng, server, client, rng.randint(0, 8))
    server.set_writable(True)
    for _ in range(3):
        stream(rng, server, client, None)
    own = [sequence for journal_id, sequence, _ in client.events if journal_id == server.journal_id]
    assert all(durable for _, _, durable in client.events), client.events
    assert own == sorted(own), own
    assert client.position == vmeventd.Position(server.journal_id, max(own, default=server.newest)) \
        or client.position.sequence == server.newest, client.position
    # Since the last gap nothing is left out; without one, nothing at all.
    since = client.gaps[-1] if client.gaps else 0
    tail = [sequence for journal_id, sequence, _ in client.events[since:] if journal_id == server.journal_id]
    first = tail[0] if tail else server.newest + 1
    if client.gaps:
        first = max(first, server.oldest)
        assert [each for each in own if each >= first] == [each for each in sorted(server.kept) if each >= first]
    else:
        assert own == sorted(server.ever), (own, server.ever)
    return bool(client.gaps)


def check_addresses():
    target = _connection._target  # pylint: disable=protected-access
    for address, expected in (("localhost", "localhost:9555"), ("node1:80", "node1:80"), ("[::1]", "[::1]:9555"),
                              ("[::1]:80", "[::1]:80"), ("unix:/run/v.sock", "unix:/run/v.sock"),
                              ("/run/v.sock", "unix:/run/v.sock")):
        assert target(address) == expected, (address, target(address))
    try:
        vmeventd.Server("node1", tls_cert="c", tls_key="k")
    except ValueError as error:
        assert "tls_ca" in str(error)
    else:
        raise AssertionError("TLS without tls_ca")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lives", type=int, default=2000)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    check_addresses()
    gaps = 0
    for seed in [options.seed] if options.seed is not None else range(options.lives):
        try:
            gaps += live(seed)
        except AssertionError:
            print(f"seed {seed}", file=sys.stderr)
            raise
    print(f"all well; {gaps} lives with gaps")


if __name__ == "__main__":
    main()
