#!/usr/bin/python3
"""The wheel of the Python package: the line of docs/api.md makes it from a clone, and it has all that it needs.

  wheel_test.py SOURCE
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

SOURCE = pathlib.Path(sys.argv[1])
(LINE,) = re.findall(r"^python3 -m pip wheel .*$", (SOURCE / "docs/api.md").read_text(), re.MULTILINE)
USE = """
import vmeventd, vmeventd.aio
from vmeventd.v1 import vm_events_pb2, vm_events_pb2_grpc
assert vmeventd.__file__.startswith(PATH), vmeventd.__file__
vmeventd.follow("unix:/nowhere", position=vmeventd.Position("journal", 1)).close()
"""


class WheelTest(unittest.TestCase):
    def test_the_wheel_is_complete(self):
        with tempfile.TemporaryDirectory() as name:
            copy = pathlib.Path(name, "copy")
            for directory in ("client/python", "proto"):
                shutil.copytree(SOURCE / directory, copy / directory,
                                ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
            # Debian's Python, and no index: it builds from what Debian has.
            built = subprocess.run(["/bin/sh", "-c", LINE], cwd=copy, check=False, text=True,
                                   env={"PATH": "/usr/bin:/bin", "HOME": name, "PIP_NO_INDEX": "1"},
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(built.returncode, 0, built.stdout)
            (wheel,) = copy.glob("*.whl")
            self.assertRegex(wheel.name, r"^vmeventd-\d+\.\d+\.\d+-py3-none-any\.whl$")
            with zipfile.ZipFile(wheel) as archive:
                names = archive.namelist()
                archive.extractall(pathlib.Path(name, "installed"))
                (metadata,) = [each for each in names if each.endswith("/METADATA")]
                self.assertIn("Requires-Dist: grpcio", archive.read(metadata).decode())
            for each in ("py.typed", "aio.py", "v1/vm_events_pb2.py", "v1/vm_events_pb2.pyi"):
                self.assertIn(f"vmeventd/{each}", names)
            installed = str(pathlib.Path(name, "installed"))
            subprocess.run([sys.executable, "-B", "-c", f"PATH = {installed!r}{USE}"], check=True, cwd=name,
                           env={**os.environ, "PYTHONPATH": installed})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
