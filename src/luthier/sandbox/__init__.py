"""Untrusted code behind a wall: what a model wrote is run without network, files or time to spare.

execute.execute        one program -> Execution: an outcome that is a word, output, seconds, the wall's level
candidate.run_tests    a candidate and its tests -> the same; execute.execute_many runs a list with bounded workers
levels.find_level      which wall holds on this machine, found by attacking it
check.check_wall       every attack of attacks.py against the wall (`luthier sandbox check`)

A process sandbox, not a virtual machine: docs/security.md says what it does not stop.
This room imports only luthier.errors and the standard library; a part of it (inside, seccomp, landlock, kernel,
words) runs behind the wall itself, so nothing is imported here.
"""
