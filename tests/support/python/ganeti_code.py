"""Ganeti's own Python, of Debian's package, as tests/system/managers/fetch_ganeti.sh unpacks it."""

import glob
import json
import os
import sys
from unittest import mock

# Modules of Ganeti's package's dependencies that it imports, and that none of the tests uses.
UNUSED = ("bitarray", "pyinotify", "pycurl", "pyparsing", "paramiko", "psutil", "OpenSSL")


def load(directory, root):
    """Makes the package ganeti importable, with its directories below `root`, which ends with the host's name."""
    os.environ.update(GANETI_ROOTDIR=str(root), GANETI_HOSTNAME=root.name)
    sys.path.insert(0, glob.glob(f"{directory}/usr/share/ganeti/3.*")[0])
    sys.modules.setdefault("simplejson", json)  # the same interface
    for name in UNUSED:
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = mock.MagicMock(version_info=(5, 0, 0))
