#!/usr/bin/python3
"""Writes docs/api.md from the comments of the wire contract.

  api_reference.py               writes to standard output
  api_reference.py --check FILE  exits with 1 if FILE is out of date

Needs protoc and python3-protobuf. Exits with 1 where a part of the contract has no comment.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = "vmeventd/v1/vm_events.proto"
CODES = (
    "ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE",
)
WELL_KNOWN = "https://protobuf.dev/reference/protobuf/google.protobuf/#"
SCALARS = {
    value: name[len("TYPE_"):].lower()
    for name, value in descriptor_pb2.FieldDescriptorProto.Type.items()
}

# Numbers of fields in descriptor.proto, which make up the paths of SourceCodeInfo.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, VALUE, METHOD, ONEOF = 2, 2, 2, 8


def load():
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(
            ["protoc", "-I", ROOT / "proto", "--include_source_info",
             f"--descriptor_set_out={out.name}", FILE], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read()).file
    return next(file for file in files if file.name == FILE)


class Comments:
    """The comments by path, and the names of elements without one."""

    def __init__(self, file):
        self._locations = {tuple(l.path): l for l in file.source_code_info.location}
        self.missing = []

    def of(self, path, name):
        location = self._locations.get(path)
        text = (location.leading_comments or location.trailing_comments) if location else ""
        if not text.strip():
            self.missing.append(name)
        return re.sub(r"(?m)^ ", "", text).strip("\n")

    def of_file(self):
        detached = self._locations[(12,)].leading_comments  # of the "syntax" line
        return re.sub(r"(?m)^ ", "", detached).strip("\n")


def prose(text):
    """A comment as Markdown: its indented lines are lists."""
    out, item, margin = [], None, ""
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        start = re.match(r"\s+(\d+\.|\S+\s)\s*(.*)", line)
        if indent and start and (item is None or indent <= item):
            word, rest = start.group(1).strip(), start.group(2)
            numbered = word.endswith(".") and word[:-1].isdigit()
            if item is None and out and out[-1]:
                out.append("")
            out.append(f"{word} {rest}" if numbered else f"- **{word}** {rest}")
            item, margin = indent, "   " if numbered else "  "
        elif indent and item is not None:
            out.append(margin + line.strip())
        else:
            if item is not None and line:
                out.append("")
            item = None
            out.append(line)
    return escape("\n".join(out))


def escape(text):
    return text.replace("<", "&lt;").replace("*,", r"\*,")


def cell(text):
    return escape(" ".join(text.split())).replace("|", r"\|")


def type_of(field):
    if field.type_name.endswith("Entry"):  # every map has texts for keys and values
        return "map<string, string>"
    if field.type_name:
        name = field.type_name.rsplit(".", 1)[1]
        page = WELL_KNOWN if field.type_name.startswith(".google.protobuf.") else "#"
        text = f"[{name}]({page}{name.lower()})"
    else:
        text = SCALARS[field.type]
    return "repeated " + text if field.label == field.LABEL_REPEATED else text


def statuses(comment):
    """The status codes that a comment explains, and the comment without them."""
    marks = list(re.finditer(r"\b(" + "|".join(CODES) + r"): ", comment))
    rows = []
    for mark, following in zip(marks, marks[1:] + [None]):
        meaning = comment[mark.end():following.start() if following else len(comment)]
        rows.append((mark.group(1), cell(meaning).rstrip(".")))
    return rows, comment[:marks[0].start()] if marks else comment


def method_section(method, comment):
    request, response = (name.rsplit(".", 1)[1] for name in (method.input_type, method.output_type))
    stream = "stream of " if method.server_streaming else ""
    rows, text = statuses(comment)
    yield f"### {method.name}\n"
    yield f"[{request}](#{request.lower()}) → {stream}[{response}](#{response.lower()})\n"
    yield prose(text.rstrip()) + "\n"
    if rows:
        yield "| status | when |\n|---|---|"
        yield "\n".join(f"| `{code}` | {meaning} |" for code, meaning in rows) + "\n"


def message_section(index, message, comments):
    yield f"### {message.name}\n"
    yield prose(comments.of((MESSAGE, index), message.name)) + "\n"
    if not message.field:
        yield "It has no fields.\n"
        return
    for number, oneof in enumerate(message.oneof_decl):
        if oneof.name.startswith("_"):  # protoc's own, of a field that is optional
            continue
        meaning = comments.of((MESSAGE, index, ONEOF, number), f"{message.name}.{oneof.name}")
        yield f"One of *{oneof.name}* at most may be set. {meaning}\n"
    yield "| number | field | type | meaning |\n|---|---|---|---|"
    for number, field in enumerate(message.field):
        meaning = cell(comments.of((MESSAGE, index, FIELD, number), f"{message.name}.{field.name}"))
        if field.HasField("oneof_index") and not field.proto3_optional:
            meaning = f"*{message.oneof_decl[field.oneof_index].name}*: {meaning}"
        yield f"| {field.number} | `{field.name}` | {type_of(field)} | {meaning} |"
    yield ""


def enum_section(index, enum, comments):
    yield f"### {enum.name}\n"
    yield prose(comments.of((ENUM, index), enum.name)) + "\n"
    yield "| number | value | meaning |\n|---|---|---|"
    for number, value in enumerate(enum.value):
        meaning = cell(comments.of((ENUM, index, VALUE, number), value.name))
        yield f"| {value.number} | `{value.name}` | {meaning} |"
    yield ""


def contents(file):
    def links(names):
        return ", ".join(f"[{name}](#{name.lower()})" for name in names)
    methods = [method.name for service in file.service for method in service.method]
    yield f"- Methods: {links(methods)}"
    yield f"- Messages: {links(message.name for message in file.message_type)}"
    yield f"- Enums: {links(enum.name for enum in file.enum_type)}\n"


def document(file, comments):
    yield "# API reference\n"
    yield f"Made by `./dev docs` from [{FILE}](../proto/{FILE}); edit that.\n"
    yield prose(comments.of_file()) + "\n"
    yield from contents(file)
    for index, service in enumerate(file.service):
        yield f"## {file.package}.{service.name}\n"
        yield prose(comments.of((SERVICE, index), service.name)) + "\n"
        for number, method in enumerate(service.method):
            yield from method_section(
                method, comments.of((SERVICE, index, METHOD, number), method.name))
    yield "## Messages\n"
    for index, message in enumerate(file.message_type):
        yield from message_section(index, message, comments)
    yield "## Enums\n"
    for index, enum in enumerate(file.enum_type):
        yield from enum_section(index, enum, comments)


def main(arguments):
    file = load()
    comments = Comments(file)
    text = "\n".join(document(file, comments)).rstrip("\n") + "\n"
    if comments.missing:
        sys.exit("api_reference: without a comment: " + ", ".join(comments.missing))
    if arguments[:1] == ["--check"]:
        if pathlib.Path(arguments[1]).read_text(encoding="utf-8") != text:
            sys.exit(f"api_reference: {arguments[1]} is out of date: run ./dev docs")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
