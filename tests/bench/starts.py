"""Starting and ending a container that does nothing, and running a further process in one: rvm, podman and Docker, in turns."""

import concurrent.futures
import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

import peers

RUN = ["run", "--rm", "--network", "none"]
IDLE = ["busybox", "sleep", "1000000"]
# How many starts there are at a time, and in all.
AT_A_TIME = 4
PARALLEL = 100


def milliseconds(run, *words):
    begun = time.monotonic()
    run(*words)
    return (time.monotonic() - begun) * 1e3


@contextlib.contextmanager
def prepared(rvm, archive):
    """A folder of its own, and a function that runs rvm with its root there, the image loaded."""
    with tempfile.TemporaryDirectory(prefix="rvm-bench-") as name:
        environment = {**os.environ, "RVM_ROOT": f"{name}/rvm"}

        def run(*words, **options):
            return subprocess.run([rvm, *words], check=True, env=environment, stdout=subprocess.PIPE, text=True, **options).stdout

        run("load", "-q", "-i", archive)
        yield pathlib.Path(name), run


def restore(run):
    """What `--timing` says passes between the start of the VMM and the answer of the guest in it, in milliseconds."""
    told = run("run", "--rm", "--timing", "busybox", "true", stderr=subprocess.STDOUT)
    return next(float(line.split()[-1]) for line in told.splitlines() if line.startswith("guest ready"))


def measure(results, pairs, rvm, archive, progress):
    with prepared(rvm, archive) as (folder, run), contextlib.ExitStack() as stack:
        # The first makes the template of its kind, the second that of its command.
        for words in (["run", "--rm"], RUN):
            for _ in range(2):
                run(*words, "busybox", "true")
        others = {name: stack.enter_context(peer(folder, archive)) for name, peer in (("podman", peers.podman), ("docker", peers.docker))}
        runs = {
            "rvm, level 3": lambda n: milliseconds(run, "run", "--rm", "busybox", "true"),
            "rvm, level 3, no network": lambda n: milliseconds(run, *RUN, "busybox", "true"),
            "rvm, level 2": lambda n: milliseconds(run, "run", "--rm", "busybox", "echo", str(n)),
            **{name: lambda n, other=other: milliseconds(other, *RUN, "busybox", "true") for name, other in others.items()},
        }
        results["run --rm busybox true, ms"] = rounds(runs, pairs, "starts", progress)

        progress("restores")
        results["restore, VMM started to guest ready, ms"] = {"rvm": [restore(run) for _ in range(pairs)]}

        containers = {"rvm": run("run", "-d", *IDLE).strip()}
        containers |= {name: other("run", "-d", "--network", "none", *IDLE).strip() for name, other in others.items()}
        execs = {
            name: lambda n, other=other, name=name: milliseconds(other, "exec", containers[name], "true")
            for name, other in {"rvm": run, **others}.items()
        }
        results["exec of true, ms"] = rounds(execs, pairs, "exec", progress)
        for name, other in {"rvm": run, **others}.items():
            other("rm", "-f", containers[name])

        progress(f"{PARALLEL} starts, {AT_A_TIME} at a time")
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda _: run("run", "--rm", "busybox", "true"), range(PARALLEL)))
        results[f"starts per second, {AT_A_TIME} at a time, {PARALLEL} without a failure"] = {"rvm": [PARALLEL / (time.monotonic() - begun)]}


def rounds(runs, pairs, what, progress):
    series = {who: [] for who in runs}
    for pair in range(pairs):
        progress(f"{what}: round {pair + 1} of {pairs}")
        for who, one in runs.items():
            series[who].append(one(pair))
    return series
