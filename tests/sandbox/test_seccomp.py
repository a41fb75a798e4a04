"""The filter's bytes, followed by a small interpreter of BPF for both architectures."""

import errno
import struct

import pytest

from luthier.sandbox.seccomp import AUDIT_ARCH, MACHINES, OWNERS_CALLS, REFUSED, build_filter

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS, 0x80000000


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int:
    data = struct.pack("=IIQ6Q", number, arch, 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    at, word = 0, 0
    while True:
        code, yes, no, value = steps[at]
        if code == 0x06:
            return int(value)
        if code == 0x20:
            word = struct.unpack_from("=I", data, value)[0]
        else:
            true = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[code]
            at += yes if true else no
        at += 1


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_refused_and_what_is_allowed(machine: str) -> None:
    program, arch, column = build_filter(machine), AUDIT_ARCH[machine], MACHINES.index(machine)
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            assert verdict(program, arch, number) == EPERM
    for numbers in OWNERS_CALLS.values():
        if (number := numbers[column]) is not None:
            assert verdict(program, arch, number) == ALLOW
    clone, clone3, socket, ioctl, prlimit = ((56, 435, 41, 16, 302), (220, 435, 198, 29, 261))[column]
    assert verdict(program, arch, clone, 0x11) == ALLOW
    assert verdict(program, arch, clone, 0x10000011) == EPERM
    assert verdict(program, arch, clone3) == ENOSYS
    assert [verdict(program, arch, socket, family) for family in (1, 2, 10)] == [ALLOW] * 3
    assert [verdict(program, arch, socket, family) for family in (16, 17, 40)] == [EPERM] * 3
    assert verdict(program, arch, ioctl, 0, 0x5412) == EPERM
    assert verdict(program, arch, ioctl, 0, 0x5401) == ALLOW
    assert verdict(program, arch, prlimit, 0) == ALLOW
    assert verdict(program, arch, prlimit, 1) == EPERM
    assert verdict(program, arch, 1000) == ENOSYS
    assert verdict(program, 0x40000003, 1) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_the_narrow_filter(machine: str) -> None:
    program = build_filter(machine, sockets=False, owners_calls=False)
    column = MACHINES.index(machine)
    assert verdict(program, AUDIT_ARCH[machine], (41, 198)[column], 1) == EPERM
    for numbers in OWNERS_CALLS.values():
        if (number := numbers[column]) is not None:
            assert verdict(program, AUDIT_ARCH[machine], number) == EPERM


def test_another_machine_has_no_filter() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        build_filter("riscv64")
