"""Attacks on what lies outside the wall: the network, files, other processes.

Runs behind the wall, with the standard library alone.
"""

import contextlib
import os
import resource
import signal
import socket
import stat
import sys
import time
from typing import Any

Bait = dict[str, Any]


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
