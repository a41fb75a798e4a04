"""The few system calls that Python has no function for, through ctypes. Raises OSError with the call's name.

Knows nothing of policies.
"""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    *(1, 2, 4, 8, 32),
    *(4096, 16384, 1 << 18),
)
MNT_DETACH = 2
_ATTR_READ_ONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SECCOMP_MODE_FILTER = 2
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION_3 = 0x20080522


def call(name: str, *arguments: object, where: str = "") -> int:
    """Call a function of libc by name. Raises OSError where it returns -1; `where` is for its message."""
    result = int(getattr(_libc, name)(*arguments))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name} {where}".strip() + f": {os.strerror(code)}")
    return result


def system_call(what: str, number: int, *arguments: object) -> int:
    """Make a system call by number. `what` is its name, for the error."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def prctl(option: int, *values: int) -> None:
    """prctl(2), its missing arguments 0."""
    padded = [*values, 0, 0, 0, 0][:4]
    call("prctl", ctypes.c_int(option), *(ctypes.c_ulong(value) for value in padded))


def no_new_privileges() -> None:
    """setuid programs give no rights from here on; needed before seccomp and Landlock."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(signal_number: int) -> None:
    """Get this signal when the parent dies. A change of user clears it: call afterwards."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def not_dumpable() -> None:
    """Close this process's memory to others of the same user; an exec opens it again."""
    prctl(_PR_SET_DUMPABLE, 0)


def become_subreaper() -> None:
    """Orphans among the descendants become children of this process."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_seccomp(program: bytes) -> None:
    """Put a seccomp filter (BPF bytes) on this process and all that it starts."""
    fprog = _Program(len(program) // 8, program)
    call(
        "prctl",
        ctypes.c_int(_PR_SET_SECCOMP),
        ctypes.c_ulong(_SECCOMP_MODE_FILTER),
        ctypes.byref(fprog),
        0,
        0,
    )


def drop_capabilities() -> None:
    """Give up every capability, and the chance to get one back by an exec."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except OSError:  # not known to this kernel, or already without the right to drop it
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())


def unshare(flags: int) -> None:
    """unshare(2)."""
    call("unshare", ctypes.c_int(flags))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    call(
        "mount",
        source.encode(),
        target.encode(),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
        where=target,
    )


def unmount(target: str) -> None:
    """Take a mount away; it goes when its last user does."""
    call("umount2", target.encode(), ctypes.c_int(MNT_DETACH))


def pivot_root(new: str, old: str, number: int) -> None:
    """pivot_root(2); `number` is its system call number."""
    system_call("pivot_root", number, new.encode(), old.encode())


def make_read_only(target: str, *, devices: bool = False) -> None:
    """Make a mount and all mounts below it read-only and nosuid (and nodev) at once, by mount_setattr(2)."""
    flags = _ATTR_READ_ONLY | _ATTR_NOSUID | (0 if devices else _ATTR_NODEV)
    attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    what = f"mount_setattr({target})"
    system_call(
        what, _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, ctypes.sizeof(attributes)
    )
