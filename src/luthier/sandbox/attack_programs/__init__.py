"""What a program behind the wall tries, one function per attack; a file for each kind of aim.

A function returns what it got, in words, where it got through, and "" or an OSError where it was held. `bait` says
where the things are that must not be reached: a secret file, listeners, a process of the machine's user. Every
attack is bounded: without a wall it does no harm beyond its bait. Knows nothing of how the programs are run.
"""

from pathlib import Path

from luthier.sandbox.attack_programs import kernel, outside, resources


def program_of(name: str) -> Path:
    """The file that holds an attack's function. Raises KeyError where none does."""
    for module in (outside, kernel, resources):
        if callable(getattr(module, name, None)):
            return Path(str(module.__file__))
    raise KeyError(name)
