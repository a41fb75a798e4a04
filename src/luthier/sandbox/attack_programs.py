"""What a program behind the wall tries, one function per attack. Runs behind the wall, with the standard library alone.

A function returns what it got, in words, where it got through, and "" or an OSError where it was held. `bait` says
where the things are that must not be reached: a secret file, listeners, a process of the machine's user. Every
attack is bounded: without a wall it does no harm beyond its bait.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Bait = dict[str, Any]
_libc = ctypes.CDLL(None, use_errno=True)
_ARM = os.uname().machine == "aarch64"
_MEBIBYTE = 2**20


def _raw(x86: int, arm: int, *arguments: Any) -> str:
    """A system call by number. Through where it is not refused, be it that its arguments make no sense."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(arm if _ARM else x86), *wide)
    code = ctypes.get_errno()
    return "" if result == -1 and code in (1, 13, 38) else f"result {result}, errno {code}"


# Network


def tcp(bait: Bait) -> str:
    with socket.create_connection(("127.0.0.1", bait["tcp_port"]), timeout=2):
        return "connected"


def udp(bait: Bait) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"out", ("127.0.0.1", bait["udp_port"]))
    return ""  # the listener knows


def abstract_socket(bait: Bait) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + bait["abstract_name"])
    return "connected"


def socket_file(bait: Bait) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(bait["socket_file"])
    return "connected"


def vsock(bait: Bait) -> str:
    socket.socket(40, socket.SOCK_STREAM).close()
    return "a socket to the machine's host"


def raw_socket(bait: Bait) -> str:
    for family in (socket.AF_PACKET, socket.AF_NETLINK):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_RAW):
            return f"a socket of family {family}"
    return ""


# Files


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return f"read {len(file.read(100))} bytes of {path}"


def read_shadow(bait: Bait) -> str:
    return _read("/etc/shadow")


def read_secret(bait: Bait) -> str:
    return _read(bait["secret"])


def read_project(bait: Bait) -> str:
    return _read(bait["project_file"])


def list_home(bait: Bait) -> str:
    names = os.listdir(bait["home"])
    return f"listed {bait['home']}: {names[:3]}" if bait["home_entry"] in names else ""


def stat_outside(bait: Bait) -> str:
    return f"its size is {os.stat(bait['secret']).st_size}"


def write_outside(bait: Bait) -> str:
    with open(bait["secret"], "a") as file:
        file.write("changed")
    return "written"


def create_outside(bait: Bait) -> str:
    with open(os.path.join(bait["folder"], "new"), "w") as file:
        file.write("x")
    return "created"


def chmod_outside(bait: Bait) -> str:
    os.chmod(bait["secret"], 0o777)
    return "changed the mode"


def symbolic_link(bait: Bait) -> str:
    os.symlink(bait["secret"], "link")
    return _read("link")


def hard_link(bait: Bait) -> str:
    os.link(bait["secret"], "hard")
    return _read("hard")


def write_system(bait: Bait) -> str:
    got = ""
    for place in ("/usr", "/usr/bin", "/etc", "/", "/run", sys.prefix, os.path.dirname(os.__file__), "/dev"):
        with contextlib.suppress(OSError):
            path = os.path.join(place, "luthier-attack")
            with open(path, "w"):
                got += f" {place}"
            os.unlink(path)
    return got


def devices(bait: Bait) -> str:
    got = []
    for name in ("mem", "kmsg", "port", "vda", "sda", "nvme0n1", "kvm", "fuse", "vsock", "loop-control"):
        with contextlib.suppress(OSError), open(f"/dev/{name}", "rb", buffering=0):
            got.append(name)
    with contextlib.suppress(OSError):
        os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
        got.append("made one")
    return " ".join(got)


# Other processes


def own_environment(bait: Bait) -> str:
    return "in the environment" if bait["token"] in str(os.environ) else ""


def parents_environment(bait: Bait) -> str:
    for pid in {1, os.getppid(), bait["victim"], bait["checker"]}:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ") as file:
            if bait["secret_word"] in file.read():
                return f"in the environment of {pid}"
    return ""


def see_processes(bait: Bait) -> str:
    with open(f"/proc/{bait['victim']}/cmdline") as file:
        return "read its command line" if bait["victim_word"] in file.read() else ""


def write_memory(bait: Bait) -> str:
    for pid in (1, os.getppid(), bait["victim"], bait["checker"]):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/mem", "r+b"):
            return f"opened the memory of process {pid}"
    return ""


def kernel_settings(bait: Bait) -> str:
    names = ("sys/kernel/core_pattern", "sys/kernel/hostname", "sys/vm/overcommit_memory", "sysrq-trigger")
    for name in names:
        with contextlib.suppress(OSError), open(f"/proc/{name}", "r+"):
            return f"opened /proc/{name} for writing"
    return ""


def signal_others(bait: Bait) -> str:
    os.kill(bait["victim"], signal.SIGKILL)
    return ""  # the victim knows


def kill_parent(bait: Bait) -> str:
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.kill(os.getppid(), number)
            time.sleep(0.05)
    return ""  # the result does not arrive


def limit_others(bait: Bait) -> str:
    resource.prlimit(bait["victim"], resource.RLIMIT_CORE, (0, 0))
    return "changed another process's limits"


def leave_daemon(bait: Bait) -> str:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", bait["token"]])
        os._exit(0)
    os.wait()
    return ""  # the list of processes knows


# The kernel


def ptrace(bait: Bait) -> str:
    return _raw(101, 117, 0, 0, 0, 0)


def read_others_memory(bait: Bait) -> str:
    return _raw(310, 270, os.getppid(), 0, 0, 0, 0, 0)


def mount(bait: Bait) -> str:
    return _raw(165, 40, b"none", b"/tmp", b"tmpfs", 0, 0)


def new_user_namespace(bait: Bait) -> str:
    through = _raw(272, 97, 0x10000000)
    child = _libc.syscall(ctypes.c_long(220 if _ARM else 56), ctypes.c_ulong(0x10000000 | 17), 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return through or ("clone made one" if child > 0 else "")


def new_style_clone(bait: Bait) -> str:
    return _raw(435, 435, (ctypes.c_uint64 * 8)(0x10000000), 64)


def enter_namespace(bait: Bait) -> str:
    return _raw(308, 268, 0, 0)


def change_root(bait: Bait) -> str:
    return _raw(161, 51, b".")


def keyring(bait: Bait) -> str:
    return _raw(250, 219, 0, -3, 0) or _raw(248, 217, b"user", b"name", b"secret", 6, -3)


def bpf(bait: Bait) -> str:
    return _raw(321, 280, 0, (ctypes.c_uint64 * 16)(), 128)


def io_uring(bait: Bait) -> str:
    return _raw(425, 425, 4, (ctypes.c_uint64 * 15)())


def perf_events(bait: Bait) -> str:
    return _raw(298, 241, (ctypes.c_uint64 * 16)(1, 112), 0, -1, -1, 0)


def page_faults(bait: Bait) -> str:
    return _raw(323, 282, 1)


def open_by_handle(bait: Bait) -> str:
    return _raw(304, 265, 0, (ctypes.c_uint64 * 4)(8), 0)


def hidden_memory(bait: Bait) -> str:
    return _raw(319, 279, b"name", 0) or _raw(29, 194, 0, 4096, 0o1600)


def become_root(bait: Bait) -> str:
    if os.geteuid() == 0:
        return "is root"
    if _libc.prctl(39, 0, 0, 0, 0) != 1:
        return "setuid programs would give their rights"
    os.setuid(0)
    return "became root"


# Resources


def _forks(most: int, end: Callable[[], None]) -> int:
    children = []
    with contextlib.suppress(OSError):
        for _ in range(most):
            child = os.fork()
            if child == 0:
                end()
                os._exit(0)
            children.append(child)
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return len(children)


def fork_bomb(bait: Bait) -> str:
    count = _forks(3 * bait["max_processes"], lambda: time.sleep(5))
    return f"{count} processes" if count > bait["max_processes"] + 2 else ""


def zombie_bomb(bait: Bait) -> str:
    count = _forks(3 * bait["max_processes"], lambda: None)
    return f"{count} zombies" if count > bait["max_processes"] + 2 else ""


def thread_bomb(bait: Bait) -> str:
    started = 0
    wait = threading.Event()
    threading.stack_size(65536)
    with contextlib.suppress(RuntimeError):
        for _ in range(3 * bait["max_processes"]):
            threading.Thread(target=wait.wait, args=(5,), daemon=True).start()
            started += 1
    wait.set()
    return f"{started} threads" if started > bait["max_processes"] + 2 else ""


def memory_bomb(bait: Bait) -> str:
    blocks = []
    for _ in range(2 * bait["max_memory_bytes"] // (16 * _MEBIBYTE)):
        blocks.append(b"x" * (16 * _MEBIBYTE))
    return f"{len(blocks) * 16} MiB"


def memory_in_children(bait: Bait) -> str:
    share = bait["max_memory_bytes"] // 2

    def hold() -> None:
        block = b"x" * share
        time.sleep(3)
        os._exit(len(block) % 2)

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            hold()
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return f"{len(children)} children held {share // _MEBIBYTE} MiB each"


def _fill(folder: str, most: int) -> str:
    written = 0
    with contextlib.suppress(OSError):
        for index in range(8):
            with open(os.path.join(folder, f"fill{index}"), "wb", buffering=0) as file:
                for _ in range(most // 4 // _MEBIBYTE):
                    written += file.write(b"x" * _MEBIBYTE)
    time.sleep(0.3)
    return f"{written // _MEBIBYTE} MiB in {folder}" if written > 1.5 * most else ""


def fill_disk(bait: Bait) -> str:
    return _fill(".", bait["max_workspace_bytes"])


def fill_shared_memory(bait: Bait) -> str:
    return _fill("/dev/shm", bait["max_workspace_bytes"])


def many_files(bait: Bait) -> str:
    made = 0
    with contextlib.suppress(OSError):
        for index in range(20 * bait["max_files"]):
            os.close(os.open(f"f{index}", os.O_CREAT | os.O_WRONLY))
            made += 1
    time.sleep(0.3)
    return f"{made} files" if made > bait["max_files"] else ""


def huge_output(bait: Bait) -> str:
    block = b"x" * _MEBIBYTE
    for _ in range(64):
        os.write(1, block)
    return ""  # the length of what arrives tells


def deep_recursion(bait: Bait) -> str:
    sys.setrecursionlimit(10**9)

    def deeper(_: int) -> list[int]:
        return sorted([1], key=deeper)  # each step is a frame of C

    return f"came back with {deeper(0)}"


def busy_loop(bait: Bait) -> str:
    while True:
        pass


def sleep(bait: Bait) -> str:
    time.sleep(600)
    return "slept to the end"


def ignore_signals(bait: Bait) -> str:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    return sleep(bait)


def stop_self(bait: Bait) -> str:
    os.kill(os.getpid(), signal.SIGSTOP)
    return ""


def hold_output_open(bait: Bait) -> str:
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", bait["token"]], start_new_session=True
    )
    return ""


def wait_for_input(bait: Bait) -> str:
    return "read something" if sys.stdin.read() else ""


def attempt(name: str, bait: Bait) -> str:
    """Run one attack: "through: ..." or "held: ..."."""
    attack: Callable[[Bait], str] = globals()[name]
    try:
        got = attack(bait)
    except (OSError, RuntimeError, ValueError) as error:
        return f"held: {error}"
    return f"through: {got}" if got else "held"
