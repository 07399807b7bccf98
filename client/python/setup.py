"""Builds the package with the generated modules of the wire contract; the metadata is in pyproject.toml."""

import os
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import stubs  # noqa: E402  pylint: disable=wrong-import-position


class BuildWithStubs(build_py):
    """Adds vmeventd.v1, which is generated."""

    def run(self):
        super().run()
        stubs.generate(self.build_lib)


setup(cmdclass={"build_py": BuildWithStubs})
