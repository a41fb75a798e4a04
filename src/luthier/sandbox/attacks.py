"""The attacks by name: what each one is after, what has to become of it, and where the wall does not promise to hold.

Knows nothing of how they are run: check.py does that, attack_programs/ is what runs.
"""

from dataclasses import dataclass

from luthier.sandbox.words import Level, Outcome


@dataclass(frozen=True, slots=True)
class Attack:
    """`outcomes` are those that mean it was held (any, where empty). `open_at` lists levels that do not stop it."""

    name: str
    goal: str
    outcomes: tuple[Outcome, ...] = ()
    is_probe: bool = False
    open_at: tuple[Level, ...] = ()


_PROBES = {
    *(
        "tcp",
        "udp",
        "abstract_socket",
        "read_secret",
        "write_outside",
        "parents_environment",
        "signal_others",
    ),
    *("ptrace", "new_user_namespace", "fork_bomb", "memory_bomb", "become_root"),
}
_GOALS = {
    "tcp": "connect to a port of the machine",
    "udp": "send a datagram to the machine",
    "abstract_socket": "connect to an abstract unix socket",
    "socket_file": "connect to a unix socket by its file",
    "vsock": "open a channel to the host of a virtual machine",
    "raw_socket": "open a packet or netlink socket",
    "read_shadow": "read /etc/shadow",
    "read_secret": "read a file of another folder",
    "read_project": "read the project's own files",
    "list_home": "list the home folder",
    "stat_outside": "ask for the size of a file outside",
    "write_outside": "write to a file outside",
    "create_outside": "create a file outside",
    "chmod_outside": "change the mode of a file outside",
    "symbolic_link": "read outside through a symbolic link",
    "hard_link": "read outside through a hard link",
    "write_system": "write to the system, the interpreter, /dev",
    "devices": "open or make a device",
    "own_environment": "find a secret in the environment",
    "parents_environment": "find a secret in another process's environment",
    "see_processes": "see the machine's processes",
    "write_memory": "open another process's memory",
    "kernel_settings": "open kernel settings for writing",
    "signal_others": "kill a process of the machine",
    "kill_parent": "kill the parent, so that no verdict arrives",
    "limit_others": "change another process's limits",
    "leave_daemon": "leave a daemon behind (two forks, own session)",
    "ptrace": "trace a process",
    "read_others_memory": "copy another process's memory",
    "mount": "mount a file system",
    "new_user_namespace": "make a user namespace",
    "new_style_clone": "make one through clone3",
    "enter_namespace": "enter another namespace",
    "change_root": "chroot",
    "keyring": "use the kernel's keyring",
    "bpf": "load BPF",
    "io_uring": "set up io_uring",
    "perf_events": "open performance counters",
    "page_faults": "handle page faults (userfaultfd)",
    "open_by_handle": "open a file by its handle",
    "hidden_memory": "take memory that no limit counts",
    "become_root": "become root",
    "fork_bomb": "fork three times the allowed processes",
    "zombie_bomb": "leave as many zombies",
    "thread_bomb": "start as many threads",
    "memory_bomb": "take twice the memory",
    "memory_in_children": "take twice the memory in four children",
    "fill_disk": "fill the disk",
    "fill_shared_memory": "fill shared memory",
    "many_files": "make twenty times the allowed files",
    "huge_output": "print 64 MiB",
    "deep_recursion": "overflow the stack",
    "busy_loop": "compute for ever",
    "sleep": "sleep for ever",
    "ignore_signals": "ignore every signal and sleep",
    "stop_self": "stop and never go on",
    "hold_output_open": "end, with a child that keeps the output open",
    "wait_for_input": "wait for input",
}
_IN_TIME = (Outcome.TIMED_OUT,)
_OUTCOMES = {
    **dict.fromkeys(("busy_loop", "sleep", "ignore_signals", "stop_self"), _IN_TIME),
    **dict.fromkeys(("memory_bomb", "memory_in_children"), (Outcome.OUT_OF_MEMORY,)),
    "deep_recursion": (Outcome.CRASHED, Outcome.FAILED, Outcome.OUT_OF_MEMORY),
    "huge_output": (Outcome.PASSED,),
    "wait_for_input": (Outcome.PASSED,),
    "hold_output_open": (Outcome.PASSED,),
    "leave_daemon": (Outcome.PASSED,),
}
# Landlock does not cover stat(). There the kernel's limit of processes is the user's, shared with all their others.
_OPEN_AT = dict.fromkeys(("stat_outside", "fork_bomb", "zombie_bomb", "thread_bomb"), (Level.LANDLOCK,))

ATTACKS = tuple(
    Attack(name, goal, _OUTCOMES.get(name, ()), name in _PROBES, _OPEN_AT.get(name, ()))
    for name, goal in _GOALS.items()
)
