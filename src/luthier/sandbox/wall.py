"""How a program is started at each level: what it sees of the machine, and the command that leads there.

Behind the wall there is: the system's programs and libraries, the running interpreter with its packages, /tmp. Not:
home folders, the project, /etc, other processes, a network. Knows nothing of what becomes of the program.
"""

import base64
import functools
import itertools
import math
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.errors import SandboxError
from luthier.sandbox.seccomp import MACHINES, build_filter
from luthier.sandbox.words import Level, Limits

FOLDER = "/tmp/work"  # where a program with a root of its own is started
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
_SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives")
_OWN_SOURCE = "/run/luthier"
_START = "import sys; sys.path.insert(0, {!r}); from luthier.sandbox.inside import main; main()"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FIRST_UID, _NUM_UIDS = 1_800_000_000, 100_000_000
_LARGEST_UID = 2**32 - 2
_counter = itertools.count(os.getpid() * 1000)


def job(
    level: Level,
    argv: list[str],
    *,
    files: Mapping[str, bytes],
    environment: Mapping[str, str],
    limits: Limits,
    folder: Path,
) -> dict[str, Any]:
    """What the child has to know, as JSON values. `folder` is a temporary one, for levels without their own root."""
    own_root = level in (Level.BUBBLEWRAP, Level.NAMESPACES)
    uid = _spare_uid() if os.getuid() == 0 else None
    if uid is not None and not own_root:
        _refuse_unreachable_interpreter()
        os.chown(folder, uid, uid)
    place = FOLDER if own_root else str(folder)
    return {
        "level": level.value,
        "argv": argv,
        "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
        "environment": {**_environment(place), **environment},
        "folder": place,
        "uid": uid,
        "limits": _resource_limits(level, limits, uid),
        "max_workspace_bytes": limits.max_workspace_bytes,
        "max_files": limits.max_files,
        "seccomp": base64.b64encode(filter_bytes(level)).decode(),
        "readable": {path: os.path.realpath(path) for path in (*_bound(), *([] if own_root else _links()))},
        "links": _links(),
        "writable": [str(folder), *_DEVICES],
    }


def command(level: Level, job_fd: int, status_fd: int, seccomp_fd: int, limits: Limits) -> list[str]:
    """The command that starts the child."""
    if level is not Level.BUBBLEWRAP:
        return _interpreter(str(Path(__file__).parents[2]), job_fd, status_fd)
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("bubblewrap is not installed: apt-get install bubblewrap")
    quota = ["--perms", "1777", "--size", str(limits.max_workspace_bytes), "--tmpfs"]
    view = [*quota, "/tmp", "--dev", "/dev", *quota, "/dev/shm", "--proc", "/proc"]
    for target, link in _links().items():
        view += ["--symlink", link, target]
    for folder in _parents(_bound()):
        view += ["--dir", folder]  # bubblewrap's own guess at a parent is closed to the dropped user
    for path in _bound():
        view += ["--ro-bind", path, path]
    view += ["--ro-bind", str(Path(__file__).parent), f"{_OWN_SOURCE}/luthier/sandbox"]
    view += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    user = ["--cap-drop", "ALL"]
    if os.getuid() == 0:  # root's own namespaces need no user of their own; the child drops the user
        user += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        user += ["--unshare-user", "--disable-userns"]
    kinds = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    life = ["--as-pid-1", "--die-with-parent", "--new-session", "--seccomp", str(seccomp_fd)]
    return [bwrap, *user, *kinds, *life, *view, "--", *_interpreter(_OWN_SOURCE, job_fd, status_fd)]


@functools.cache
def filter_bytes(level: Level) -> bytes:
    """The seccomp filter of a level. Bubblewrap puts it on its own first process too."""
    if level is Level.NONE:
        return b""
    machine = platform.machine()
    if machine not in MACHINES:
        raise SandboxError(
            f"no system call filter for {machine!r}; there is one for {' and '.join(MACHINES)}"
        )
    walled = level is not Level.LANDLOCK
    return build_filter(machine, sockets=walled, owners_calls=walled)


def _interpreter(source: str, job_fd: int, status_fd: int) -> list[str]:
    return [sys.executable, "-I", "-S", "-B", "-c", _START.format(source), str(job_fd), str(status_fd)]


@functools.cache
def _links() -> dict[str, str]:
    """Folders of the system that are links to others: /bin -> usr/bin."""
    return {path: os.readlink(path) for path in _SYSTEM if os.path.islink(path)}


@functools.cache
def _bound() -> tuple[str, ...]:
    """What is seen read-only, at its own path: the system and the interpreter."""
    found = [path for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    found += [f"/etc/{name}" for name in _SETTINGS if os.path.exists(f"/etc/{name}")]
    home = Path.home().resolve()
    for prefix in dict.fromkeys(
        (sys.prefix, sys.base_prefix, *map(os.path.realpath, (sys.prefix, sys.base_prefix)))
    ):
        if home.is_relative_to(prefix):
            raise SandboxError(
                f"the interpreter's prefix {prefix} holds the home folder; use a virtual environment"
            )
        if not _is_below(prefix, found):
            found.append(prefix)
    step = sys.executable
    while True:  # an interpreter may be a link to a link to a file elsewhere
        if not _is_below(step, found):
            found.append(step)
        if not os.path.islink(step):
            return tuple(found)
        step = os.path.normpath(os.path.join(os.path.dirname(step), os.readlink(step)))


def _is_below(path: str, folders: list[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _parents(paths: tuple[str, ...]) -> list[str]:
    """Every folder above these paths, the outermost first."""
    folders = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(folders - {"/", "/tmp", "/dev", *_SYSTEM})


def _environment(folder: str) -> dict[str, str]:
    """All that the program finds in its environment. One thread per library: the limit of processes counts them."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    return {
        "PATH": f"{os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin",
        "HOME": folder,
        "TMPDIR": folder if folder != FOLDER else "/tmp",
        "LANG": "C.UTF-8",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        **threads,
    }


def _resource_limits(level: Level, limits: Limits, uid: int | None) -> dict[str, int]:
    """rlimits by name. Processes are counted per user: where the user is not the sandbox's own, add what it has."""
    waiting = {Level.BUBBLEWRAP: 2, Level.NAMESPACES: 2}.get(level, 0)  # the sandbox's own first processes
    if uid is not None:
        waiting = 2
    elif level in (Level.LANDLOCK, Level.NONE):
        waiting = 1 + _num_tasks(os.getuid())
    return {
        "RLIMIT_AS": limits.max_memory_bytes,
        "RLIMIT_CPU": math.ceil(limits.timeout_seconds) + 1,
        "RLIMIT_FSIZE": limits.max_workspace_bytes,
        "RLIMIT_NPROC": limits.max_processes + waiting,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 2**16,
    }


def _num_tasks(uid: int) -> int:
    """Processes and threads of a user."""
    total = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                total += len(os.listdir(f"{entry.path}/task")) if entry.stat().st_uid == uid else 0
            except OSError:
                continue
    return total


def _spare_uid() -> int:
    """A user id that nobody has, another for each execution, so that limits of processes are not shared."""
    with open("/proc/self/uid_map") as file:
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in file]
    first, count = max(ranges, key=lambda known: known[1])
    if first + count > _LARGEST_UID:
        return _FIRST_UID + next(_counter) % _NUM_UIDS
    if count < 1000:
        raise SandboxError("running as root in a container with no spare user ids: run as an ordinary user")
    return first + count - 2 - next(_counter) % min(500, count // 2)


def _refuse_unreachable_interpreter() -> None:
    """As root at a level without a root of its own: the dropped user has to reach the interpreter by itself."""
    for path in (os.path.realpath(sys.executable), sys.prefix, sys.base_prefix):
        for folder in Path(path).parents:
            if not os.stat(folder).st_mode & 0o001:
                raise SandboxError(f"{sys.executable}: an ordinary user cannot reach it, {folder} is closed")
