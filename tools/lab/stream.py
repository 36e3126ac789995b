# SPDX-License-Identifier: GPL-2.0-only
"""The outside end of exec.c: bytes of port 0xe9 to frames, and the splat filter."""
import re

DROP = bytes(range(0x80))     # what Bochs draws on its terminal
SPLAT = re.compile(
    r"(?:^|: )(?:BUG|WARNING|UBSAN|KASAN|KCSAN|KFENCE|KMSAN): |(?:^|: )INFO: (?!lockdep is)"
    r"|\bOops\b|kernel BUG at|general protection fault|Kernel panic|double fault:"
    r"|\*\*\* DEADLOCK \*\*\*")
START = "lab: COMMAND starts"
STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^]]*\])? ?")


class Decoder:
    """feed() takes raw bytes and gives the list of whole (type, payload) frames."""

    def __init__(self):
        self.prefix = 0
        self.buf = bytearray()

    def feed(self, raw):
        for byte in raw.translate(None, DROP):
            if self.prefix:
                self.buf.append(byte if self.prefix == 0xff else byte & 0x7f)
                self.prefix = 0
            elif byte >= 0xfe:
                self.prefix = byte
            else:
                self.buf.append(byte & 0x7f)
        return list(self._frames())

    def _frames(self):
        while True:
            start = self.buf.find(0x1e)
            del self.buf[:len(self.buf) if start < 0 else start]
            if len(self.buf) < 4:
                return
            end = 4 + self.buf[2] + 256 * self.buf[3]
            if len(self.buf) < end:
                return
            yield chr(self.buf[1]), bytes(self.buf[4:end])
            del self.buf[:end]


def kmsg_lines(record):
    """A /dev/kmsg record, 'level,seq,usec,flags;text' and more lines, as dmesg shows it."""
    head, _, text = record.decode(errors="replace").partition(";")
    usec = int((head.split(",") + ["0"] * 3)[2])
    for line in text.splitlines():
        if not line.startswith(" "):      # those are key=value, not text
            yield f"[{usec / 1e6:12.6f}] {line}"


def splats(lines):
    """From just before the first report of a bug to where it seems to end.

    Only what came after COMMAND started counts: Bochs' CPUs make some kernels
    warn at boot."""
    starts = [i for i, line in enumerate(lines) if line.endswith(START)]
    lines = lines[starts[0]:] if starts else lines
    found = [i for i, line in enumerate(lines) if SPLAT.search(STAMP.sub("", line))]
    if not found:
        return []
    return lines[max(found[0] - 1, 0):found[-1] + 60]
