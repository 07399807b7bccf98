#!/usr/bin/env python3
"""Writes what ./dev bench measured into docs/internals/performance.md, between its marks, and draws
docs/internals/performance.svg: distributions of latencies, cost over the number of VMs next to others that watch
QEMUs, cost over the number of subscribers.

  bench_report.py NODE.json DOCUMENT.md PLOTS.svg
"""

import datetime
import json
import math
import os
import pathlib
import platform
import re
import sys

BEGIN, END = "<!-- measured: ./dev bench writes this -->", "<!-- end -->"
# What is compared with a floor: the row's name, what was measured, the floor next to it.
RATIOS = [
    ("socket closed to shutdown file, p50", r"socket closed to shutdown file of \d+ VMs, p50",
     "floor: socket closed to shutdown file, p50"),
    ("all VMs stop at once, until the last file",
     r"all stop at once, until the last file of \d+ VMs",
     "floor: all stop at once, until the last file"),
    ("one event to one subscriber, durable, p50", "one event to one subscriber, durable, p50",
     "floor: one event, durable to 1 subscribers, p50"),
    ("burst to one subscriber, durable; the floor: not durable",
     r"burst to one subscriber of \d+ VMs", "floor: fan-out, deliveries to 1 subscribers"),
    ("one event to 1,000 subscribers, p50", "one event to 1000 subscribers, p50",
     "floor: one event, durable to 1000 subscribers, p50"),
    ("a million deliveries to 100 subscribers, CPU",
     "fan-out, CPU a million deliveries to 100 subscribers",
     "floor: fan-out, CPU a million deliveries to 100 subscribers"),
    ("a million deliveries to 1,000 subscribers, CPU",
     "fan-out, CPU a million deliveries to 1000 subscribers",
     "floor: fan-out, CPU a million deliveries to 1000 subscribers"),
    ("memory a subscriber, of 1,000",
     "memory a subscriber to 1000 subscribers",
     "floor: memory a subscriber to 1000 subscribers"),
]
# The plots. Each line: its label, and the names of what it is drawn from; the number in its group is how
# many VMs or subscribers it was measured with.
FILE_OF_VMEVENTD = r"socket closed to shutdown file of (\d+) VMs, p50"
FILE_OF_KVMD = r"kvmd: socket closed to shutdown file of (\d+) VMs, p50"
STOPPED_OF_VMEVENTD = r"QEMU killed to STOPPED, durable of (\d+) domains, p50"
EVENT_OF_LIBVIRT = r"libvirt: QEMU killed to lifecycle event of (\d+) domains, p50"
FILE_LATENCIES = [
    ("floor", r"floor: socket closed to shutdown file, p50"),
    ("vmeventd", FILE_OF_VMEVENTD),
    ("ganeti-kvmd", FILE_OF_KVMD),
]
EVENT_LATENCIES = [
    ("floor: event of a monitor to a client, durable", r"floor: one event, durable to 1 subscribers, p50"),
    ("vmeventd: event of a monitor to a client, durable", r"one event to one subscriber, durable, p50"),
    ("vmeventd: QEMU killed to STOPPED, durable", STOPPED_OF_VMEVENTD),
    ("libvirt: QEMU killed to lifecycle event", EVENT_OF_LIBVIRT),
]
LATENCY_OVER_VMS = [
    ("vmeventd: socket closed to shutdown file", FILE_OF_VMEVENTD),
    ("ganeti-kvmd: the same", FILE_OF_KVMD),
    ("vmeventd: QEMU killed to STOPPED", STOPPED_OF_VMEVENTD),
    ("libvirt: QEMU killed to lifecycle event", EVENT_OF_LIBVIRT),
]
CPU_OVER_VMS = [
    ("vmeventd: a stop of many at once", r"all stop at once, CPU a stop of (\d+) VMs"),
    ("vmeventd: attaching a VM", r"attach, CPU a VM of (\d+) VMs"),
    ("vmeventd: an event of a burst", r"burst to one subscriber, CPU an event of (\d+) VMs"),
    ("ganeti-kvmd: a stop", r"kvmd: CPU a stop of (\d+) VMs"),
    ("ganeti-kvmd: attaching a VM", r"kvmd: attach, CPU a VM of (\d+) VMs"),
    ("libvirtd: a stop", r"libvirt: CPU a stop of (\d+) domains"),
]
MEMORY_OVER_VMS = [
    ("vmeventd", r"memory a VM of (\d+) VMs"),
    ("ganeti-kvmd", r"kvmd: memory a VM of (\d+) VMs"),
    ("libvirtd", r"libvirt: memory a VM of (\d+) domains"),
]
OVER_SUBSCRIBERS = [
    ("vmeventd: CPU a million deliveries, s", r"fan-out, CPU a million deliveries to (\d+) subscribers"),
    ("floor: CPU a million deliveries, s", r"floor: fan-out, CPU a million deliveries to (\d+) subscribers"),
    ("vmeventd: one event to all, p50, ms", r"one event to (\d+) subscribers, p50"),
    ("floor: one event to all, p50, ms", r"floor: one event to (\d+) subscribers, p50"),
    ("vmeventd: memory a subscriber, KiB", r"memory a subscriber to (\d+) subscribers"),
]
COLORS = ["#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee"]


def find(measured, pattern):
    """The value that was measured under a matching name; if there are several, the last, which is the largest."""
    found = [item for name, item in measured.items() if re.fullmatch(pattern, name)]
    return found[-1] if found else None


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine():
    cpu = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = int(re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    return (f"{os.cpu_count()} processors ({cpu[1] if cpu else platform.machine()}), "
            f"{memory >> 20} GiB of memory, Linux {platform.release()}")


def table(measured):
    load = os.getloadavg()[2]
    busy = ("**The machine was busy with other work: times and rates, and their ratios, say "
            "little; processor time, memory and counts do.**" if load > os.cpu_count() else
            "The machine had nothing else to do.")
    lines = [f"Measured on {datetime.date.today()}: {machine()}. The load average was "
             f"{load:.1f} over the last quarter of an hour. {busy}", "",
             "| what | vmeventd | floor | ratio |", "|---|---:|---:|---:|"]
    compared = set()
    for name, pattern, floor_name in RATIOS:
        item, floor = find(measured, pattern), find(measured, floor_name)
        if item and floor:
            compared.update([id(item), id(floor)])
            lines.append(f"| {name} | {number(item['value'])} {item['unit']} | "
                         f"{number(floor['value'])} {floor['unit']} | "
                         f"{item['value'] / floor['value']:.2f} |")
    # The second table has the smallest and the largest size of each other measurement, the picture has all.
    sizes = {}
    for name in measured:
        sizes.setdefault(re.sub(r"\d+ (?=VMs|domains|subscribers|streams)", "", name), []).append(name)
    ends = {name for names in sizes.values() for name in (names[0], names[-1])}
    lines += ["", "| the rest of what was measured | | |", "|---|---:|---|"]
    lines += [f"| {name} | {number(item['value'])} | {item['unit']} |"
              for name, item in measured.items() if name in ends and id(item) not in compared]
    return "\n".join(lines)


def tick_label(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


class Axis:
    """Where values lie between `begin` and `end` of the picture, by their logarithm or as they are."""

    def __init__(self, values, begin, end, logarithmic=True):
        self._log = logarithmic
        self._begin, self._end = begin, end
        low, high = min(values), max(values)
        if logarithmic:
            self._low = math.floor(math.log10(low))
            self._high = max(math.ceil(math.log10(high)), self._low + 1)
            self.ticks = [10.0 ** i for i in range(self._low, self._high + 1)]
        else:
            self._low, self._high = low, high
            self.ticks = [low + (high - low) * i / 4 for i in range(5)]

    def at(self, value):
        scaled = math.log10(value) if self._log else value
        return self._begin + (scaled - self._low) / (self._high - self._low) * (self._end - self._begin)


class Panel:
    """One plot of the picture: lines of points, each with its label below."""

    WIDTH, HEIGHT, LEFT, TOP = 400, 240, 60, 40
    COLUMN, ROW = 510, 430

    def __init__(self, number, title, lines, linear_y=False):
        lines = [(label, line) for label, line in lines if line]
        self.out = [f'<g transform="translate({number % 3 * self.COLUMN},{number // 3 * self.ROW})">'
                    f'<text x="{self.LEFT}" y="20" font-weight="bold">{title}</text>']
        if lines:
            self._draw(lines, linear_y)
        else:
            self.out.append(f'<text x="{self.LEFT}" y="{self.TOP + 20}">not measured</text>')
        self.out.append("</g>")

    def _draw(self, lines, linear_y):
        points = [point for _, line in lines for point in line]
        x_axis = Axis([x for x, _ in points], self.LEFT, self.LEFT + self.WIDTH)
        bottom = self.TOP + self.HEIGHT
        y_axis = Axis([y for _, y in points], bottom, self.TOP, logarithmic=not linear_y)
        for tick in y_axis.ticks:
            y = y_axis.at(tick)
            self.out.append(f'<path d="M{self.LEFT} {y:.1f}h{self.WIDTH}" stroke="#ddd"/>'
                            f'<text x="{self.LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                            f'{tick_label(tick)}</text>')
        for tick in x_axis.ticks:
            x = x_axis.at(tick)
            self.out.append(f'<path d="M{x:.1f} {self.TOP}v{self.HEIGHT}" stroke="#ddd"/>'
                            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">'
                            f'{tick_label(tick)}</text>')
        for row, (color, (label, line)) in enumerate(zip(COLORS, lines)):
            places = [(x_axis.at(x), y_axis.at(y)) for x, y in line]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            self.out.append(f'<polyline points="{path}" fill="none" stroke="{color}" '
                            f'stroke-width="2"/>')
            if len(places) < 10:
                self.out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>'
                             for x, y in places]
            self.out.append(f'<text x="{self.LEFT}" y="{bottom + 42 + 16 * row}" fill="{color}">'
                            f'{label}</text>')


def distributions(measured, lines):
    """The share of the operations that took at most so long, for the largest measured number of each."""
    found = [(label, find(measured, pattern)) for label, pattern in lines]
    return [(label, [(max(us, 1), percent) for percent, us in enumerate(item["percentiles"])])
            for label, item in found if item]


def over(measured, lines):
    """What was measured over the number in its name."""
    out = []
    for label, pattern in lines:
        matches = [(re.fullmatch(pattern, name), item) for name, item in measured.items()]
        out.append((label, sorted((int(match[1]), item["value"] / (1000 if label.endswith(", ms") else 1))
                                  for match, item in matches if match and item["value"] > 0)))
    return out


def svg(measured):
    panels = [
        Panel(0, "socket closed to shutdown file: share within µs, %",
              distributions(measured, FILE_LATENCIES), linear_y=True),
        Panel(1, "to an event at a client: share within µs, %",
              distributions(measured, EVENT_LATENCIES), linear_y=True),
        Panel(2, "cost over the number of subscribers",
              over(measured, OVER_SUBSCRIBERS)),
        Panel(3, "latency over the number of VMs, p50, µs", over(measured, LATENCY_OVER_VMS)),
        Panel(4, "CPU over the number of VMs, µs", over(measured, CPU_OVER_VMS)),
        Panel(5, "memory a VM over the number of VMs, KiB", over(measured, MEMORY_OVER_VMS)),
    ]
    body = "\n".join("\n".join(panel.out) for panel in panels)
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1500 850" '
            'font-family="sans-serif" font-size="12">\n<rect width="1500" height="850" '
            f'fill="white"/>\n{body}\n</svg>\n')


def main():
    measured = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    document = pathlib.Path(sys.argv[2])
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    document.write_text(f"{before}{BEGIN}\n\n{table(measured)}\n\n{END}{rest.split(END)[1]}",
                        encoding="utf-8")
    pathlib.Path(sys.argv[3]).write_text(svg(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
