# SPDX-License-Identifier: GPL-2.0-only
"""What a lab boots: Debian's kernel, an initramfs in two parts, and a disk.

Made once for a given content and kept under build/lab: the kernel, unpacked
(kernel.py); the base of the initramfs, which is busybox, bash and the shipped
modules; the disk, mounted by the first use of qemu-system-x86_64 only, since it is
large: QEMU with libraries and ROMs, and the kernel for L2. Packed anew for every
run: the lab's scripts, the series' modules, COMMAND and the added files.
"""
import glob
import hashlib
import io
import lzma
import os
import re
import struct
import subprocess
import tempfile
import time

import kernel
from cpio import Archive

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
APT = "run 'make deps'"
MAKE = "run 'make modules'"
QEMU = "/usr/bin/qemu-system-x86_64"
ROMS = ("seabios/bios-256k.bin", "qemu/kvmvapic.bin", "qemu/linuxboot_dma.bin",
        "qemu/multiboot_dma.bin", "qemu/pvh.bin")
MODULES = ("kvm", "kvm-intel", "kvm-amd")
STOCK = {"irqbypass": "virt/lib", "kvm": "arch/x86/kvm", "kvm-intel": "arch/x86/kvm",
         "kvm-amd": "arch/x86/kvm"}
# What it takes to mount the disk (IDE in Bochs, virtio in QEMU), in the order of loading.
DISK = ("drivers/scsi/scsi_common", "drivers/scsi/scsi_mod", "drivers/ata/libata",
        "drivers/ata/ata_piix", "drivers/scsi/sd_mod", "drivers/block/virtio_blk",
        "drivers/cdrom/cdrom", "fs/isofs/isofs")
UNUSED = 24 * 3600              # what no run took for so long goes when it is superseded
CYLINDER = 16 * 63 * 512        # Bochs' disks are so many of these


class Missing(Exception):
    """Something the lab is built from is not there; the text says what to do."""


def need(path, remedy):
    if not os.path.exists(path):
        raise Missing(f"{path} is missing; {remedy}")
    return path


def krel():
    """The kernel release in use: make says it, unless make called us."""
    if os.environ.get("KREL"):
        return os.environ["KREL"]
    done = subprocess.run(["make", "-s", "-C", TOP, "print-KREL"],
                          capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        raise Missing("no kernel release to boot; set KREL, or run 'make modules' once")
    return done.stdout.strip()


def libraries(program):
    ldd = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", ldd)


class Image:
    def __init__(self):
        self.krel = krel()
        self.build = os.path.join(TOP, "build/lab")
        self.root = os.path.join(TOP, "build/root", self.krel)
        self.vmlinuz = need(f"{self.root}/boot/vmlinuz-{self.krel}", MAKE)
        self.modules = f"/lib/modules/{self.krel}"
        os.makedirs(self.build, exist_ok=True)

    def _cached(self, name, files, make):
        """build/lab/NAME-HASH, made of files; aside first, as labs may start at once."""
        digest = hashlib.sha256()
        sources = [f"{HERE}/{f}" for f in ("image.py", "cpio.py", "kernel.py", "boot.S")]
        for path in sources + sorted(files):
            with open(path, "rb") as f:
                digest.update(path.encode() + hashlib.sha256(f.read()).digest())
        path = os.path.join(self.build, f"{name}-{digest.hexdigest()[:16]}")
        if os.path.exists(path):
            os.utime(path)
        else:
            for old in glob.glob(os.path.join(self.build, f"{name}-*")):
                if os.path.getmtime(old) < time.time() - UNUSED:
                    os.unlink(old)
            with tempfile.TemporaryDirectory(dir=self.build) as tmp:
                make(f"{tmp}/{name}")
                os.rename(f"{tmp}/{name}", path)
        return path

    def vmlinux(self):
        def make(out):
            with open(out, "wb") as f:
                f.write(kernel.vmlinux(self.vmlinuz))
        return self._cached("vmlinux", [self.vmlinuz], make)

    def kernel(self):
        """The kernel for L1: a bzImage that is not compressed."""
        def make(out):
            subprocess.run(["gcc", "-c", "-o", f"{out}.o", f"{HERE}/boot.S"], check=True)
            subprocess.run(["ld", "-Ttext=0x100000", "--oformat=binary", "-e", "_start",
                            "-o", f"{out}.bin", f"{out}.o"], check=True)
            with open(self.vmlinux(), "rb") as elf, open(f"{out}.bin", "rb") as boot:
                data = kernel.bzimage(self.vmlinuz, elf.read(), boot.read())
            with open(out, "wb") as f:
                f.write(data)
        return self._cached("kernel", [self.vmlinuz], make)

    def base(self):
        """The first part of the initramfs."""
        files = {"/bin/busybox": need("/bin/busybox", APT), "/bin/bash": need("/bin/bash", APT)}
        files.update((lib, lib) for lib in libraries("/bin/bash"))
        shipped = f"{self.root}/lib/modules/{self.krel}/kernel"
        modules = {f"{self.modules}/stock/{name}": need(f"{shipped}/{where}/{name}.ko.xz", MAKE)
                   for name, where in STOCK.items()}
        modules.update((f"{self.modules}/disk/{i}", need(f"{shipped}/{name}.ko.xz", MAKE))
                       for i, name in enumerate(DISK))

        def make(out):
            with open(out, "wb") as f:
                cpio = Archive(f)
                for name in ("dev", "proc", "sys", "tmp", "run", "root", "guest", "lab"):
                    cpio.dir(name)
                cpio.device("dev/console", 5, 1)
                cpio.data("etc/passwd", b"root::0:0:root:/lab:/bin/bash\n")
                for applet in subprocess.run(["/bin/busybox", "--list"], check=True, text=True,
                                             capture_output=True).stdout.split():
                    if applet not in ("busybox", "bash"):
                        cpio.link(f"bin/{applet}", "busybox")
                for name, path in files.items():
                    cpio.file(name, path)
                for name, path in modules.items():
                    with lzma.open(path) as ko:
                        module(cpio, name, ko.read())
                cpio.close()
        return self._cached("base", [*files.values(), *modules.values()], make)

    def disk(self):
        """QEMU and the kernel for L2."""
        files = {"vmlinuz": self.vmlinuz, "vmlinux": self.vmlinux(),
                 "qemu/qemu-system-x86_64": need(QEMU, APT)}
        for lib in libraries(QEMU):
            files["qemu/lib/" + os.path.basename(lib)] = lib
        for rom in ROMS:
            files["qemu/share/" + os.path.basename(rom)] = need("/usr/share/" + rom, APT)

        def make(out):
            iso([], files, out)
            size = os.path.getsize(out)
            os.truncate(out, size - size % -CYLINDER)
        return self._cached("disk", files.values(), make)

    def messenger(self):
        def make(out):
            subprocess.run(["gcc", "-O2", "-static", "-o", out, f"{HERE}/exec.c"], check=True)
        return self._cached("exec", [f"{HERE}/exec.c"], make)

    def run_part(self, argv, added, env):
        """The second part of the initramfs: what belongs to this one run."""
        out = io.BytesIO()
        cpio = Archive(out)
        cpio.file("init", f"{HERE}/init")
        cpio.file("bin/kvm-load", f"{HERE}/kvm-load")
        cpio.file("bin/qemu-system-x86_64", f"{HERE}/qemu")
        cpio.file("bin/lab-exec", self.messenger())
        cpio.data(".lab/argv", b"".join(os.fsencode(a) + b"\0" for a in argv))
        cpio.data(".lab/env", "".join(f"{k}='{v}'\n" for k, v in env.items()).encode())
        for name in MODULES:
            path = os.path.join(TOP, "build/modules", self.krel, f"{name}.ko")
            if os.path.exists(path):
                with open(path, "rb") as ko:
                    module(cpio, f"{self.modules}/series/{name}", ko.read())
        for path in added:
            cpio.tree("lab/" + os.path.basename(os.path.abspath(path)), os.path.realpath(path))
        cpio.close()
        return out.getvalue()


def iso(options, files, out):
    """An ISO 9660 image of files, {name inside: path}."""
    maps = []
    for name, path in files.items():
        maps += ["-map", os.path.realpath(path), f"/{name}"]
    subprocess.run(["xorriso", "-outdev", out, *maps, *options], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def module(cpio, name, ko):
    """NAME.ko, and the names of its parameters in NAME.params for kvm-load to check.

    Without its signature, if any, just as the series' modules: checking one
    takes most of the time of loading."""
    if ko.endswith(b"~Module signature appended~\n"):
        size, = struct.unpack_from(">I", ko, len(ko) - 32)      # ends struct module_signature
        ko = ko[:len(ko) - 40 - size]
    params = sorted(set(re.findall(rb"\0parm(?:type)?=(\w+):", ko)))
    cpio.data(f"{name}.ko", ko)
    cpio.data(f"{name}.params", b"".join(p + b"\n" for p in params))
