"""The promises of the wire contract, from its descriptor and comments: see promises.py."""

import pathlib
import re
import subprocess
import tempfile

from google.protobuf import descriptor_pb2

ROOT = pathlib.Path(__file__).resolve().parents[3]
FILE = "vmeventd/v1/vm_events.proto"
CODES = (
    "ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE",
)

# Numbers of fields in descriptor.proto, which make up the paths of SourceCodeInfo.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, VALUE, METHOD = 2, 2, 2

LABEL = re.compile(r"(?m)^\s*(?:(\d+)\. |(" + "|".join(CODES) + r")(?::|\s{2,}))")


def load():
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(
            ["protoc", "-I", ROOT / "proto", "--include_source_info",
             f"--descriptor_set_out={out.name}", FILE], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read()).file
    return next(file for file in files if file.name == FILE)


class Comments:
    """The comments by path."""

    def __init__(self, file):
        self._locations = {tuple(l.path): l for l in file.source_code_info.location}

    def of(self, path, name):
        location = self._locations.get(path)
        text = (location.leading_comments or location.trailing_comments) if location else ""
        assert text.strip(), f"{name} has no comment"
        return re.sub(r"(?m)^ ", "", text).strip("\n")


def extract():
    """(element, label) of every promise that needs a check, and the other elements' names."""
    file = load()
    others = [each.name for each in (*file.message_type, *file.enum_type, *file.service)]
    comments = Comments(file)
    found = []

    def add(path, name, has_rest=True):
        text = comments.of(path, name)
        if name.endswith("_UNSPECIFIED"):
            others.append(name)
        elif has_rest:
            found.append((name, ""))
        if path[0] == SERVICE:
            found.extend((name, number or code) for number, code in LABEL.findall(text))
    for index, service in enumerate(file.service):
        add((SERVICE, index), service.name, has_rest=False)
        for number, method in enumerate(service.method):
            add((SERVICE, index, METHOD, number), method.name)
    for kind, types, part in ((MESSAGE, file.message_type, FIELD), (ENUM, file.enum_type, VALUE)):
        for index, type_of in enumerate(types):
            for number, each in enumerate(type_of.field if kind == MESSAGE else type_of.value):
                add((kind, index, part, number), f"{type_of.name}.{each.name}")
    return found, others
