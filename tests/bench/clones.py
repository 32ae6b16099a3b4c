"""What one more idle container takes, and what templates take: memory by proportional shares, processor time, disk and time."""

import os
import pathlib
import time

import starts

# What runs in the idle containers.
IMAGES = {"busybox": ["busybox", "sleep", "1000000"], "nginx": ["nginx"]}
# How long the idle ones are watched.
WATCHED = 30
# Which part of a processor one may take that has come to rest, and how long it is watched for that.
RESTS = 0.1
LOOK = 0.3


def of_processes(root):
    """The monitors of this root and their VMMs: process ids."""
    wanted = f"rvm-monitor\0{root}\0".encode()
    parents = {}
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if wanted in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found + [child for child, parent in parents.items() if parent in found]


def share(pids):
    """Proportional set size, in MB."""
    lines = (line for pid in pids for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def seconds(pids):
    """Processor time used so far."""
    fields = (pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def wait_for_rest(pids):
    """Waits until these do next to nothing. Programs that begin many at a time, on a kernel that is emulated, never come to an end of it."""
    while True:
        before = seconds(pids)
        time.sleep(LOOK)
        if seconds(pids) - before < RESTS * LOOK:
            return


def idle(results, name, words, count, run, root, progress):
    """Starts idle containers, and measures one more of them."""
    started = []
    took = []
    seen = set()
    try:
        for number in range(count):
            progress(f"{name}: idle container {number + 1} of {count}")
            begun = time.monotonic()
            started.append(run("run", "-d", *words).strip())
            took.append(time.monotonic() - begun)
            pids = set(of_processes(root))
            wait_for_rest(pids - seen)
            seen = pids
            # The first ones make the templates.
            if number == 2:
                first = share(of_processes(root))
        pids = of_processes(root)
        before = seconds(pids)
        more = (share(pids) - first) / (count - 3)
        time.sleep(WATCHED)
        used = (seconds(pids) - before) / WATCHED / count * 100
        running = len(run("ps", "-q").split())
        if running != count:
            raise RuntimeError(f"of {count} containers of {name} {running} run")
        results[f"one more idle {name} of {count}: memory, MB of PSS"] = {"rvm": [more]}
        results[f"one idle {name} of {count}: processor, % of one"] = {"rvm": [used]}
        results[f"start of one more idle {name}, s"] = {"rvm": took[3:]}
    finally:
        for begin in range(0, len(started), 10):
            progress(f"{name}: removing the idle containers")
            run("rm", "-f", *started[begin : begin + 10])


def templates(results, run, root, progress):
    """What a template takes, by the memory of its guest."""
    made = {}
    sizes = {}
    for memory in ("256m", "1g", "4g"):
        progress(f"a template of {memory}")
        begun = time.monotonic()
        key = run("template", "create", "-m", memory, "busybox", "true").strip()
        made[memory] = [time.monotonic() - begun]
        folder = root / "templates" / key
        sizes[memory] = [sum(file.stat().st_blocks * 512 for file in folder.iterdir()) / 1e6]
    results["making a template, s"] = made
    results["a template's size on the disk, MB"] = sizes


def measure(results, rvm, archives, count, progress):
    with starts.prepared(rvm, archives / "busybox.oci.tar") as (folder, run):
        run("load", "-q", "-i", archives / "nginx.oci.tar")
        root = folder / "rvm"
        templates(results, run, root, progress)
        for name, words in IMAGES.items():
            idle(results, name, words, count, run, root, progress)
