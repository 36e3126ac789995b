# SPDX-License-Identifier: GPL-2.0-only
"""Remove definitions from C source by name.

Universal Ctags finds them: functions, variables, macros, types, prototypes.  With a definition goes what belongs to
it: the comment directly above, and the EXPORT_SYMBOL, module_param and MODULE_PARM_DESC lines directly below.  What a
name's removal took is recorded as a hash, so that a stable update of a retired function is noticed.
"""

import hashlib
import os
import re
import subprocess
import tempfile

NOT_CODE = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X)
FOLLOWS = re.compile(r"(EXPORT_\w+|module_param\w*|MODULE_PARM_DESC)\s*\((.*)\)\s*;", re.S)
KINDS = "dfgpstuvx"


class NotFound(Exception):
    """No definition has this name."""


class Source:
    """A C file as lines, with the questions that removing a definition asks."""

    def __init__(self, text):
        self.lines = text.split("\n")
        blanked = NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
        self.code = blanked.split("\n")
        self.directive = set()
        for number, line in enumerate(self.code):
            continues = number - 1 in self.directive and self.lines[number - 1].endswith("\\")
            if continues or line.lstrip().startswith("#"):
                self.directive.add(number)

    def blank(self, number):
        return number < 0 or number >= len(self.lines) or not self.lines[number].strip()

    def comment(self, number):
        return not self.blank(number) and not self.code[number].strip()

    def first(self, number):
        """The first line of the definition whose name stands on line NUMBER, its comment included."""
        if number not in self.directive:
            while not self.blank(number - 1) and not self.comment(number - 1) and \
                    number - 1 not in self.directive and not re.search(r"[;{}:]\s*$", self.code[number - 1]):
                number -= 1
        above = number
        while self.comment(above - 1):
            above -= 1
        # A comment that begins after code belongs to that code.
        return above if self.lines[above].lstrip().startswith(("/*", "//")) else number

    def statement_end(self, number):
        """The line with the semicolon that ends the statement begun on line NUMBER."""
        depth = 0
        while number < len(self.code):
            for char in self.code[number]:
                depth += (char in "{([") - (char in "})]")
                if char == ";" and depth == 0:
                    return number
            number += 1
        return number - 1

    def last(self, number, end, name):
        """The last line of that definition; END is where ctags sees it, if it does."""
        if number in self.directive:
            while self.lines[number].endswith("\\"):
                number += 1
        else:
            number = self.statement_end(number) if end is None else end
        names = {name}
        while not self.blank(number + 1):
            end = self.statement_end(number + 1)
            match = FOLLOWS.fullmatch("\n".join(self.lines[number + 1:end + 1]).strip())
            if not match or not names & set(re.findall(r"\w+", match[2])):
                break
            if match[1].startswith("module_param"):
                names.add(re.match(r"\s*(\w*)", match[2])[1])
            number = end
        return number


def definitions(path, text):
    """{name: [(line, end or None)]} of the definitions in TEXT, counted from 0."""
    with tempfile.TemporaryDirectory() as tmp:
        copy = os.path.join(tmp, "source" + os.path.splitext(path)[1])
        with open(copy, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        tags = subprocess.run(
            ["ctags", "--language-force=C", "-I", "__read_mostly,__ro_after_init", f"--kinds-C={KINDS}",
             "--fields=ne", "--excmd=number", "-f", "-", copy],
            check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for tag in tags.splitlines():
        name, _, _, *fields = tag.split("\t")
        fields = dict(field.split(":", 1) for field in fields if ":" in field)
        end = int(fields["end"]) - 1 if "end" in fields else None
        if not re.match(r"__anon|EXPORT_|module_param|MODULE_", name):
            found.setdefault(name, []).append((int(fields["line"]) - 1, end))
    return found


def retire(path, text, names):
    """Remove NAMES from TEXT; return what is left and {name: hash of what went}."""
    source = Source(text)
    found = definitions(path, text)
    gone = set()
    hashes = {}
    for name in names:
        if name not in found:
            raise NotFound(name)
        body = []
        for line, end in found[name]:
            span = range(source.first(line), source.last(line, end, name) + 1)
            body += [source.lines[number].rstrip() for number in span if not source.blank(number)]
            gone.update(span)
        hashes[name] = digest("\n".join(body))
    kept = []
    removed = False
    for number, line in enumerate(source.lines):
        if number in gone:
            removed = True
        elif removed and not line.strip() and (not kept or not kept[-1].strip()):
            continue
        else:
            removed = False
            kept.append(line)
    while removed and kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept).rstrip("\n") + "\n", hashes


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]
