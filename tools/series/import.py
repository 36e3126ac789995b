#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""import.py DIRECTORY VERSION <TAR: unpack a source archive and commit it as `base`.

git add would hash and deflate 86,000 loose objects.  Here each file goes to git fast-import, which writes one
pack, and to the working tree in the same pass over the archive.
"""

import os
import subprocess
import sys
import tarfile

WHO = ("Debian Kernel Team", "debian-kernel@lists.debian.org")


def git(tree, *args):
    subprocess.run(["git", "-C", tree, *args], check=True)


def unpack(archive, tree, pack):
    """Write each member below TREE and to PACK; return the date of the newest."""
    newest = 0
    for member in archive:
        archive.members = []
        name = member.name.partition("/")[2]
        if member.isdir() or not name:
            continue
        newest = max(newest, int(member.mtime))
        path = os.path.join(tree, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if member.issym():
            mode, data = b"120000", member.linkname.encode()
            os.symlink(member.linkname, path)
        elif member.isreg():
            executable = member.mode & 0o100
            mode, data = b"100755" if executable else b"100644", archive.extractfile(member).read()
            with open(path, "wb") as file:
                file.write(data)
            if executable:
                os.chmod(path, 0o755)
        else:
            sys.exit(f"import: {member.name} is neither a file nor a symbolic link")
        pack.write(b"M %s inline %s\ndata %d\n%s\n" % (mode, name.encode(), len(data), data))
    return newest


def main():
    tree, version = sys.argv[1:]
    git(tree, "init", "-q", "--initial-branch=series")
    importer = subprocess.Popen(
        ["git", "-C", tree, "-c", "core.compression=1", "fast-import", "--quiet", "--depth=0"],
        stdin=subprocess.PIPE)
    pack = importer.stdin
    # The date is known at the end only: this commit carries the tree, `base` is made from it.
    pack.write(b"commit refs/import\ncommitter <> 0 +0000\ndata 0\n")
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            newest = unpack(archive, tree, pack)
        pack.close()
    except (tarfile.TarError, OSError) as error:
        importer.kill()
        sys.exit(f"import: {error}")
    if importer.wait():
        sys.exit("import: git fast-import failed")
    env = dict(os.environ)
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"], env[f"GIT_{role}_EMAIL"] = WHO
        env[f"GIT_{role}_DATE"] = f"{newest} +0000"
    message = f"Linux {version.partition('-')[0]} as Debian ships it ({version})\n"
    commit = subprocess.run(["git", "-C", tree, "commit-tree", "refs/import^{tree}"], env=env, input=message,
                            stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    git(tree, "update-ref", "refs/heads/series", commit)
    git(tree, "update-ref", "refs/tags/base", commit)
    git(tree, "update-ref", "-d", "refs/import")
    git(tree, "reset", "-q")


if __name__ == "__main__":
    main()
