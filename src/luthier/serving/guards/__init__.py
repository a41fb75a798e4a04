"""What may be asked and what may be said: small policies that allow, flag, redact or refuse.

Each guard is one function in one file; a policy (YAML) says which of them look and what follows. They are fast and
weak: forms and words, no understanding. How often they are wrong, either way, is measured by `luthier guard test`.
"""

from luthier.serving.guards.guard import Action, Guard, Hit, Seen
from luthier.serving.guards.guard_set import GuardSet, GuardVerdict
from luthier.serving.guards.policy import GuardPolicy, load_guard_policy, load_guards

__all__ = [
    "Action",
    "Guard",
    "GuardPolicy",
    "GuardSet",
    "GuardVerdict",
    "Hit",
    "Seen",
    "load_guard_policy",
    "load_guards",
]
