"""The rules of the wire contract for a client that must lose nothing and do nothing twice.

No connections, threads or clocks are here. The numbers in comments are those of the contract's list."""

from __future__ import annotations

import dataclasses
import datetime
import random
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Union

import grpc

from .v1 import vm_events_pb2 as pb

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds

# Retrying these is useless. All other errors are retried.
FINAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)
DETAILS_KEY = "grpc-status-details-bin"  # key of a google.rpc.Status, with the contract's reason

Start = Union[str, datetime.datetime]


def fields_of(message: bytes) -> Iterator[Tuple[int, Any]]:
    """The number and the value of each field of a protobuf message that has numbers and texts alone, as those of
    google.rpc do. Their generated modules would clash with those that the caller may have."""
    at = 0

    def number() -> int:
        nonlocal at
        found = shift = 0
        while True:
            byte = message[at]
            found |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return found

    while at < len(message):
        key = number()
        if key & 7 == 2:
            size = number()
            yield key >> 3, message[at:at + size]
            at += size
        elif key & 7 == 0:
            yield key >> 3, number()
        else:
            return


def reason_of(metadata: Any) -> str:
    """The reason of vmeventd's google.rpc.ErrorInfo in the trailing metadata of a call that failed; empty: none."""
    try:
        for key, status in metadata or ():
            for field, detail in fields_of(status) if key == DETAILS_KEY else ():
                if field != 3:  # details
                    continue
                packed = dict(fields_of(detail))
                if packed.get(1, b"").endswith(b"/google.rpc.ErrorInfo"):
                    info = dict(fields_of(packed.get(2, b"")))
                    if info.get(2) == b"vmeventd":
                        return bytes(info.get(1, b"")).decode()
    except (IndexError, AttributeError, TypeError, UnicodeDecodeError):
        pass  # not vmeventd's
    return ""


@dataclasses.dataclass(frozen=True)
class Position:
    """The position to resume from: after this sequence of this journal. str() and parse() are for files."""

    journal_id: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.journal_id}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Raises ValueError if the text is not a position."""
        journal_id, _, sequence = text.strip().rpartition(":")
        if not journal_id or not (sequence.isascii() and sequence.isdigit()):
            raise ValueError(f"not JOURNAL_ID:SEQUENCE: {text!r}")
        return cls(journal_id, int(sequence))


@dataclasses.dataclass(frozen=True)
class Item:
    """An item that follow() delivers. Store `position` together with the item's work; None: there is no
    position now; delete a stored one."""

    position: Optional[Position]


@dataclasses.dataclass(frozen=True)
class NewEvent(Item):
    """An event. With provisional=True it may have durable = false: a Rewind may take it back."""

    event: pb.Event


@dataclasses.dataclass(frozen=True)
class Snapshot(Item):
    """All VMs as they are; events follow. It replaces what is known of the VMs. After a lost position it also
    has those that have stopped, whose end may be among the events that are missing."""

    vms: Sequence[pb.Vm]


@dataclasses.dataclass(frozen=True)
class Progress(Item):
    """Nothing happened, or nothing that passes the filter: only the position moves."""


@dataclasses.dataclass(frozen=True)
class Gap(Item):
    """Events may be missing here. The server's own gaps are events, of the type GAP."""

    why: str


@dataclasses.dataclass(frozen=True)
class Rewind(Item):
    """Only with provisional=True: events after `position` are taken back. Those that survive come again."""


class Refused(Exception):
    """The server refuses what was asked for; another attempt would be refused too."""

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(f"{code.name}: {details}")
        self.code = code


class Rules:
    """Which streams to ask for, and what their messages mean. For each stream call begin(), then take() for
    each message, then ended() if the server ended it."""

    def __init__(self, event_filter: Optional[pb.EventFilter], position: Optional[Position], start: Start,
                 provisional: bool, progress_interval: float):
        if not (isinstance(start, datetime.datetime) or start in ("oldest", "snapshot", "now")):
            raise ValueError(f'start: neither "oldest", "snapshot", "now" nor a datetime: {start!r}')
        if isinstance(start, datetime.datetime) and start.tzinfo is None:
            raise ValueError(f"start: it has no time zone: {start}")
        if progress_interval < 1:
            raise ValueError(f"progress_interval: below 1 s: {progress_interval}")
        self._filter = event_filter
        self._position = position
        self._start = start
        self._provisional = provisional
        self._progress_interval = progress_interval
        self.silence_limit = 3 * progress_interval
        self._last_pause = 0.0
        self._rewinds = False       # events after the position were delivered
        self._lost_position = False  # events may be missing
        # Of the present journal:
        self._reached = 0           # everything up to it has arrived
        self._durable = 0           # everything up to it is durable
        # Of the present stream:
        self._journal_id = ""
        self._vms: List[pb.Vm] = []
        self._awaits_snapshot = False
        self._received = 0          # the newest event

    def begin(self) -> Tuple[pb.WatchEventsRequest, List[Item]]:
        """The request of the next stream, and what to deliver before it."""
        request = pb.WatchEventsRequest()
        if self._filter is not None:
            request.filter.CopyFrom(self._filter)
        request.progress_interval.FromNanoseconds(int(self._progress_interval * 1e9))
        request.durable_only = not self._provisional
        self._vms = []
        self._awaits_snapshot = False
        if self._position is not None:  # (1)
            request.after_sequence = self._position.sequence
            request.journal_id = self._position.journal_id
        elif isinstance(self._start, datetime.datetime):
            request.since.FromDatetime(self._start.astimezone(datetime.timezone.utc).replace(tzinfo=None))
        elif self._start == "snapshot":
            request.snapshot = True
            request.snapshot_stopped = self._lost_position
            self._awaits_snapshot = True
        elif self._start == "oldest":
            request.from_oldest = True
        self._journal_id = request.journal_id
        self._received = self._reached = self._durable = request.after_sequence
        items: List[Item] = []
        self._take_back(items)
        return request, items

    def _take_back(self, items: List[Item]) -> None:
        if self._rewinds:
            items.append(Rewind(self._position))
        self._rewinds = False

    def take(self, response: pb.WatchEventsResponse) -> List[Item]:
        """The items that a message delivers."""
        self._last_pause = 0.0
        items: List[Item] = []
        if response.HasField("progress") and not self._journal_id:
            self._journal_id = response.progress.journal_id
        self._vms.extend(response.snapshot_vms)
        if response.HasField("snapshot_done"):
            self._awaits_snapshot = False
            self._journal_id = response.snapshot_done.journal_id
            self._received = response.snapshot_done.sequence
            self._reach(response.snapshot_done.sequence, response.snapshot_done.durable_sequence)
            items.append(Snapshot(self._position, self._vms))
            self._vms = []
        for event in response.events:
            self._take_event(event, items)
        if response.HasField("progress"):
            self._take_progress(response.progress, items)
        return items

    def _take_event(self, event: pb.Event, items: List[Item]) -> None:
        if event.sequence <= self._received:
            return  # received before
        if not event.durable and not self._provisional:
            return  # not asked for
        self._received = event.sequence
        self._reach(event.sequence, event.sequence if event.durable else 0)
        items.append(NewEvent(self._position, event))

    def _take_progress(self, progress: pb.Progress, items: List[Item]) -> None:
        if progress.journal_id != self._journal_id:  # (4)
            self._journal_id = progress.journal_id
            self._take_back(items)  # what was not durable went with the old journal
            self._received = self._reached = progress.sequence
            self._durable = progress.durable_sequence
            self._position = Position(progress.journal_id, min(self._reached, self._durable))
            items.append(Gap(self._position, f"the journal was replaced by {progress.journal_id}"))
            return
        before = self._position
        # The first Progress of a snapshot is not a position: after a crash now, VMs would be missing.
        if not self._awaits_snapshot:
            self._reach(progress.sequence, progress.durable_sequence)  # (2)
        if self._position != before:
            items.append(Progress(self._position))

    def _reach(self, sequence: int, durable: int) -> None:
        self._reached = max(self._reached, sequence)
        self._durable = max(self._durable, durable)
        if self._awaits_snapshot:
            return
        position = min(self._reached, self._durable)  # (3)
        if self._position is not None and self._position.journal_id == self._journal_id:
            position = max(position, self._position.sequence)
        self._position = Position(self._journal_id, position)
        self._rewinds = self._received > position

    def ended(self, code: grpc.StatusCode, details: str, metadata: Any = None) -> List[Item]:
        """The items that the end of a stream with this trailing metadata delivers. Raises Refused if retrying is
        useless."""
        if code in FINAL:
            raise Refused(code, details)
        if code != grpc.StatusCode.OUT_OF_RANGE:
            return []
        # (5) Without a position, retention deletes events faster than the first messages arrive.
        items: List[Item] = []
        self._take_back(items)
        self._position = None
        self._lost_position = True
        if self._start != "snapshot":
            # From the oldest event it would reach the damaged position again.
            self._start = "now" if reason_of(metadata) == "JOURNAL_DAMAGED" else "oldest"
        items.append(Gap(None, details))
        return items

    def pause(self) -> float:
        """Seconds until the next attempt (6). All clients of a restarted daemon reconnect, but not all at
        the same moment."""
        self._last_pause = min(2 * self._last_pause, LONGEST_PAUSE) or FIRST_PAUSE
        return self._last_pause * random.uniform(0.5, 1)
