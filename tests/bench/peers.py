"""podman and Docker with folders of their own, the image loaded: contexts that give a function which runs their command line."""

import contextlib
import os
import subprocess
import time

# podman asks for more than a host may allow its root, and crun for one hierarchy of control groups only.
PODMAN_LIMITS = ["--ulimit", "nproc=1000:1000", "--ulimit", "nofile=1024:1024"]
PODMAN_CONFIG = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'


@contextlib.contextmanager
def podman(folder, archive):
    config = folder / "containers.conf"
    config.write_text(PODMAN_CONFIG)
    environment = {**os.environ, "CONTAINERS_CONF": str(config)}
    store = ["--root", folder / "podman", "--runroot", folder / "podman-run", "--storage-driver", "vfs"]
    unmount = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec podman "$@"'
    command = ["unshare", "-m", "sh", "-c", unmount, "podman", *store]

    def run(*words):
        if words[0] == "run":
            words = (words[0], *PODMAN_LIMITS, *words[1:])
        return subprocess.run([*command, *words], check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout

    run("load", "-q", "-i", archive)
    try:
        yield run
    finally:
        # Its overlay mounts are gone with the mount namespaces.
        run("rmi", "-af")


@contextlib.contextmanager
def docker(folder, archive):
    socket = f"unix://{folder}/docker.sock"
    with open(folder / "dockerd.log", "w") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--data-root", folder / "docker", "--exec-root", folder / "docker-run", "-H", socket, "--pidfile", folder / "docker.pid"]
            + ["--bridge", "none", "--iptables=false", "--ip6tables=false"],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    environment = {**os.environ, "DOCKER_HOST": socket}

    def run(*words):
        return subprocess.run(["/usr/bin/docker", *words], check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout

    try:
        while subprocess.run(["/usr/bin/docker", "version"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            if daemon.poll() is not None:
                raise RuntimeError(f"dockerd has ended: {(folder / 'dockerd.log').read_text()}")
            time.sleep(0.1)
        # Its version in Debian 12 loads no OCI archives.
        converted = folder / "busybox.docker.tar"
        subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{archive}", f"docker-archive:{converted}:busybox:latest"], check=True)
        run("load", "-q", "-i", converted)
        yield run
    finally:
        daemon.terminate()
        daemon.wait()
