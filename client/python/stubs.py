#!/usr/bin/python3
"""Makes the package importable: stubs.py DIRECTORY copies it to DIRECTORY/vmeventd and generates what
the wire contract needs, by protoc and the plugin of protobuf-compiler-grpc.

Nothing generated is in the repository: it must be of the protobuf that is installed.
"""

import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
CONTRACT = "vmeventd/v1/vm_events.proto"


def generate(directory):
    """Writes the generated modules to `directory`/vmeventd/v1."""
    pathlib.Path(directory, "vmeventd/v1").mkdir(parents=True, exist_ok=True)
    plugin = shutil.which("grpc_python_plugin")
    if not shutil.which("protoc") or not plugin:
        sys.exit("the packages protobuf-compiler and protobuf-compiler-grpc are missing")
    subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={directory}", f"--pyi_out={directory}",
                    f"--grpc_python_out={directory}", f"--plugin=protoc-gen-grpc_python={plugin}",
                    CONTRACT], check=True)
    pathlib.Path(directory, "vmeventd/v1/__init__.py").touch()


def main():
    directory = pathlib.Path(sys.argv[1])
    shutil.copytree(HERE / "vmeventd", directory / "vmeventd", dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__"))
    generate(directory)


if __name__ == "__main__":
    main()
