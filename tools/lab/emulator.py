# SPDX-License-Identifier: GPL-2.0-only
"""The three labs: how each emulator is told to boot kernel and initramfs.

start(lab, ...) gives a running process. Port 0xe9 comes out of the pipe whose
writing end is passed in; the kernel's serial console goes to file 'console' in
the run's own directory, the emulator's own words to 'emulator'.
"""
import ctypes
import os
import signal
import subprocess

from image import APT, CYLINDER, iso, need

MODELS = {"vmx": "corei7_haswell_4770", "svm": "zambezi"}
# What reaches the serial port costs time, so only a dying kernel talks there.
# Bochs misses the write that should end a MWAIT: idle CPUs use HLT.
APPEND = ("console=ttyS0,115200 loglevel=1 mitigations=off oops=panic nokaslr idle=halt "
          "cryptomgr.notests 8250.nr_uarts=1 log_buf_len=1M")
BOCHS_APPEND = "tsc=reliable lpj=1000000 initcall_blacklist=jent_mod_init"
# Its sizes of a compacted XSAVE area are wrong, which the host kernel takes for a bug.
MODEL_APPEND = {"corei7_skylake_x": "clearcpuid=xsaves,xsavec"}


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG


def spawn(argv, tmp, stdin, stdout, **more):
    with open(f"{tmp}/emulator", "wb") as words:
        return subprocess.Popen(argv, cwd=tmp, stdin=stdin, stdout=stdout, stderr=words,
                                preexec_fn=_die_with_parent, **more)


def quick(tmp, image, initrds, pipe, opts):
    """QEMU, SVM emulated by TCG. One thread: with more, code patching races.

    With two CPUs every other Linux guest goes astray in its BIOS; with one, none does."""
    with open(f"{tmp}/initrd", "wb") as out:
        for path in initrds:
            with open(path, "rb") as part:
                out.write(part.read())
    argv = ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-machine", "q35,vmport=off",
            "-cpu", opts.model or "EPYC,+svm,+npt", "-smp", str(opts.cpus), "-m", "2G",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", image.kernel(), "-initrd", f"{tmp}/initrd", "-append", APPEND,
            "-drive", f"if=virtio,format=raw,readonly=on,file={image.disk()}",
            "-chardev", f"file,id=e9,path=/dev/fd/{pipe}",
            "-device", "isa-debugcon,iobase=0xe9,chardev=e9"]
    if opts.icount:
        argv += ["-icount", "shift=1,sleep=off"]
    if opts.tty:
        argv += ["-chardev", "stdio,id=tty,mux=on,signal=off", "-serial", "chardev:tty",
                 "-mon", "chardev=tty"]
        return spawn(argv, tmp, None, None, pass_fds=(pipe,))
    argv += ["-serial", f"file:{tmp}/console"]
    return spawn(argv, tmp, subprocess.DEVNULL, subprocess.DEVNULL,
                 pass_fds=(pipe,), start_new_session=True)


BOCHSRC = """\
plugin_ctrl: gameport=0, usb_uhci=0
config_interface: textconfig
display_library: term
sound: driver=dummy, waveout=/dev/null
memory: guest={mem}, host={mem}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
optromimage1: file={tmp}/rom, address=0xd0000
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
pci: enabled=1, chipset=i440fx
ata0-master: type=cdrom, path={tmp}/boot.iso, status=inserted
ata0-slave: type=disk, mode=flat, path={tmp}/disk, cylinders={cylinders}, heads=16, spt=63
ata1: enabled=0
boot: cdrom
clock: sync=none
cpu: model={model}, count=1:{cpus}:1, ips=400000000
com1: enabled=1, mode=file, dev={tmp}/console
port_e9_hack: enabled=1
error: action=ignore
info: action=ignore
debug: action=ignore
panic: action=fatal
log: {tmp}/bochs.log
"""
ISOLINUX = """\
DEFAULT lab
PROMPT 0
LABEL lab
 KERNEL kernel
 INITRD {initrds}
 APPEND {append}
"""


def boot_rom():
    """An option ROM that boots at once: the BIOS would wait 30 s of real time for F12."""
    rom = bytes((0x55, 0xaa, 1,         # signature, one block of 512 bytes
                 0xfb, 0xcd, 0x19))     # sti; int $0x19
    return rom.ljust(511, b"\0") + bytes([-sum(rom) & 0xff])


def bochs(tmp, image, initrds, pipe, opts):
    """Bochs from Debian is the debugger build: it wants a command, and its input kept open."""
    files = {"isolinux.bin": need("/usr/lib/ISOLINUX/isolinux.bin", APT),
             "ldlinux.c32": need("/usr/lib/syslinux/modules/bios/ldlinux.c32", APT),
             "isolinux.cfg": f"{tmp}/isolinux.cfg",
             "kernel": image.kernel()}
    initrds = {f"initrd{i}": path for i, path in enumerate(initrds)}
    model = opts.model or MODELS[opts.lab]
    append = f"{APPEND} {BOCHS_APPEND} {MODEL_APPEND.get(model, '')}"
    with open(f"{tmp}/isolinux.cfg", "w", encoding="ascii") as cfg:
        cfg.write(ISOLINUX.format(initrds=",".join(initrds), append=append))
    iso(["-boot_image", "isolinux", "dir=/"], {**files, **initrds}, f"{tmp}/boot.iso")
    with open(f"{tmp}/rom", "wb") as rom:
        rom.write(boot_rom())
    os.symlink(image.disk(), f"{tmp}/disk")         # Bochs puts a lock file beside it
    with open(f"{tmp}/bochsrc", "w", encoding="ascii") as rc:
        rc.write(BOCHSRC.format(tmp=tmp, cylinders=os.path.getsize(f"{tmp}/disk") // CYLINDER,
                                mem=1536, cpus=opts.cpus, model=model))
    with open(f"{tmp}/go", "w", encoding="ascii") as go:
        go.write("c\n")
    return spawn(["bochs", "-q", "-f", f"{tmp}/bochsrc", "-rc", f"{tmp}/go"], tmp,
                 subprocess.PIPE, pipe, env={**os.environ, "TERM": "vt100"},
                 start_new_session=True)


vmx = svm = bochs
