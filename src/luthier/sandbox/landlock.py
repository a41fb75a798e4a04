"""Landlock: which files this process and its children may reach, by the kernel's own rules, through ctypes.

Handles what the running kernel's version knows: files from version 1, TCP from 4, device ioctls from 5, abstract
unix sockets and signals to the outside from 6. Never covered: stat(), chmod and its like, UDP.
Source: linux/landlock.h. Knows nothing of namespaces and seccomp.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

from luthier.sandbox.kernel import no_new_privileges, system_call

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_QUESTION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK = 3  # bind and connect TCP
_SCOPED = 3  # abstract unix sockets, signals
_ONLY_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE


def version() -> int:
    """The kernel's Landlock version; 0 where it has none or it is switched off."""
    try:
        return system_call("landlock_create_ruleset", _CREATE, 0, 0, _VERSION_QUESTION)
    except OSError:
        return 0


def restrict(*, read: Iterable[str], write: Iterable[str]) -> None:
    """From here on: read and execute below `read`, everything below `write`, nothing else; no way back.

    A path that does not exist is left out. Raises OSError where the kernel has no Landlock.
    """
    known = version()
    if known < 1:
        raise OSError("the kernel has no Landlock, or it is switched off")
    files = _ALL_BY_VERSION[min(known, 5)]
    attributes = struct.pack("=QQQ", files, _NETWORK if known >= 4 else 0, _SCOPED if known >= 6 else 0)
    size = 8 if known < 4 else 16 if known < 6 else 24
    ruleset = system_call("landlock_create_ruleset", _CREATE, attributes, size, 0)
    try:
        for path in read:
            _allow(ruleset, path, files & (_EXECUTE | _READ_FILE | _READ_DIR))
        for path in write:
            _allow(ruleset, path, files)
        no_new_privileges()
        system_call("landlock_restrict_self", _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            access &= _ONLY_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, target), 12)
        system_call("landlock_add_rule", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(target)
