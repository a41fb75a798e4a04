"""The machine as the program sees it, made here where bubblewrap is not: namespaces and a root of its own.

The root is a small tmpfs, read-only, with the interpreter's folders bound read-only at their own paths, a /proc of
its own processes, five devices, and two places to write with a quota: /tmp and /dev/shm.
Source: namespaces(7), pivot_root(2), mount_setattr(2). Knows nothing of limits, users and filters.
"""

import os
import platform
from pathlib import Path
from typing import Any

from luthier.sandbox import kernel
from luthier.sandbox.kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC
from luthier.sandbox.seccomp import MACHINES, PIVOT_ROOT

DEVICES = ("null", "zero", "full", "random", "urandom")
_STAGE, _OLD, _NEW = "/tmp", "/old", "/new"
_NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
)


def unshare(*, own_user: bool) -> None:
    """New namespaces for the children of this process. An ordinary user needs a user namespace for that."""
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(_NAMESPACES | (kernel.CLONE_NEWUSER if own_user else 0))
    if own_user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def build(job: dict[str, Any]) -> None:
    """Make the root and enter it. Needs to be the first process of its namespaces.

    The new tree is put together beside the old one, over a tmpfs that neither is part of, so that a folder may be
    bound from anywhere, also from below the place where the work is done.
    """
    kernel.mount("none", "/", "none", MS_REC | MS_PRIVATE)
    kernel.mount("tmpfs", _STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir(_STAGE + _OLD)
    os.mkdir(_STAGE + _NEW)
    number = PIVOT_ROOT[MACHINES.index(platform.machine())]
    assert number is not None
    kernel.pivot_root(_STAGE, _STAGE + _OLD, number)
    os.chdir("/")
    kernel.mount("tmpfs", _NEW, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m,nr_inodes=4096")
    quota = f"mode=1777,size={job['max_workspace_bytes']},nr_inodes={job['max_files']}"
    os.mkdir(f"{_NEW}/tmp")
    kernel.mount("tmpfs", f"{_NEW}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, quota)
    for target, link in job["links"].items():
        os.symlink(link, _NEW + target)
    for path, source in job["readable"].items():
        _bind(_OLD + source, _NEW + path)
        kernel.make_read_only(_NEW + path)
    os.mkdir(f"{_NEW}/proc")
    kernel.mount("proc", f"{_NEW}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _devices(quota)
    os.chdir(_NEW)
    kernel.pivot_root(".", ".", number)  # the old root lies on top of the new one for a moment
    kernel.unmount(".")
    os.chdir("/")
    kernel.mount("none", "/", "none", MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | MS_NOSUID | MS_NODEV)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    kernel.mount(source, target, "none", MS_BIND | MS_REC)


def _devices(quota: str) -> None:
    folder = f"{_NEW}/dev"
    os.makedirs(f"{folder}/shm")
    kernel.mount("tmpfs", f"{folder}/shm", "tmpfs", MS_NOSUID | MS_NODEV, quota)
    for name in DEVICES:
        _bind(f"{_OLD}/dev/{name}", f"{folder}/{name}")
    for name, target in {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        os.symlink(f"/proc/self/{target}", f"{folder}/{name}")
