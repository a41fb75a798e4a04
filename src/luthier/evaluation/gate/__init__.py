"""The gate: a candidate against the champion -> ship, hold, reject, or not enough evidence.

policy     what has to be shown, a YAML file with a default for every key
evidence   what was measured, and the verdict
pairs      better, not worse: two models on the same items
shares     endings, forgetting, refusals, latency: the candidate's own answers
decide     evidence and policy -> verdict
gather     models and items -> evidence
judged     a judge that may decide, asked about the answers
ledger     the hash of each evaluation set at its first use
screen     a verdict for the terminal and as a page

It knows nothing of training data and of stores: what they found is handed in.
"""

from luthier.evaluation.gate.decide import evaluate_gate
from luthier.evaluation.gate.evidence import (
    AskedSet,
    Evidence,
    GateVerdict,
    Judgement,
    LeakReport,
    Outcome,
    Reason,
    RoutingReport,
    Side,
    Word,
)
from luthier.evaluation.gate.policy import Policy, load_policy, policy_yaml

__all__ = [
    "AskedSet",
    "Evidence",
    "GateVerdict",
    "Judgement",
    "LeakReport",
    "Outcome",
    "Policy",
    "Reason",
    "RoutingReport",
    "Side",
    "Word",
    "evaluate_gate",
    "load_policy",
    "policy_yaml",
]
