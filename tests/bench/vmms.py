"""Starts a guest under rvm-vmm or under QEMU, with the same kernel, command line and initramfs, and says when it was ready."""

import contextlib
import json
import os
import select
import socket
import subprocess
import time

COMMON_CMDLINE = "quiet panic=-1 reboot=k console=ttyS0 noreplace-smp rootfstype=ramfs"
READY_TIMEOUT_S = 300
MEMORY_NAME = "guest-memory"
# What the agent says on the console when there is no host to talk to, as under QEMU without a vsock device.
NO_HOST = b"rvm-agent:"


class Guest:
    """A VMM process, and the times at which it was started and at which its guest was ready, in seconds."""

    def __init__(self, process, started):
        self.process = process
        self.started = started
        self.ready = None

    def seconds(self):
        return self.ready - self.started

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def rvm_vmm(artifacts, host, memory_mib=256, vcpus=1, environment=None, wait=True):
    """A guest under rvm-vmm. It is ready when its agent has connected to the host over vsock."""
    inherited = []

    def inherit(fd):
        os.set_inheritable(fd, True)
        inherited.append(fd)
        return fd

    memory = inherit(os.memfd_create(MEMORY_NAME, 0))
    os.ftruncate(memory, memory_mib << 20)
    control, control_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    broker, broker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    config = {
        "kvm_fd": inherit(os.open("/dev/kvm", os.O_RDWR)),
        "memory_mib": memory_mib,
        "vcpus": vcpus,
        "start": {
            "boot": {
                "memory_fd": memory,
                "kernel_fd": inherit(os.open(artifacts.kernel, os.O_RDONLY)),
                "initramfs_fd": inherit(os.open(artifacts.initramfs, os.O_RDONLY)),
                "cmdline": COMMON_CMDLINE,
            }
        },
        "host": host,
        "control_fd": inherit(control_end.detach()),
        "console_fd": None,
        "vsock": {"cid": 3, "broker_fd": inherit(broker_end.detach())},
    }
    reader, writer = os.pipe()
    os.write(writer, json.dumps(config).encode())
    os.close(writer)
    inherit(reader)
    started = time.monotonic()
    process = subprocess.Popen(
        [artifacts.vmm, "--config-fd", str(reader)],
        pass_fds=inherited,
        env={**os.environ, **(environment or {})},
    )
    for fd in inherited:
        os.close(fd)
    guest = Guest(process, started)
    try:
        if wait:
            readable, _, _ = select.select([broker], [], [], READY_TIMEOUT_S)
            guest.ready = time.monotonic()
            if not readable or not broker.recv(64):
                raise RuntimeError(f"no guest that is ready: {control.recv(65536, socket.MSG_DONTWAIT)!r}")
        else:
            control.recv(65536)
        yield guest
    finally:
        process.kill()
        process.wait()
        control.close()
        broker.close()


@contextlib.contextmanager
def qemu(artifacts, host_cmdline, memory_mib=256, environment=None, wait=True):
    """A guest under QEMU's microvm machine. It is ready when its agent, which needs a vsock device, says that it has none."""
    # XSAVE (154), which rvm-vmm completes where ring 0 is emulated, ends QEMU.
    host_cmdline = host_cmdline.replace("clearcpuid=", "clearcpuid=154,")
    command = [
        "qemu-system-x86_64", "-M", "microvm,accel=kvm,pit=on,pic=on,rtc=off,acpi=off,auto-kernel-cmdline=on,x-option-roms=off",
        "-cpu", "host,-arch-capabilities", "-m", str(memory_mib), "-smp", "1", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
        "-kernel", artifacts.kernel, "-initrd", artifacts.initramfs,
        "-append", f"{COMMON_CMDLINE} {host_cmdline}".strip(),
        "-serial", "stdio", "-device", "virtio-rng-device",
    ]
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}
    )
    guest = Guest(process, started)
    try:
        if wait:
            wait_for_text(process.stdout, NO_HOST)
            guest.ready = time.monotonic()
        yield guest
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for_text(stream, text):
    seen = b""
    while text not in seen:
        chunk = os.read(stream.fileno(), 4096)
        if not chunk:
            raise RuntimeError(f"the guest ended: {seen.decode(errors='replace')[-2000:]}")
        seen += chunk


def memory_beside_the_guests(pid):
    """PSS, in bytes, of everything that is mapped into a VMM but guest memory and the kernel and initramfs in it."""
    total = 0
    guest = False
    for line in open(f"/proc/{pid}/smaps"):
        word = line.split(maxsplit=1)[0]
        if not word.endswith(":"):
            guest = any(name in line for name in (MEMORY_NAME, "vmlinux", "initramfs"))
        elif word == "Pss:" and not guest:
            total += int(line.split()[1]) << 10
    return total
