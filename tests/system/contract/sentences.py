"""The sentences of the wire contract: what the comments of vm_events.proto promise, one by one."""

import re

ELEMENT = re.compile(r"\s*(service|rpc|message|enum|oneof)\s+(\w+)")
FIELD = re.compile(r"\s*(?:repeated\s+)?[\w.<>, ]+?\s(\w+)\s*=\s*\d+\s*;")
VALUE = re.compile(r"\s*([A-Z][A-Z0-9_]*)\s*=\s*\d+\s*;")
# Where one sentence ends and the next begins. A list's entries are sentences of their own.
SENTENCE_END = re.compile(r"(?<=[.:])\s+(?=[A-Z0-9\"'])|(?<=;)\s*\n")
LIST_ENTRY = re.compile(r"^(\s{2,}\d+\.\s|\s{2,}[A-Za-z_]+\s{2,}|\s*- )")


def split(comment):
    """The sentences of a comment, given as its lines."""
    pieces = []
    for line in comment:
        if not line.strip() or not pieces:
            pieces.append([])
        if LIST_ENTRY.match(line) and pieces[-1]:
            pieces.append([])
        if line.strip():
            pieces[-1].append(line.strip())
    found = []
    for piece in pieces:
        text = re.sub(r"\s+", " ", " ".join(piece))
        found += [part.strip() for part in re.split(r"(?<=[.])\s+(?=[A-Z0-9`\"])", text)]
    return [sentence for sentence in found if sentence]


def extract(proto):
    """(element, sentence) of every sentence, in order. An element is named as "Event.sequence"."""
    found = []
    scopes = []
    leading = []
    last = None
    for line in proto.splitlines():
        code, comment_mark, comment = line.partition("//")
        code = code.rstrip()
        if not code.strip():
            if comment_mark:
                # A comment that is alone and indented far belongs to the field above it.
                if last and len(line) - len(line.lstrip()) > 20:
                    found_here = found[last[1]]
                    found[last[1]] = (found_here[0], found_here[1] + [comment])
                else:
                    leading.append(comment)
            elif leading and not scopes:
                found.append(("file", leading))
                leading = []
            continue
        names = [name for name in scopes if name]
        element = None
        if match := ELEMENT.match(code):
            element = ".".join([*names, match[2]])
        elif match := VALUE.match(code) or FIELD.match(code):
            element = ".".join([*names, match[1]])
        elif re.match(r"\s*(syntax|package)\b", code):
            element = "file"
        if element:
            lines = leading
            leading = []
            if comment_mark:
                lines = [*lines, "", comment]
            found.append((element, lines))
            last = (element, len(found) - 1)
        for brace in re.findall(r"[{}]", code):
            if brace == "{":
                match = ELEMENT.match(code)
                scopes.append("" if match and match[1] in ("oneof", "service") else match[2] if match else "")
            else:
                # A comment behind a oneof's closing brace.
                if comment_mark and comment.strip():
                    found.append((".".join([n for n in scopes if n] + ["(oneof)"]), [comment]))
                scopes.pop()
    return [(element, sentence) for element, lines in found for sentence in split(lines)]


if __name__ == "__main__":
    import sys
    for element, sentence in extract(open(sys.argv[1]).read()):
        print(f"{element}: {sentence}")
