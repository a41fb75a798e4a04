"""The seccomp filter: which system calls the wall refuses, as BPF bytes for x86-64 and aarch64.

Refused with EPERM: looking into other processes, mounts, new namespaces, kernel extensions, keys, io_uring (it
would go round a filter of socket()), clocks, System V and memfd memory (which no limit counts), sockets but for
unix, IPv4 and IPv6 (which reach nothing in an empty network namespace), typing into a terminal (TIOCSTI) and
limits of other processes. clone3 answers ENOSYS, as does every call newer than this table: libc then takes clone,
whose flags can be read. Another architecture's calls end the process.

Source: linux/seccomp.h, linux/bpf_common.h, asm/unistd_64.h and asm-generic/unistd.h.
Knows nothing of how a filter is installed.
"""

import errno
import struct

from luthier.sandbox.kernel import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

MACHINES = ("x86_64", "aarch64")
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (number on x86-64, number on aarch64); None where the architecture has no such call
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "process_madvise": (440, 440),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "open_tree_attr": (467, 467),
}
# Where the program sees the machine's own files, its user may still be the owner of some of them.
OWNERS_CALLS: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
PIVOT_ROOT = REFUSED["pivot_root"]
_CLONE, _CLONE3, _SOCKET, _IOCTL, _PRLIMIT = (56, 220), (435, 435), (41, 198), (16, 29), (302, 261)
_FIRST_UNKNOWN = 471
_X32_BIT = 0x40000000
_NEW_NAMESPACE = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGUMENTS = (
    0,
    4,
    16,
)  # offsets in struct seccomp_data; the low half of an argument comes first


def build_filter(machine: str, *, sockets: bool = True, owners_calls: bool = True) -> bytes:
    """The filter for a machine ("x86_64" or "aarch64") as struct sock_filter bytes.

    `sockets=False` refuses socket() altogether (socketpair stays); `owners_calls=False` refuses chmod and its like.
    Raises ValueError for another machine.
    """
    if machine not in MACHINES:
        raise ValueError(f"expected one of {', '.join(MACHINES)}, got {machine!r}")
    column = MACHINES.index(machine)
    refused = REFUSED if owners_calls else REFUSED | OWNERS_CALLS
    program = [
        _instruction(_LOAD, _ARCH),
        *_unless_equal(AUDIT_ARCH[machine], _KILL),
        _instruction(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        program += _if(_JUMP_AT_LEAST, _X32_BIT, _KILL)
    program += _if(_JUMP_AT_LEAST, _FIRST_UNKNOWN, _ERRNO | errno.ENOSYS)
    program += _if(_JUMP_EQUAL, _CLONE3[column], _ERRNO | errno.ENOSYS)
    for numbers in refused.values():
        number = numbers[column]
        if number is not None:
            program += _if(_JUMP_EQUAL, number, _ERRNO | errno.EPERM)
    program += _on_argument(_CLONE[column], 0, _if(_JUMP_BITS, _NEW_NAMESPACE, _ERRNO | errno.EPERM))
    terminal = [
        step for call in (_TIOCSTI, _TIOCLINUX) for step in _if(_JUMP_EQUAL, call, _ERRNO | errno.EPERM)
    ]
    program += _on_argument(_IOCTL[column], 1, terminal)
    program += _on_argument(_PRLIMIT[column], 0, _unless_equal(0, _ERRNO | errno.EPERM))
    families = (_AF_UNIX, _AF_INET, _AF_INET6) if sockets else ()
    known = [step for family in families for step in _if(_JUMP_EQUAL, family, _ALLOW)]
    program += _on_argument(_SOCKET[column], 0, [*known, _instruction(_RETURN, _ERRNO | errno.EPERM)])
    program.append(_instruction(_RETURN, _ALLOW))
    return b"".join(program)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _if(jump: int, value: int, verdict: int) -> list[bytes]:
    """Where the loaded word compares true with `value`, end with the verdict; go on otherwise."""
    return [_instruction(jump, value, 0, 1), _instruction(_RETURN, verdict)]


def _unless_equal(value: int, verdict: int) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, value, 1, 0), _instruction(_RETURN, verdict)]


def _on_argument(number: int, argument: int, steps: list[bytes]) -> list[bytes]:
    """Judge one argument of one system call; the call is allowed where no step ends it."""
    load = _instruction(_LOAD, _ARGUMENTS + 8 * argument)
    body = [load, *steps, _instruction(_RETURN, _ALLOW)]
    return [_instruction(_JUMP_EQUAL, number, 0, len(body)), *body]
