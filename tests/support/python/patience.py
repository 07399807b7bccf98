"""How long a test waits before it fails."""

import os


def patience(seconds=60):
    """The longest wait of a test, in seconds; only a broken test waits that long. On a busy machine it is longer, by as
    much as the machine is slower."""
    return seconds * max(1, os.getloadavg()[0] / os.cpu_count())
