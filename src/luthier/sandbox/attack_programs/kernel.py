"""Attacks on the kernel itself: system calls that an ordinary program does not need.

Runs behind the wall, with the standard library alone.
"""

import ctypes
import os
from typing import Any

Bait = dict[str, Any]
_libc = ctypes.CDLL(None, use_errno=True)
_ARM = os.uname().machine == "aarch64"


def _raw(x86: int, arm: int, *arguments: Any) -> str:
    """A system call by number. Through where it is not refused, be it that its arguments make no sense."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(arm if _ARM else x86), *wide)
    code = ctypes.get_errno()
    return "" if result == -1 and code in (1, 13, 38) else f"result {result}, errno {code}"


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
