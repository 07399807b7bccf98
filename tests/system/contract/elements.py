"""The promises of the wire contract, from its descriptor and comments: see promises.py."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools"))

# pylint: disable=wrong-import-position
from api_reference import CODES, ENUM, FIELD, MESSAGE, METHOD, SERVICE, VALUE, Comments, load  # noqa: E402

LABEL = re.compile(r"(?m)^\s*(?:(\d+)\. |(" + "|".join(CODES) + r")(?::|\s{2,}))")


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
