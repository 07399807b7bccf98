#!/usr/bin/python3
"""Draws what `vmevents watch` prints in colour while real QEMU guests end in four ways, as SVG.

  watch_picture.py BIN_DIRECTORY GUEST_DIRECTORY PICTURE
"""

import fcntl
import html
import os
import pathlib
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

COLUMNS = 88
PATIENCE = 120  # seconds, for any one step
# The terminal's colours, by SGR number; None ends one.
COLOURS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 36: "#76e3ea", 2: "#8b949e"}
PLAIN, BACKGROUND = "#e6edf3", "#0d1117"
CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.43, 19, 16


class Terminal:
    """What a program prints on a terminal of COLUMNS."""

    def __init__(self, command):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        environment = dict(os.environ, TERM="xterm-256color", TZ="UTC")
        environment.pop("NO_COLOR", None)
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL,
                                        env=environment)
        os.close(slave)
        self.text = ""
        self._master = master
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        try:
            while data := os.read(self._master, 65536):
                self.text += data.decode()
        except OSError:
            pass  # how a terminal ends on Linux

    def finish(self):
        self.process.wait(PATIENCE)
        self._reader.join()
        return self.text.replace("\r\n", "\n")


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"watch_picture: timed out waiting until {what}")
        time.sleep(0.05)


class Guest:
    """A booted guest, with a console and a monitor of its manager's."""

    def __init__(self, directory, image, name):
        self.console = socket.socket(socket.AF_UNIX)
        command = [
            "qemu-system-x86_64", "-name", name, "-accel", "tcg", "-m", "192", "-display", "none",
            "-nodefaults", "-kernel", image / "vmlinuz", "-initrd", image / "initrd",
            "-append", "console=ttyS0 quiet", "-serial", f"unix:{directory}/{name}.console,server=on,wait=off",
            "-monitor", f"unix:{directory}/{name}.hmp,server=on,wait=off",
            "-qmp", f"unix:{directory}/vms/{name}.qmp,server=on,wait=off"]
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.name, self.directory = name, directory
        wait_until(f"{name} has a console", lambda: not self.console.connect_ex(
            f"{directory}/{name}.console"))
        self.console.settimeout(PATIENCE)
        seen = b""
        while b"GUEST-READY" not in seen:
            seen += self.console.recv(4096)

    def manager(self, command):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(f"{self.directory}/{self.name}.hmp")
            monitor.sendall(command + b"\n")
            self.process.wait(PATIENCE)


def endings(directory, image):
    guest = Guest(directory, image, "web1")
    guest.console.sendall(b"poweroff -f\n")
    guest.process.wait(PATIENCE)
    Guest(directory, image, "web2").manager(b"system_powerdown")
    Guest(directory, image, "db1").manager(b"quit")
    guest = Guest(directory, image, "mail1")
    guest.process.send_signal(signal.SIGSEGV)
    guest.process.wait(PATIENCE)


def spans(line):
    """Pieces of a line, each with its colour and whether it is bold."""
    colour, bold = PLAIN, False
    for number, text in re.findall(r"(?:\x1b\[([\d;]*)m)?([^\x1b]*)", line):
        if number:
            for code in (int(word or 0) for word in number.split(";")):
                if code == 0:
                    colour, bold = PLAIN, False
                elif code == 1:
                    bold = True
                else:
                    colour = COLOURS[code]
        if text:
            yield text, colour, bold


def draw(text, title):
    lines = text.rstrip("\n").split("\n")
    width = round(2 * MARGIN + COLUMNS * CELL_WIDTH)
    height = 2 * MARGIN + LINE_HEIGHT * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
        '<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" '
        'font-size="14">']
    for row, line in enumerate(lines):
        column, y = 0, MARGIN + LINE_HEIGHT * row + 14
        for piece, colour, bold in spans(line):
            column += len(piece) - len(piece.lstrip(" "))
            piece = piece.lstrip(" ")
            if piece:
                # textLength holds the columns together, whatever the font.
                parts.append(
                    f'<text x="{MARGIN + column * CELL_WIDTH:.1f}" y="{y}" fill="{colour}"'
                    f'{" font-weight=" + chr(34) + "bold" + chr(34) if bold else ""} '
                    f'textLength="{len(piece) * CELL_WIDTH:.1f}">{html.escape(piece)}</text>')
            column += len(piece)
    return "\n".join(parts + ["</g>", "</svg>", ""])


def main():
    programs, image, picture = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="vmp-") as name:
        directory = pathlib.Path(name)
        (directory / "vms").mkdir()
        server = f"unix:{directory}/sock"
        # pylint: disable=consider-using-with
        daemon = subprocess.Popen(
            [programs / "vmeventd", "--watch", f"{directory}/vms:*.qmp", "--listen", server,
             "--state-dir", directory / "state", "--log-level", "error"])
        try:
            health = [programs / "vmevents", "--server", server, "health"]
            wait_until("vmeventd serves", lambda: subprocess.run(
                health, check=False, capture_output=True).returncode == 0)
            arguments = ["watch", "--from", "oldest", "--type", "stopped", "--count", "4"]
            terminal = Terminal([programs / "vmevents", "--server", server, *arguments])
            endings(directory, image)
            text = terminal.finish()
        finally:
            daemon.terminate()
            daemon.wait(PATIENCE)
    command = "$ vmevents watch --type stopped\n"
    picture.write_text(draw(command + text, "vmevents watch"), encoding="utf-8")
    print(command + re.sub("\x1b[^m]*m", "", text))
    print(f"watch_picture: wrote {picture}")


if __name__ == "__main__":
    main()
