"""The model card that travels with a folder: what it is, what it was made of, how to ask it.

Only what is known is said. Knows nothing of how the folder was made.
"""

import json

import yaml

from luthier.export.merge_plan import describe_method
from luthier.export.shipment import Shipment


def render_card(shipment: Shipment, *, merged: bool) -> str:
    """README.md: the header that model hubs read, and a text for people."""
    source = shipment.source
    head = {
        "library_name": "transformers" if merged or source.adapter is None else "peft",
        "base_model": source.base,
        **({"license": shipment.licence} if shipment.licence else {}),
        "tags": ["luthier"],
    }
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {shipment.name}", ""]
    form = (
        "The adapter is merged into the weights."
        if merged
        else "This is the adapter alone; load it over its base."
    )
    lines += [
        f"Trained from `{source.base}`: {describe_method(source)}. {form if source.adapter else ''}".strip(),
        "",
    ]
    lines += [f"- {what}: `{one}`" for what, one in shipment.hashes.items()]
    lines += [f"- trained on: `{one}`" for one in shipment.trained_on]
    if shipment.sampling:
        lines.append(f"- sampling: `{json.dumps(dict(shipment.sampling))}`")
    if shipment.system_prompt is not None:
        fence = "`" * max(3, _longest_ticks(shipment.system_prompt) + 1)
        lines += ["", "Trained and tested with this system prompt:", "", fence, shipment.system_prompt, fence]
    licence = shipment.licence or "not said; the base has one of its own"
    return "\n".join([*lines, "", f"Licence: {licence}.", ""])


def _longest_ticks(text: str) -> int:
    return max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
