# SPDX-License-Identifier: GPL-2.0-only
"""Writes cpio archives (newc) for initramfs, without being root.

The kernel unpacks archives that follow each other in one initramfs, later files
over earlier ones. Every archive is padded to 512 bytes, so they can be joined.
Times and inode numbers are fixed: equal content gives equal archives.
"""
import os
import stat


class Archive:
    def __init__(self, out):
        self.out = out
        self.size = 0
        self.dirs = {""}
        self.ino = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        name = name.lstrip("/")
        self.parents(name)
        self.ino += 1
        raw = name.encode() + b"\0"
        head = "070701" + "".join(
            f"{v:08x}" for v in (self.ino, mode, 0, 0, 1, 0, len(data), 0, 0,
                                 rdev[0], rdev[1], len(raw), 0))
        self._pad(head.encode() + raw, 4)
        self._pad(data, 4)

    def _pad(self, data, unit):
        gap = -(self.size + len(data)) % unit
        self.out.write(data)
        self.out.write(b"\0" * gap)
        self.size += len(data) + gap

    def parents(self, name):
        self.dir(os.path.dirname(name))

    def dir(self, name):
        name = name.strip("/")
        if name not in self.dirs:
            self.dirs.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def data(self, name, data, mode=0o644):
        self._entry(name, stat.S_IFREG | mode, data)

    def file(self, name, path):
        with open(path, "rb") as f:
            self.data(name, f.read(), os.stat(path).st_mode & 0o777)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self._entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def tree(self, name, path):
        """A file, or a directory with all that is in it."""
        if os.path.islink(path):
            self.link(name, os.readlink(path))
        elif os.path.isdir(path):
            self.dir(name)
            for entry in sorted(os.listdir(path)):
                self.tree(f"{name}/{entry}", os.path.join(path, entry))
        else:
            self.file(name, path)

    def close(self):
        self._entry("TRAILER!!!", 0)
        self._pad(b"", 512)
