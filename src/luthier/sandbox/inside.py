"""The last steps before untrusted code, taken in a child process: the wall goes up here, then the program runs.

`main` reads a job (JSON in an inherited file), puts up what the level asks for, writes the program's files as the
user that the program will be, sets limits and executes it. Where a step fails the reason goes to the status
channel, and nothing is run. The order matters: the user is dropped before files are written, limits of processes
are set where only the sandbox counts, seccomp comes last.
Runs with the standard library alone; at the level `bubblewrap` already behind the wall.
"""

import base64
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from luthier.sandbox import kernel, landlock, process_tree, view

Job = dict[str, Any]
_READY = b"+"
_MAX_OPEN_FILES = 256


def main() -> None:
    """`python -c ... JOB_FD STATUS_FD`."""
    job_fd, status_fd = int(sys.argv[1]), int(sys.argv[2])
    with os.fdopen(job_fd, "rb") as file:
        job: Job = json.load(file)
    os.set_inheritable(status_fd, False)
    try:
        code = _LEVELS[job["level"]](job, status_fd)
    except Exception as error:  # whatever it is: nothing was run, and the caller must hear why
        os.write(status_fd, f"{type(error).__name__}: {error}".encode())
        code = 125
    os._exit(code)


def _inside_bubblewrap(job: Job, status_fd: int) -> int:
    """Already the first process of bubblewrap's namespaces."""
    return _first_process(job, status_fd)


def _with_namespaces(job: Job, status_fd: int) -> int:
    kernel.die_with_parent(signal.SIGKILL)
    view.unshare(own_user=job["uid"] is None)

    def first_process() -> int:
        view.build(job)
        return _first_process(job, status_fd, restrict=landlock.version() > 0)

    return _wait_for(_fork(first_process, status_fd))


def _first_process(job: Job, status_fd: int, *, restrict: bool = False) -> int:
    """Wait for the program; when this process ends, the kernel ends all others of the namespace.

    The program runs as the same user, so this process must be closed to it: no signal handler of Python's (a
    namespace's first process gets only signals that it handles), and no way into its memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _drop_user(job)
    kernel.drop_capabilities()
    kernel.die_with_parent(signal.SIGKILL)  # after the drop, which would clear it
    kernel.not_dumpable()
    if restrict:
        landlock.restrict(read=["/"], write=["/tmp", "/dev"])
    return _wait_for(_fork(lambda: _run(job, status_fd), status_fd))


def _with_landlock(job: Job, status_fd: int) -> int:
    def program() -> int:
        _drop_user(job)
        landlock.restrict(read=job["readable"], write=job["writable"])
        return _run(job, status_fd)

    return _supervised(program, status_fd)


def _without_wall(job: Job, status_fd: int) -> int:
    def program() -> int:
        _drop_user(job)
        return _run(job, status_fd)

    return _supervised(program, status_fd)


_LEVELS: dict[str, Callable[[Job, int], int]] = {
    "bubblewrap": _inside_bubblewrap,
    "namespaces": _with_namespaces,
    "landlock": _with_landlock,
    "none": _without_wall,
}


def _supervised(program: Callable[[], int], status_fd: int) -> int:
    """Without a process namespace: orphans come to this process, which kills what is left."""
    kernel.become_subreaper()

    def stop(_signal: int, _frame: object) -> None:
        process_tree.kill_descendants(os.getpid())
        os._exit(128 + signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    kernel.die_with_parent(signal.SIGTERM)
    code = _wait_for(_fork(program, status_fd, own_session=True))
    process_tree.kill_descendants(os.getpid())
    return code


def _fork(body: Callable[[], int], status_fd: int, *, own_session: bool = False) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 125
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if own_session:
            os.setsid()
        code = body()
    except Exception as error:
        os.write(status_fd, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


def _wait_for(pid: int) -> int:
    """Reap children until this one has ended; its exit code, or 128 + the signal, as shells say it."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _drop_user(job: Job) -> None:
    uid = job["uid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        kernel.drop_capabilities()


def _run(job: Job, status_fd: int) -> int:
    os.umask(0o022)
    os.makedirs(job["folder"], exist_ok=True)
    os.chdir(job["folder"])
    for name, content in job["files"].items():
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(name, "wb") as file:
            file.write(base64.b64decode(content))
    _set_limits(job)
    kernel.no_new_privileges()
    if job["seccomp"]:
        kernel.install_seccomp(base64.b64decode(job["seccomp"]))
    os.write(status_fd, _READY)
    os.execve(job["argv"][0], job["argv"], job["environment"])


def _set_limits(job: Job) -> None:
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # short of memory, the machine ends this first
    except OSError:
        pass  # no view of /proc: the other limits hold
    for name, value in job["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(which, (value, value))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
