"""Follows the events of vmeventd, the daemon that reports who ended each virtual machine of a node.

    import vmeventd

    for item in vmeventd.follow("unix:/run/vmeventd/vmeventd.sock", position=stored, start="oldest"):
        with database:                       # the work and the position: one transaction
            if isinstance(item, vmeventd.NewEvent):
                work(item.event)
            elif isinstance(item, vmeventd.Gap):
                report(item.why)
            store(item.position)

The iterator obeys the rules of the wire contract (api.md): it resumes after restarts of the daemon,
lost connections and OUT_OF_RANGE, never passes an event that a crash may lose, and repeats none.
vmeventd.aio has the same for asyncio. vmeventd.v1 has the generated messages and the stub.
"""

from ._connection import Server
from ._files import replace_file
from ._rules import Gap, Item, NewEvent, Position, Progress, Refused, Rewind, Snapshot
from ._sync import Follower, follow

__all__ = ["Follower", "Gap", "Item", "NewEvent", "Position", "Progress", "Refused", "Rewind", "Server",
           "Snapshot", "follow", "replace_file"]
