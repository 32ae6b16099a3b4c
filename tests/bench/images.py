"""A registry on loopback with generated images in it, and how long, how large and with how much memory they are pulled."""

import contextlib
import json
import os
import pathlib
import random
import re
import socket
import subprocess
import tarfile
import tempfile
import time

MB = 1_000_000
# Of each layer, unpacked; together with busybox 200 MB.
BASE_LAYERS_MB = (80, 60, 40, 19)
OWN_LAYER_MB = 20
# Files as a distribution has them: many small ones, few large ones.
FILE_SIZES = (700, 3_000, 12_000, 12_000, 45_000, 180_000, 700_000, 3_000_000)
BLOB = re.compile(r'"GET /v2/\S+/blobs/(sha256:[0-9a-f]{64}) \S+" 20[06] (\d+)')


def run(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


class Registry:
    """Debian's docker-registry, with what it was asked for in a log."""

    def __init__(self, folder):
        self.folder = folder
        self.log = f"{folder}/access.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = "127.0.0.1:%d" % free.getsockname()[1]
        config = f"{folder}/config.yml"
        pathlib.Path(config).write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
            f"http: {{addr: '{self.host}'}}\n"
        )
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
        host, port = self.host.split(":")
        while socket.socket().connect_ex((host, int(port))):
            time.sleep(0.05)

    def fetched(self, since=0):
        """Bytes of blobs that were asked for behind a place in the log, by digest."""
        with open(self.log) as log:
            log.seek(since)
            found = BLOB.findall(log.read())
        return {digest: sum(int(size) for other, size in found if other == digest) for digest, _ in found}

    def place(self):
        return os.path.getsize(self.log)


def layer(path, size, seed, top):
    """A tar archive of `size` MB: half of it noise, half of it text."""
    chance = random.Random(seed)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(2_000)]
    left = size * MB
    with tarfile.open(path, "w") as tar:
        for number in range(10**6):
            length = min(left, chance.choice(FILE_SIZES))
            if length <= 0:
                return
            left -= length
            if number % 2:
                data = chance.randbytes(length)
            else:
                data = b" ".join(chance.choices(words, k=length // 4))[:length].ljust(length, b"\n")
            file = pathlib.Path(path).with_suffix(".file")
            file.write_bytes(data)
            member = tarfile.TarInfo(f"{top}/{number % 97}/{number}")
            member.size = length
            member.mtime = 1_700_000_000
            with file.open("rb") as data:
                tar.addfile(member, data)
    raise AssertionError("too many files")


@contextlib.contextmanager
def filled(archive):
    """A registry with the images `base` and `derived`, which is `base` and a layer of its own."""
    with tempfile.TemporaryDirectory(prefix="rvm-bench-") as folder:
        layout = f"{folder}/layout"
        run("skopeo", "--insecure-policy", "copy", "-q", f"oci-archive:{archive}", f"oci:{layout}:base")
        for number, size in enumerate(BASE_LAYERS_MB):
            layer(f"{folder}/layer.tar", size, number, f"srv/{number}")
            run("umoci", "raw", "add-layer", "--image", f"{layout}:base", f"{folder}/layer.tar")
        layer(f"{folder}/layer.tar", OWN_LAYER_MB, 99, "srv/own")
        run("umoci", "raw", "add-layer", "--image", f"{layout}:base", "--tag", "derived", f"{folder}/layer.tar")
        registry = Registry(folder)
        try:
            for name in "base", "derived":
                to = f"docker://{registry.host}/{name}"
                run("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:{name}", to)
            yield registry
        finally:
            registry.process.kill()
            registry.process.wait()


def seconds(*command, **options):
    started = time.monotonic()
    run(*command, **options)
    return time.monotonic() - started


def pull_by_rvm(rvm, root, image):
    return seconds(rvm, "--root", root, "pull", "-q", image)


def pull_by_others(folder, image):
    """`skopeo copy` into an OCI layout, and `umoci unpack` of that."""
    policy = "--insecure-policy"
    copied = seconds("skopeo", policy, "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{folder}/oci:it")
    return copied, seconds("umoci", "unpack", "--image", f"{folder}/oci:it", f"{folder}/bundle")


def peak_memory(rvm, root, image):
    """VmHWM of a pull, in MiB."""
    process = subprocess.Popen([rvm, "--root", root, "pull", "-q", image], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(kib) for kib in re.findall(r"VmHWM:\s+(\d+)", status))])
        time.sleep(0.005)
    assert process.returncode == 0
    return peak / 1024


def disk(root):
    """Bytes on the disk of blobs and of layers' file systems, and how many of those there are."""
    blobs = list(pathlib.Path(root, "content/blobs/sha256").iterdir())
    layers = list(pathlib.Path(root, "layers").glob("*.erofs"))
    size = lambda files: sum(file.stat().st_blocks * 512 for file in files)
    return size(blobs), size(layers), len(layers)


def measure(results, pairs, rvm, archive, progress):
    """All series of the part `images`."""
    progress("images: making them")
    with filled(archive) as registry:
        base, derived = f"{registry.host}/base", f"{registry.host}/derived"
        pulls, starts = {"rvm": [], "others": []}, {"rvm": [], "others": []}
        parts = {"skopeo copy": [], "umoci unpack": [], "first start": []}
        memory = []
        for pair in range(pairs):
            progress(f"images: pair {pair + 1} of {pairs}")
            with tempfile.TemporaryDirectory(prefix="rvm-bench-") as folder:

                def ours():
                    os.sync()
                    parts["pull"] = pull_by_rvm(rvm, f"{folder}/root", base)
                    run_it = [rvm, "--root", f"{folder}/root", "run", "--rm", "--network", "none", base, "true"]
                    parts["first start"].append(seconds(*run_it))

                def theirs():
                    os.sync()
                    copied, unpacked = pull_by_others(folder, base)
                    parts["skopeo copy"].append(copied)
                    parts["umoci unpack"].append(unpacked)

                # Who is first in a pair is second in the next one.
                for half in (ours, theirs) if pair % 2 else (theirs, ours):
                    half()
                memory.append(peak_memory(rvm, f"{folder}/second", base))
            pulls["rvm"].append(parts.pop("pull"))
            starts["rvm"].append(pulls["rvm"][-1] + parts["first start"][-1])
            for series in pulls, starts:
                series["others"].append(parts["skopeo copy"][-1] + parts["umoci unpack"][-1])
        progress("images: a second one that shares its base")
        with tempfile.TemporaryDirectory(prefix="rvm-bench-") as root:
            place = registry.place()
            first = pull_by_rvm(rvm, root, base)
            all_fetched = sum(registry.fetched(place).values())
            before, place = disk(root), registry.place()
            second = pull_by_rvm(rvm, root, derived)
            fetched = sum(registry.fetched(place).values())
            after = disk(root)
    results["pull of 200 MB against skopeo copy and umoci unpack, s"] = pulls
    results["pull and first start against skopeo copy and umoci unpack, s"] = starts
    for what, series in parts.items():
        results[f"{what} alone, s"] = {"rvm" if what == "first start" else what.split()[0]: series}
    results["peak memory of a pull, MiB"] = {"rvm": memory}
    results["image that shares its base: pull, s"] = {"second": [second], "first": [first]}
    results["image that shares its base: fetched, MB"] = {"second": [fetched / MB], "first": [all_fetched / MB]}
    for number, what in enumerate(("blobs stored, MB", "file systems stored, MB", "layers converted")):
        unit = 1 if what.startswith("layers") else MB
        series = {"second": [(after[number] - before[number]) / unit], "first": [before[number] / unit]}
        results[f"image that shares its base: {what}"] = series
