#!/usr/bin/env python3
"""Writes what ./dev bench measured into docs/performance.md, between its marks, and draws
docs/performance.svg: latencies, cost over the number of VMs, cost over the number of subscribers.

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
# What is compared with a floor: the row's name, what was measured, the floor beside it.
RATIOS = [
    ("socket closed to shutdown file, p50", "socket closed to shutdown file, p50",
     "floor: socket closed to shutdown file, p50"),
    ("all VMs stop at once, until the last file",
     r"all stop at once, until the last file of \d+ VMs",
     "floor: all stop at once, until the last file"),
    ("one event to one subscriber, durable, p50", "one event to one subscriber, durable, p50",
     "floor: one event, durable to 1 subscribers, p50"),
    ("one event to 1,000 subscribers, p50", "one event to 1000 subscribers, p50",
     "floor: one event, durable to 1000 subscribers, p50"),
    ("a million deliveries to 100 subscribers, CPU",
     "fan-out, CPU a million deliveries to 100 subscribers",
     "floor: fan-out, CPU a million deliveries to 100 subscribers"),
    ("a million deliveries to 1,000 subscribers, CPU",
     "fan-out, CPU a million deliveries to 1000 subscribers",
     "floor: fan-out, CPU a million deliveries to 1000 subscribers"),
]
OVER_VMS = ["attach, CPU a VM", "all stop at once, CPU a stop", "burst to one subscriber, CPU an event"]
OVER_SUBSCRIBERS = ["fan-out, CPU a million deliveries"]
LATENCIES = ["floor: socket closed to shutdown file, p50", "socket closed to shutdown file, p50",
             "floor: one event, durable to 1 subscribers, p50",
             "one event to one subscriber, durable, p50"]
COLORS = ["#4477aa", "#ee6677", "#228833", "#aa3377"]


def find(measured, pattern):
    """What was measured under a name that matches; of several the last, which is the largest."""
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
    for name, pattern, floor_name in RATIOS:
        item, floor = find(measured, pattern), find(measured, floor_name)
        if item and floor:
            lines.append(f"| {name} | {number(item['value'])} {item['unit']} | "
                         f"{number(floor['value'])} {floor['unit']} | "
                         f"{item['value'] / floor['value']:.2f} |")
    lines += ["", "| all that was measured | | |", "|---|---:|---|"]
    lines += [f"| {name} | {number(item['value'])} | {item['unit']} |"
              for name, item in measured.items()]
    return "\n".join(lines)


class Plot:
    """One panel of the picture, with logarithmic axes unless `linear_x`."""

    WIDTH, HEIGHT, LEFT, TOP = 400, 260, 60, 40

    def __init__(self, at, title, lines, linear_x=False):
        self.out = [f'<g transform="translate({at * (self.WIDTH + 110)},0)">'
                    f'<text x="{self.LEFT}" y="20" font-weight="bold">{title}</text>']
        points = [point for _, line in lines for point in line]
        if not points:
            self.out.append("</g>")
            return
        self.scale_x = (lambda x: x) if linear_x else math.log10
        xs = [self.scale_x(x) for x, _ in points]
        ys = [math.log10(y) for _, y in points]
        self.x_range = (min(xs), max(max(xs), min(xs) + 1e-9))
        self.y_range = (math.floor(min(ys)), math.ceil(max(ys) + 1e-9))
        for exponent in range(self.y_range[0], self.y_range[1] + 1):
            y = self.y(10.0 ** exponent)
            self.out.append(f'<path d="M{self.LEFT} {y:.1f}h{self.WIDTH}" stroke="#ddd"/>'
                            f'<text x="{self.LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                            f'{10.0 ** exponent:g}</text>')
        ticks = range(0, 101, 25) if linear_x else sorted({x for x, _ in points})
        for x in ticks:
            self.out.append(f'<text x="{self.x(x):.1f}" y="{self.TOP + self.HEIGHT + 18}" '
                            f'text-anchor="middle">{x:g}</text>')
        for color, (label, line), row in zip(COLORS, lines, range(len(lines))):
            path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in line)
            self.out.append(f'<polyline points="{path}" fill="none" stroke="{color}" '
                            f'stroke-width="2"/><text x="{self.LEFT}" fill="{color}" '
                            f'y="{self.TOP + self.HEIGHT + 42 + 16 * row}">{label}</text>')
        self.out.append("</g>")

    def x(self, value):
        low, high = self.x_range
        return self.LEFT + (min(max(self.scale_x(value), low), high) - low) / (high - low) * self.WIDTH

    def y(self, value):
        low, high = self.y_range
        return self.TOP + self.HEIGHT * (1 - (math.log10(value) - low) / (high - low))


def over(measured, names, pattern):
    lines = []
    for name in names:
        line = []
        for key, item in measured.items():
            match = re.fullmatch(re.escape(name) + pattern, key)
            if match and item["value"] > 0:
                line.append((int(match[1]), item["value"]))
        lines.append((f"{name}, {find(measured, re.escape(name) + pattern)['unit']}", line))
    return lines


def svg(measured):
    latencies = [(name.removesuffix(", p50"),
                  [(i, max(us, 1)) for i, us in enumerate(measured[name]["percentiles"])])
                 for name in LATENCIES if name in measured]
    panels = [Plot(0, "latency by percentile, µs", latencies, linear_x=True),
              Plot(1, "cost over the number of VMs", over(measured, OVER_VMS, r" of (\d+) VMs")),
              Plot(2, "cost over the number of subscribers",
                   over(measured, OVER_SUBSCRIBERS, r" to (\d+) subscribers"))]
    body = "\n".join("\n".join(panel.out) for panel in panels)
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1500 420" '
            'font-family="sans-serif" font-size="12">\n<rect width="1500" height="420" '
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
