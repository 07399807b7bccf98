"""Builds the package with the generated modules of the wire contract; pyproject.toml has the rest."""

import os
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import stubs  # noqa: E402  pylint: disable=wrong-import-position


class BuildWithStubs(build_py):
    """The package of the source, and vmeventd.v1, which only the build has."""

    def run(self):
        super().run()
        stubs.generate(self.build_lib)


setup(cmdclass={"build_py": BuildWithStubs})
