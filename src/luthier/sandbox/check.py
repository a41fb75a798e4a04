"""Attack the wall and see what gets through: each attack with bait of its own, and the machine is asked afterwards.

An attack is held where the program says so, its outcome is one that is allowed, and the bait is untouched: nothing
arrived at a listener, the secret is as it was, the victim lives, no process is left. `findings` is the whole suite.
Knows nothing of tables.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import SandboxError
from luthier.sandbox.attack_programs import program_of
from luthier.sandbox.attacks import Attack
from luthier.sandbox.run import run_at
from luthier.sandbox.words import Execution, Level, Limits, Outcome

LIMITS = Limits(
    timeout_seconds=20,
    max_memory_bytes=256 * 2**20,
    max_processes=24,
    max_output_bytes=2**16,
    max_workspace_bytes=16 * 2**20,
    max_files=1000,
)
_SHORT_SECONDS = 1.5
_GRACE_SECONDS = 5.0
_MAIN = """import json, sys
import attacks
try:
    got = getattr(attacks, sys.argv[1])(json.loads(sys.argv[2]))
    said = f"through: {got}" if got else "held"
except (OSError, RuntimeError, ValueError) as error:
    said = f"held: {error}"
sys.stdout.write(said + "\\n")
"""
_SECRET_VARIABLE = "LUTHIER_SANDBOX_BAIT"


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack's end. `word` is held, through, or open (through, and not promised at this level)."""

    attack: Attack
    word: str
    evidence: str
    execution: Execution


def findings(level: Level, attacks: Iterable[Attack], *, num_workers: int = 2) -> list[Finding]:
    """Every attack at this level, in their order. Raises SandboxError where the wall cannot be put up at all."""
    secret = secrets.token_hex(8)
    os.environ[_SECRET_VARIABLE] = secret
    try:
        with ThreadPoolExecutor(num_workers) as pool:
            return list(pool.map(lambda attack: run_attack(level, attack, secret), attacks))
    finally:
        del os.environ[_SECRET_VARIABLE]


def run_attack(level: Level, attack: Attack, secret: str) -> Finding:
    """One attack with its own bait."""
    times_out = Outcome.TIMED_OUT in attack.outcomes
    limits = _with_timeout(_SHORT_SECONDS) if times_out else LIMITS
    source = program_of(attack.name).read_bytes()
    with _Bait.laid(secret) as bait:
        execution = run_at(
            level,
            [sys.executable, "main.py", attack.name, json.dumps(bait.told)],
            files={"main.py": _MAIN.encode(), "attacks.py": source},
            limits=limits,
        )
        evidence = _evidence(attack, execution, limits) or bait.touched()
    word = "held" if not evidence else "open" if level in attack.open_at else "through"
    return Finding(attack, word, evidence or _words(execution), execution)


def _evidence(attack: Attack, execution: Execution, limits: Limits) -> str:
    """What shows that it got through; empty where nothing does."""
    if "through: " in execution.stdout:
        return execution.stdout.strip().removeprefix("through: ")
    if attack.outcomes and execution.outcome not in attack.outcomes:
        wanted = " or ".join(attack.outcomes)
        return f"expected {wanted}, got {_words(execution)}: {execution.stderr.strip()[-200:]}"
    if execution.seconds > limits.timeout_seconds + _GRACE_SECONDS:
        return f"it ended after {execution.seconds:.1f} s"
    if not attack.outcomes and execution.outcome in (Outcome.TIMED_OUT, Outcome.FAILED):
        return f"it could not be tried: {_words(execution)} {execution.stderr.strip()[-200:]}"
    return "" if len(execution.stdout) <= limits.max_output_bytes else "too much output"


def _words(execution: Execution) -> str:
    said = execution.stdout.strip()
    said = said.removeprefix("held: ") if said.startswith("held: ") else ""
    return f"{execution.outcome.value}: {said or execution.reason}".rstrip(": ")


def _with_timeout(seconds: float) -> Limits:
    values = {name: getattr(LIMITS, name) for name in LIMITS.__slots__}
    return Limits(**{**values, "timeout_seconds": seconds})


class _Bait:
    """What must not be reached, laid out where an ordinary program of this user would reach it."""

    def __init__(self, folder: Path, secret: str, stack: ExitStack) -> None:
        self.secret_file = folder / "secret.txt"
        self.secret_file.write_text(secret)
        self.secret_file.chmod(0o666)
        self.folder = folder
        self.mode = self.secret_file.stat().st_mode
        token = secrets.token_hex(8)
        self.tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract.bind("\0" + token)
        self.file = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.file.bind(str(folder / "socket"))
        os.chmod(folder / "socket", 0o777)
        for listener in (self.abstract, self.file):
            listener.listen()
        for receiver in (self.tcp, self.udp, self.abstract, self.file):
            receiver.setblocking(False)
        self.names = set(os.listdir(folder))
        self.victim = stack.enter_context(subprocess.Popen(["sleep", "300.5"]))
        stack.callback(self.victim.kill)
        self.token = token
        home = Path.home()
        self.told: dict[str, Any] = {
            **{name: getattr(LIMITS, name) for name in LIMITS.__slots__},
            "secret": str(self.secret_file),
            "folder": str(folder),
            "project_file": str(Path(__file__).parents[1] / "errors.py"),
            "home": str(home),
            "home_entry": _any_entry(home),
            "token": token,
            "secret_word": secret,
            "victim": self.victim.pid,
            "victim_word": "300.5",
            "checker": os.getpid(),
            "tcp_port": self.tcp.getsockname()[1],
            "udp_port": self.udp.getsockname()[1],
            "abstract_name": token,
            "socket_file": str(folder / "socket"),
        }

    @classmethod
    @contextmanager
    def laid(cls, secret: str) -> Iterator["_Bait"]:
        folder = Path(tempfile.mkdtemp(prefix="luthier-bait-"))
        try:
            folder.chmod(0o777)
            with ExitStack() as stack:
                yield cls(folder, secret, stack)
        finally:
            shutil.rmtree(folder)

    def touched(self) -> str:
        """What was done to it; empty where nothing was."""
        for name in ("tcp", "udp", "abstract", "file"):
            receiver = getattr(self, name)
            try:
                _ = receiver.recv(9) if name == "udp" else receiver.accept()[0].close()
            except BlockingIOError:
                continue
            return f"the {name} listener was reached"
        if self.victim.poll() is not None:
            return "a process of the machine was killed"
        if (
            self.secret_file.read_text() != self.told["secret_word"]
            or self.secret_file.stat().st_mode != self.mode
        ):
            return "a file outside was changed"
        if set(os.listdir(self.folder)) != self.names:
            return "a file was made outside"
        return "a process was left behind" if _is_running(self.token) else ""


def _any_entry(home: Path) -> str:
    try:
        return next(iter(sorted(os.listdir(home))), "")
    except OSError:
        return ""


def _is_running(token: str) -> bool:
    """Whether a process has this word as an argument (as every attack has); the checker itself has not."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if token.encode() in Path(entry.path, "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False


def require_no_hole(found: Iterable[Finding]) -> None:
    """Raises SandboxError that names the first attack which got through."""
    for finding in found:
        if finding.word == "through":
            raise SandboxError(f"{finding.attack.name} got through: {finding.evidence}")
