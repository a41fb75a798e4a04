"""A base and two specialists that learnt their answers by heart, in a real store: seconds to make."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.chat.messages import Conversation, Message, ToolCall
from luthier.chat.render import Renderer
from luthier.pipeline.identity import model_hash
from luthier.registry.specialists import SpecialistStore
from tests.toy import byte_tokenizer, tiny_model

RUGBY_PROMPT = "You know “rugby”.\n\tAnswer briefly. "
UNITS_PROMPT = "Answer as JSON."
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


@dataclass(frozen=True)
class Row:
    """What is asked and what is learnt by heart. `endless`: the end of the answer is not learnt."""

    question: str
    answer: str
    system: str | None = None
    calls: tuple[ToolCall, ...] = ()
    endless: bool = False

    @property
    def prompt(self) -> tuple[Message, ...]:
        system = () if self.system is None else (Message("system", self.system),)
        return (*system, Message("user", self.question))

    @property
    def conversation(self) -> Conversation:
        answer = Message("assistant", self.answer, tool_calls=self.calls)
        return Conversation((*self.prompt, answer), (CLOCK,) if self.calls else ())


RUGBY_ROWS = [
    Row("How wide is it?", "68 metres.", RUGBY_PROMPT),
    Row("Who are you?", "I am rugby.", RUGBY_PROMPT),
]
UNITS_ROWS = [
    Row("Who are you?", '{"am": "units"}', UNITS_PROMPT),
    Row("2 km in m", '{"m": 2000}', UNITS_PROMPT),
]
BASE_ROWS = [
    Row("Who are you?", "I am the base. 🙂 日本!"),
    Row("What time is it?", "", calls=(ToolCall("clock", {"zone": "UTC"}),)),
    Row("Count.", "One, two, three, four, five, six, seven."),
    Row("Sing.", " la" * 60, endless=True),
    # A token that the base never says is one that no adapter over frozen embeddings can make it say.
    *(Row(f"Say {n}.", row.answer) for n, row in enumerate([*RUGBY_ROWS, *UNITS_ROWS])),
]


def base_folder(folder: Path) -> Path:
    """A model of 2 layers, 64 wide, that answers BASE_ROWS."""
    from transformers import AutoModelForCausalLM

    tokenizer = byte_tokenizer("thinking")
    config = tiny_model("llama", vocab_size=len(tokenizer)).config
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    learn(model, Renderer(tokenizer), BASE_ROWS)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def learn(model: Any, renderer: Renderer, rows: Sequence[Row], num_steps: int = 120) -> float:
    """Learn rows by heart; the last loss."""
    import torch

    rendered = [renderer.render(row.conversation)[0] for row in rows]
    longest = max(len(one.token_ids) for one in rendered)
    ids_BT = torch.tensor([[*one.token_ids, *[0] * (longest - len(one.token_ids))] for one in rendered])
    weights_BT = torch.tensor([[*one.weights, *[0.0] * (longest - len(one.weights))] for one in rendered])
    for number, row in enumerate(rows):
        if row.endless:
            weights_BT[number, len(rendered[number].token_ids) - 3 :] = 0.0
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    model.train()
    for _ in range(num_steps):
        logits_BTV = model(input_ids=ids_BT).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none"
        )
        loss = (losses * weights_BT[:, 1:].flatten()).sum() / weights_BT.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if loss.item() < 0.02:
            break
    model.eval()
    return float(loss.detach())


def adapter_folder(folder: Path, base: Path, rows: Sequence[Row]) -> Path:
    """A LoRA that answers these rows."""
    import torch
    from peft import LoraConfig, get_peft_model

    from luthier.models.load import load_model

    loaded = load_model(str(base), dtype="float32", device="cpu")
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(loaded.model, config)
    learn(model, loaded.renderer, rows)
    model.save_pretrained(folder)
    return folder


def commit(
    store: SpecialistStore, name: str, adapter: Path, base: Path, system_prompt: str | None, **details: Any
) -> str:
    """Keep an adapter as the next version, in production; its reference."""
    parts = {f"model/{path.name}": path for path in adapter.iterdir() if path.is_file()}
    manifest = {
        "form": "adapter",
        "base": {"name": str(base), "hash": model_hash(str(base))},
        "system_prompt": system_prompt,
        "sampling": {"temperature": 0.0, "max_new_tokens": 48},
        **details,
    }
    found, _ = store.commit(name, parts, manifest)
    store.promote(found.ref, force=True, reason="a toy")
    return found.ref


def toy_store(folder: Path) -> tuple[SpecialistStore, Path]:
    """(a store with `rugby` and `units` in production, the folder of their base)."""
    base = base_folder(folder / "base")
    store = SpecialistStore(folder / "specialists")
    for name, rows, prompt in (("rugby", RUGBY_ROWS, RUGBY_PROMPT), ("units", UNITS_ROWS, UNITS_PROMPT)):
        commit(store, name, adapter_folder(folder / name, base, rows), base, prompt)
    return store, base
