#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""export.py TREE COMMIT DIRECTORY: lay out what builds the KVM modules of COMMIT outside the kernel tree.

DIRECTORY gets virt/kvm, arch/x86/kvm and those headers that differ from the base and hence must hide the header
package's.  Only files whose content changed are written, so that kbuild rebuilds no more than it must.
Prints a hash of all of it.
"""

import hashlib
import json
import os
import subprocess
import sys

SOURCES = ("virt/kvm", "arch/x86/kvm")
HEADERS = ("include", "arch/x86/include")

# In the kernel's tree these mean that tree; here they must mean the exported one.
BENT = {
    "arch/x86/kvm/Makefile": (
        ("$(srctree)/arch/x86/kvm", "$(src)"),
        ("$(srctree)/virt/kvm", "$(src)/../../../virt/kvm"),
    ),
}


def bend(path, content):
    """The CONTENT of PATH as it has to be out of the kernel's tree."""
    for old, new in BENT.get(path, ()):
        content = content.replace(old.encode(), new.encode())
    if path == "arch/x86/kvm/Makefile":
        content += b"\nalways-y += layout.s\n"
    return content


def put(path, content):
    """Write a file whose content changes."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def main():
    tree, commit, directory = sys.argv[1:]

    def git(*args, data=None):
        return subprocess.run(["git", f"--git-dir={tree}/.git", *args], input=data, check=True,
                              stdout=subprocess.PIPE).stdout

    changed = set(git("diff", "--name-only", "--no-renames", "base", commit, "--", *HEADERS).decode().split("\n"))
    wanted = {}
    for line in git("ls-tree", "-r", commit, "--", *SOURCES, *HEADERS).decode().splitlines():
        meta, path = line.split("\t")
        if path.startswith(tuple(name + "/" for name in SOURCES)) or path in changed:
            wanted[path] = meta.split()[2]

    with open(__file__, "rb") as file:
        script = hashlib.sha256(file.read()).hexdigest()
    manifest = os.path.join(directory, ".manifest")
    have = {}
    if os.path.exists(manifest):
        with open(manifest, encoding="utf-8") as file:
            written_by, have = json.load(file)
        os.unlink(manifest)     # an interrupted run starts over
        if written_by != script:
            have = dict.fromkeys(have)
    for path in have.keys() - wanted.keys():
        os.unlink(os.path.join(directory, path))
    for path, blob in wanted.items():
        if have.get(path) != blob:
            put(os.path.join(directory, path), bend(path, git("cat-file", "blob", blob)))
    # ../../arch/x86/kvm of trace/define_trace.h starts here.
    os.makedirs(os.path.join(directory, "include/trace"), exist_ok=True)
    with open(manifest, "w", encoding="utf-8") as file:
        json.dump([script, wanted], file)
    print(hashlib.sha256(repr((script, sorted(wanted.items()))).encode()).hexdigest())


if __name__ == "__main__":
    main()
