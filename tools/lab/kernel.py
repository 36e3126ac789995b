# SPDX-License-Identifier: GPL-2.0-only
"""Takes the kernel out of a bzImage, and puts it, uncompressed, into the frame of one.

Layout and field offsets: Documentation/arch/x86/boot.rst.
"""
import struct
import subprocess

PAYLOAD = 0x8000        # boot.S: PAYLOAD less the load address
ENTRY = 0xff8           # boot.S: entry, words
KERNEL = 0x1000000


def _setup_size(image):
    return (image[0x1f1] + 1) * 512


def vmlinux(vmlinuz):
    """The ELF file that the bzImage carries (compressed with zstd, as Debian's is)."""
    with open(vmlinuz, "rb") as f:
        image = f.read()
    start, length = struct.unpack_from("<II", image, 0x248)
    start += _setup_size(image)
    packed = image[start:start + length - 4]        # the size unpacked comes last
    return subprocess.run(["zstd", "-dcq"], input=packed, check=True,
                          capture_output=True).stdout


def _loaded(elf):
    """The kernel as it lies in memory from KERNEL on, without .bss."""
    phoff, = struct.unpack_from("<Q", elf, 0x20)
    size, count = struct.unpack_from("<HH", elf, 0x36)
    memory = bytearray()
    for i in range(count):
        kind, _, offset, _, paddr, filesz = struct.unpack_from("<IIQQQQ", elf, phoff + i * size)
        if kind == 1 and filesz:        # PT_LOAD
            at = paddr - KERNEL
            memory.extend(bytes(max(0, at + filesz - len(memory))))
            memory[at:at + filesz] = elf[offset:offset + filesz]
    return memory


def bzimage(vmlinuz, elf, boot):
    """Debian's own setup code, our boot.S, the kernel."""
    with open(vmlinuz, "rb") as f:
        image = f.read()
    setup = bytearray(image[:_setup_size(image)])
    memory = _loaded(elf)
    memory.extend(bytes(-len(memory) % 16))
    stub = bytearray(boot.ljust(PAYLOAD, b"\0"))
    entry, = struct.unpack_from("<Q", elf, 0x18)
    struct.pack_into("<II", stub, ENTRY, entry, len(memory) // 4)
    struct.pack_into("<I", setup, 0x1f4, (PAYLOAD + len(memory)) // 16)     # syssize
    setup[0x234] = 0                                                        # relocatable
    struct.pack_into("<H", setup, 0x236, 0)                                 # xloadflags
    return bytes(setup) + bytes(stub) + bytes(memory)
