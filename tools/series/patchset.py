# SPDX-License-Identifier: GPL-2.0-only
"""The patch files of patches/6.12, and how one becomes a commit.

A patch file is a commit message, trailers, a line `---`, and hunks:

    Subject: KVM: ...                      the first line
    Adds: virt/kvm/halt_poll.c             take that file of this tree whole
    Adds: virt/kvm/Kconfig.x from Kconfig  the same, for one whose place in the kernel is another
    Retires: FILE: NAME@HASH NAME@HASH     remove those definitions (see retire.py); an indented line goes on
    Retires: FILE@HASH                     remove the file

Definitions are retired first, then the hunks applied, then the files added.  HASH stands for what was removed; one
that is missing is written by `make refresh`.  Nothing but the message and the result is left in the commit.
"""

import os
import re
import subprocess
import sys
import textwrap

import retire

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("BUILD") or os.path.join(TOP, "build")
PATCHES = os.environ.get("PATCHES") or os.path.join(TOP, "patches/6.12")
OVERLAY = os.environ.get("OVERLAY") or TOP
WIDTH = 100


class Error(Exception):
    """Something the user can act on, in one line."""


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Patch:
    """One file of patches/6.12, taken apart."""

    def __init__(self, message, adds=(), retires=(), hunks="", name=None):
        self.message = message
        self.adds = list(adds)          # (path in the kernel, path here)
        self.retires = list(retires)    # (path, [(definition or None for the file, hash or None)])
        self.hunks = hunks
        self.name = name
        self.text = None                # as read, where nothing has changed since

    @property
    def subject(self):
        return self.message.partition("\n")[0]

    @classmethod
    def parse(cls, text, name):
        head, found, hunks = ("\n" + text).partition("\n---\n")
        if not found:
            raise Error(f"{name}: no line `---` between the message and the hunks")
        head = re.sub(r"\nRetires: .*(\n[ \t]+\S.*)+", lambda folded: "\n" + " ".join(folded[0].split()), head)
        message = []
        patch = cls("", name=name, hunks=hunks)
        patch.text = text
        for line in head[1:].split("\n"):
            if match := re.fullmatch(r"Adds: (\S+)(?: from (\S+))?", line):
                patch.adds.append((match[1], match[2] or match[1]))
            elif match := re.fullmatch(r"Retires: (\S+): (.+)", line):
                names = [tuple((word + "@").split("@")[:2]) for word in match[2].split()]
                patch.retires.append((match[1], [(word, digest or None) for word, digest in names]))
            elif match := re.fullmatch(r"Retires: ([^\s@]+)(?:@(\w+))?", line):
                patch.retires.append((match[1], [(None, match[2])]))
            elif re.match(r"(Adds|Retires)\b", line):
                raise Error(f"{name}: cannot read the trailer `{line}`")
            else:
                message.append(line)
        patch.message = re.sub(r"\n{3,}", "\n\n", "\n".join(message)).strip().removeprefix("Subject: ")
        if not patch.message:
            raise Error(f"{name}: no commit message")
        return patch

    def format(self):
        trailers = []
        for path, source in self.adds:
            trailers.append(f"Adds: {path}" + (f" from {source}" if source != path else ""))
        for path, names in self.retires:
            if names[0][0] is None:
                trailers.append(f"Retires: {path}" + (f"@{names[0][1]}" if names[0][1] else ""))
                continue
            words = [name + (f"@{digest}" if digest else "") for name, digest in names]
            trailers.append(textwrap.fill(f"Retires: {path}: " + " ".join(words), WIDTH, subsequent_indent="  ",
                                          break_long_words=False, break_on_hyphens=False))
        gap = "\n" if ends_in_trailers(self.message) else "\n\n"
        return "Subject: " + self.message + (gap + "\n".join(trailers) if trailers else "") + "\n---\n" + self.hunks


def ends_in_trailers(message):
    head, _, last = message.rpartition("\n\n")
    return bool(head) and all(re.match(r"[A-Z][\w-]*: \S", line) for line in last.split("\n"))


def load(directory=None):
    """The patches in order."""
    directory = directory or PATCHES
    names = sorted(name for name in os.listdir(directory) if name.endswith(".patch"))
    return [Patch.parse(read(os.path.join(directory, name)), name) for name in names]


class Tree:
    """The git tree of a base, edited through an index of its own: the working tree is not touched."""

    def __init__(self, path):
        self.path = path
        self.env = dict(os.environ, GIT_DIR=os.path.join(path, ".git"), GIT_WORK_TREE=path,
                        GIT_INDEX_FILE=os.path.join(path, f".git/index.series.{os.getpid()}"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if os.path.exists(self.env["GIT_INDEX_FILE"]):
            os.unlink(self.env["GIT_INDEX_FILE"])

    def run(self, *args, data=None, env=None, check=True):
        return subprocess.run(["git", "-C", self.path, *args], input=data, env={**self.env, **(env or {})},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=check)

    def git(self, *args, data=None, env=None):
        try:
            return self.run(*args, data=data and data.encode(), env=env).stdout.decode().strip("\n")
        except subprocess.CalledProcessError as error:
            raise Error(f"git {' '.join(args)} failed: {error.stderr.decode().strip()}") from error

    def load(self, treeish):
        self.git("read-tree", treeish)

    def entry(self, path):
        """(mode, blob) of PATH in the index, or None."""
        line = self.git("ls-files", "-s", "--", path)
        return tuple(line.split()[:2]) if line else None

    def text(self, blob):
        return self.run("cat-file", "blob", blob).stdout.decode()

    def blob(self, text):
        return self.git("hash-object", "-w", "--stdin", data=text)

    def update(self, entries):
        """ENTRIES: path -> (mode, blob), or None where the file goes."""
        lines = [f"{entry[0]} {entry[1]}\t{path}" if entry else f"0 {'0' * 40}\t{path}"
                 for path, entry in entries.items()]
        if lines:
            self.git("update-index", "--index-info", data="\n".join(lines) + "\n")

    def retire(self, patch, note):
        """Do the Retires of PATCH; NOTE is told of each (path, name, recorded hash, hash) that differs."""
        for path, names in patch.retires:
            entry = self.entry(path)
            if not entry:
                raise Error(f"{patch.name}: {path}: no such file, so nothing to retire in it")
            text = self.text(entry[1])
            if names[0][0] is None:
                hashes = {None: retire.digest(text)}
                self.update({path: None})
            else:
                try:
                    text, hashes = retire.retire(path, text, [name for name, _ in names])
                except retire.NotFound as error:
                    raise Error(f"{patch.name}: {path}: nothing named {error} to retire") from error
                self.update({path: (entry[0], self.blob(text))})
            for name, recorded in names:
                if recorded != hashes[name]:
                    note(patch, path, name, recorded, hashes[name])

    def apply(self, patch):
        """Apply the hunks of PATCH, or name the first that does not fit."""
        if not patch.hunks.strip():
            return
        done = self.run("apply", "--cached", "--whitespace=nowarn", "-", data=patch.hunks.encode(), check=False)
        if done.returncode:
            raise Error(f"{patch.name}: {explain(patch.hunks, done.stderr.decode())}")

    def add(self, patch, overlay=None):
        """Take the files PATCH adds."""
        entries = {}
        for path, source in patch.adds:
            file = os.path.join(overlay or OVERLAY, source)
            if not os.path.isfile(file):
                raise Error(f"{patch.name}: {source}: no such file to add")
            mode = "100755" if os.access(file, os.X_OK) else "100644"
            if self.entry(path):
                raise Error(f"{patch.name}: {path}: the base has a file of this name (Retires: {path} replaces it)")
            entries[path] = (mode, self.blob(read(file)))
        self.update(entries)

    def build(self, patch, note, overlay=None):
        """Turn the index into what it is after PATCH and return the tree."""
        self.retire(patch, note)
        self.apply(patch)
        self.add(patch, overlay)
        return self.git("write-tree")


def explain(hunks, errors):
    """Say in one line which hunk git apply meant."""
    match = re.search(r"patch failed: (.+):(\d+)", errors)
    if not match:
        return errors.strip().split("\n")[0].removeprefix("error: ")
    path, line = match[1], match[2]
    number, current = 0, None
    for text in hunks.split("\n"):
        if text.startswith("+++ "):
            current, number = re.sub(r"^\+\+\+ (b/)?|\t.*", "", text), 0
        elif text.startswith("@@ "):
            number += 1
            if current == path and re.match(rf"@@ -{line}[, ]", text):
                return f"{path}: hunk {number} ({text}) does not apply"
    return f"{path}: the hunk at line {line} does not apply"


def identity():
    """(name, email, said) of whoever runs this; SAID is a remark where git does not know."""
    done = subprocess.run(["git", "-C", TOP, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    if done.returncode == 0:
        match = re.match(r"(.*) <(.*)>", done.stdout)
        return match[1], match[2], None
    return ("kvm-latency", "kvm-latency@localhost",
            "git knows no user.name and user.email: commits are by kvm-latency <kvm-latency@localhost>")


def base(*args, env=None):
    """Run tools/series/base."""
    done = subprocess.run([os.path.join(TOP, "tools/series/base"), *args], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **(env or {})}, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.strip()
