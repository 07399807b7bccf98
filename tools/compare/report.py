"""What the comparison's record says: verdicts, docs/internals/comparison.md and docs/internals/comparison.svg.

Pure: a record, as compare.py makes it, comes in, and text goes out.

  {"date": "2026-11-21", "versions": {"QEMU": "7.2.22", ...},
   "endings": [{"title": "virsh destroy", "truth": "ADMIN",
                "lives": {"plain": {"kvmd": {"said": "not the user: no file", "who": "NOT_USER"}, ...},
                          "libvirt": {...}}}, ...]}

An ending that was run again later has "again", the version of vmeventd by then.
"""

import collections
import textwrap
from xml.sax.saxutils import escape

RIGHT, WRONG, NO_ANSWER = "right", "wrong", "no answer"
MARKS = {RIGHT: "✓", WRONG: "✗", NO_ANSWER: "–"}

OBSERVERS = {
    "qmp": "vmeventd on QMP",
    "kvmd": "ganeti-kvmd",
    "libvirt": "vmeventd on libvirt",
    "lifecycle": "libvirt's lifecycle events",
}
LIVES = {"plain": "QEMUs that exit", "libvirt": "QEMUs that stay"}
# The table's columns: each observer on the QEMUs that it is made for.
COLUMNS = [("plain", "qmp"), ("plain", "kvmd"), ("libvirt", "libvirt"), ("libvirt", "lifecycle")]

Verdict = collections.namedtuple("Verdict", "said judgement evidence")


def judge(record, life, observer):
    """A Verdict for each ending."""
    answers = [ending["lives"][life][observer] for ending in record["endings"]]
    truths = [ending["truth"] for ending in record["endings"]]
    if observer == "lifecycle":
        return _judge_names(answers, truths)
    return [Verdict(answer["said"], _judge_one(answer["who"], truth), answer.get("evidence", ""))
            for answer, truth in zip(answers, truths)]


def _judge_one(who, truth):
    if who is None:
        return NO_ANSWER
    if who == "NOT_USER":
        return RIGHT if truth != "USER" else WRONG
    return RIGHT if who == truth else WRONG


def _judge_names(answers, truths):
    """A name counts as an answer if it is given only to endings with one truth."""
    truths_of = collections.defaultdict(set)
    for answer, truth in zip(answers, truths):
        truths_of[answer["said"]].add(truth)
    verdicts = []
    for answer in answers:
        said = answer["said"]
        if said == "nothing":
            judgement = NO_ANSWER
        else:
            judgement = RIGHT if len(truths_of[said]) == 1 else WRONG
        verdicts.append(Verdict(said, judgement, ""))
    return verdicts


def count(verdicts, judgement):
    return sum(verdict.judgement == judgement for verdict in verdicts)


def summary(verdicts):
    """13 of 17, 1 no answer"""
    text = f"{count(verdicts, RIGHT)} of {len(verdicts)}"
    missing = count(verdicts, NO_ANSWER)
    return f"{text}, {missing} no answer" if missing else text


def _row(cells):
    return f"| {' | '.join(cells)} |"


def _table(head, rows):
    return "\n".join([_row(head), _row(["---"] * len(head)).replace(" ", ""), *map(_row, rows)])


def _filled(text):
    return "\n\n".join(textwrap.fill(" ".join(paragraph.split()), 110, break_long_words=False,
                                     break_on_hyphens=False)
                       for paragraph in textwrap.dedent(text).strip().split("\n\n"))


def _list(items):
    return "\n".join(textwrap.fill(" ".join(item.split()), 110, initial_indent="- ",
                                   subsequent_indent="  ", break_long_words=False,
                                   break_on_hyphens=False) for item in items)


def _not_right(record):
    """What vmeventd did not name, or named wrongly, with what it saw."""
    for life, observer in COLUMNS:
        if observer not in ("qmp", "libvirt"):
            continue
        for ending, verdict in zip(record["endings"], judge(record, life, observer)):
            if verdict.judgement != RIGHT:
                # A comma, no colon: the message has colons of its own.
                yield (f"{OBSERVERS[observer]}, {ending['title']}: {verdict.said} "
                       f"({verdict.judgement}; the truth is {ending['truth']}). "
                       f"{verdict.evidence}")


def markdown(record):
    endings = record["endings"]
    columns = [judge(record, *column) for column in COLUMNS]
    rows = [[ending["title"], ending["truth"],
             *(f"{MARKS[verdict.judgement]} {verdict.said}" for verdict in verdicts)]
            for ending, verdicts in zip(endings, zip(*columns))]
    rows.append(["**right**", "", *(f"**{summary(verdicts)}**" for verdicts in columns)])
    lives = [[name, *(summary(judge(record, life, observer)) for life in LIVES)]
             for observer, name in OBSERVERS.items()]
    versions = [[name, f"`{version}`"] for name, version in record["versions"].items()]
    not_right = list(_not_right(record))
    again = [f"Run again by itself, with vmeventd `{ending['again']}`: {ending['title']}."
             for ending in endings if "again" in ending]
    parts = [
        "# Who ended the VM: four observers compared",
        _filled(f"""
            `./dev nightly compare` wrote this page on {record['date']}. It ended real QEMUs with Linux guests
            in {len(endings)} ways, each observed by vmeventd, by ganeti-kvmd and through libvirt's own
            lifecycle events at the same time. Only the list of endings and the truth of each are
            written by hand."""),
        _table(["ending", "truth", *(OBSERVERS[observer] for _, observer in COLUMNS)], rows),
        _filled("✓ right, ✗ wrong, – no answer: nobody was named."),
        "## What counts as right",
        _list([
            "**The truth.** USER: the guest shut itself down, and nobody outside had asked for it. "
            "ADMIN: somebody on the host ended the VM, or asked the guest to end and it did. CRASH: "
            "neither wanted it.",
            "**vmeventd** names a class and a cause; the class is judged. UNKNOWN is no answer.",
            "**ganeti-kvmd** claims one thing: that the user shut the VM down (it creates "
            "`NAME.shutdown`) or not (there is no file). It is right if the file exists exactly where "
            "the truth is USER; it does not distinguish an admin from a crash.",
            "**libvirt's lifecycle events** have a detail for each end, not a class. A detail is right "
            "if this table has it at endings of one truth only. A detail that, say, both a user's and "
            "an admin's ending get is ambiguous, and wrong for both.",
            "Where the observers are killed (SIGKILL) and started, that is done to all four. vmeventd "
            "then runs as a service: `tools/compare/service_manager.py` stores what systemd would store.",
        ]),
        "## What was run",
        _filled("""
            Each ending is made twice, with libvirt and all four observers both times. libvirt starts
            QEMU with `-no-shutdown`: it stays after the guest's poweroff until libvirt ends it with
            SIGTERM (*QEMUs that stay*). Ganeti's and most other QEMUs exit by themselves. ganeti-kvmd
            is made for those, and takes libvirt's SIGTERM for an admin's. So the second life of each
            ending has `-action shutdown=poweroff` (*QEMUs that exit*). The table above shows vmeventd
            on QMP sockets and ganeti-kvmd on QEMUs that exit, libvirt's events and vmeventd on libvirt
            on QEMUs that stay. This is what each was right about on both:"""),
        _table(["observer", *LIVES.values()], lives),
        _table(["version of", ""], versions),
        *([_list(again)] if again else []),
        "## Where vmeventd is not right",
        _list(not_right) if not_right else "Nowhere in this table.",
        _filled("""
            [classification.md](classification.md) has the rules of vmeventd, [Connect your
            VMs](../connect.md) has the differences between managers."""),
    ]
    return "\n\n".join(parts) + "\n"


# Sizes of the picture, in pixels; and in characters, for the widest of the fonts.
LABEL, TRUTH, CELL, ROW, HEAD, FOOT, MARGIN = 450, 70, 208, 40, 84, 66, 12
LABEL_CHARACTERS, CELL_CHARACTERS = 50, 25
COLOURS = {RIGHT: "#1a7f37", WRONG: "#c62f2f", NO_ANSWER: "#6e7781"}
STYLE = """\
.page { fill: #ffffff; stroke: #d1d9e0; }
text { font: 14px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 20px; font-weight: 600; }
.head, .sum { font-weight: 600; }
.small { font-size: 12px; }
.cell { fill: #ffffff; font-size: 13px; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; stroke: #3d444d; }
  text { fill: #e6edf3; }
  .cell { fill: #ffffff; }
}"""


def _text(x, y, text, kind=""):
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{of_kind}>{escape(text)}</text>'


def _lines_of(x, y, text, width, kind=""):
    """Splits a text into one or two lines, placed around y."""
    lines = textwrap.wrap(text, width)
    top = y - 8 * (len(lines) - 1)
    return [_text(x, top + 16 * number, line, kind) for number, line in enumerate(lines)]


def svg(record):
    columns = [judge(record, *column) for column in COLUMNS]
    left = [LABEL + TRUTH + CELL * number for number in range(len(COLUMNS))]
    width = LABEL + TRUTH + CELL * len(COLUMNS) + MARGIN
    height = HEAD + ROW * (len(record["endings"]) + 1) + FOOT
    title = "Who ended the VM? What each observer said"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{title}">',
        f"<title>{title}</title>", f"<style>{STYLE}</style>",
        # A page of its own, because the picture does not know the colour of the one that it is on.
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        _text(MARGIN, 30, title, "title"),
        _text(MARGIN, HEAD - 14, "ending", "head"), _text(LABEL, HEAD - 14, "truth", "head"),
    ]
    for x, (_, observer) in zip(left, COLUMNS):
        parts.append(_text(x + 10, HEAD - 14, OBSERVERS[observer], "head"))
    for number, ending in enumerate(record["endings"]):
        top = HEAD + ROW * number
        middle = top + ROW // 2 + 4
        parts += _lines_of(MARGIN, middle, ending["title"], LABEL_CHARACTERS)
        parts.append(_text(LABEL, middle, ending["truth"]))
        for x, verdicts in zip(left, columns):
            verdict = verdicts[number]
            parts.append(f'<rect x="{x + 2}" y="{top + 2}" width="{CELL - 4}" height="{ROW - 4}" '
                         f'rx="4" fill="{COLOURS[verdict.judgement]}"/>')
            parts += _lines_of(x + 10, middle,
                               f"{MARKS[verdict.judgement]} {verdict.said}", CELL_CHARACTERS, "cell")
    bottom = HEAD + ROW * len(record["endings"]) + ROW // 2 + 4
    parts.append(_text(MARGIN, bottom, "right", "sum"))
    for x, verdicts in zip(left, columns):
        parts.append(_text(x + 10, bottom, summary(verdicts), "sum"))
    parts += [
        _text(MARGIN, bottom + 36, "green: right · red: wrong or ambiguous · grey: no answer · the "
              "rules are in docs/internals/comparison.md", "small"),
        _text(MARGIN, bottom + 54, f"{record['date']} · {versions}", "small"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
