"""Models and rows for benchmarks of training: the shapes of known models with random weights, rows of known lengths.

A token is one character: the tokenizer knows each of its own, so a text of n characters is n tokens, and every trainer
that reads the same file trains on the same ids. Knows nothing of trainers.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_CONTROL = ["<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
_ASCII = [chr(code) for code in range(32, 127)]
_FIRST_CHARACTER = 0x20000  # a plane of more than 40,000 letters of one code point each
_NUM_CHARACTERS = 40_000
_TEMPLATE = (
    "{%- for message in messages -%}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)

Random = np.random.Generator
Row = dict[str, Any]

SHAPES: dict[str, dict[str, Any]] = {
    "smollm-135m": {
        "model_type": "llama",
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3",
        "num_hidden_layers": 28,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "llama-3b": {
        "model_type": "llama",
        "num_hidden_layers": 28,
        "hidden_size": 3072,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
}


def model_folder(shape: str, folder: Path, *, dtype: str = "float32") -> Path:
    """A model of that shape with random weights (seed 0) and its tokenizer, written once."""
    if (folder / "tokenizer.json").exists():
        return folder
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"max_position_embeddings": 2048, "bos_token_id": None, "eos_token_id": 4, "pad_token_id": 0}
    config = AutoConfig.for_model(**SHAPES[shape], **sizes)
    AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@functools.cache
def tokenizer() -> Any:
    """A token for each character of its own, and the control tokens of the template."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = [*_CONTROL, *_ASCII, *_characters(np.arange(_NUM_CHARACTERS))]
    backend = Tokenizer(models.WordLevel({text: number for number, text in enumerate(known)}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _CONTROL])
    told = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )
    told.chat_template = _TEMPLATE
    return told


def _characters(numbers: Any) -> str:
    return "".join(chr(_FIRST_CHARACTER + int(number)) for number in numbers)


def _text(random: Random, count: int) -> str:
    return _characters(random.integers(0, _NUM_CHARACTERS, count))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def shared_system_prompt(random: Random, num_rows: int) -> list[Row]:
    """A system prompt of 150 tokens that all rows share, a question of 20-60, an answer of 30-90."""
    system = _turn("system", _text(random, 148))  # and two control tokens, as every turn has
    return [
        {
            "prompt": [system, _turn("user", _text(random, random.integers(18, 59)))],
            "completion": [_turn("assistant", _text(random, random.integers(28, 89)))],
        }
        for _ in range(num_rows)
    ]


def preferences(random: Random, num_rows: int) -> list[Row]:
    """A prompt of 200 tokens of its own in every row, two answers of 60."""
    return [
        {
            "prompt": [_turn("user", _text(random, 198))],
            "chosen": [_turn("assistant", _text(random, 58))],
            "rejected": [_turn("assistant", _text(random, 58))],
        }
        for _ in range(num_rows)
    ]


def nothing_shared(random: Random, num_rows: int) -> list[Row]:
    """Rows of 40-400 tokens, the second half of each is the answer."""
    halves = [int(random.integers(20, 201)) for _ in range(num_rows)]
    return [
        {
            "prompt": [_turn("user", _text(random, half - 2))],
            "completion": [_turn("assistant", _text(random, half - 2))],
        }
        for half in halves
    ]


@dataclass(frozen=True)
class Job:
    """One line of the table: its rows, and how many make a step. `epochs` > 1 goes over the rows again.

    top_layers: how many layers train, or None for all. targets: the least tokens/s and the most memory, as shares of
    the best peer's, that the project has set itself.
    """

    name: str
    told: str
    objective: str
    rows: Callable[[Random, int], list[Row]]
    batch_size: int
    num_steps: int
    targets: tuple[float, float]
    epochs: int = 1
    top_layers: int | None = None

    @property
    def num_rows(self) -> int:
        return self.batch_size * self.num_steps // self.epochs


JOBS = {
    job.name: job
    for job in (
        Job(
            "shared",
            "LoRA r16, all layers, 150-token system prompt",
            "sft",
            shared_system_prompt,
            8,
            4,
            (4.0, 0.35),
        ),
        Job(
            "top",
            "the same, top 8 layers, 3 epochs",
            "sft",
            shared_system_prompt,
            8,
            9,
            (8.0, 0.4),
            epochs=3,
            top_layers=8,
        ),
        Job(
            "dpo",
            "DPO, LoRA r16, 200-token prompts, 2 x 60-token answers",
            "dpo",
            preferences,
            8,
            4,
            (3.0, 0.5),
        ),
        Job(
            "unshared",
            "LoRA r16, nothing shared, 40-400 tokens, half supervised",
            "sft",
            nothing_shared,
            16,
            4,
            (2.5, 0.5),
        ),
    )
}


def write_rows(job: Job, file: Path, seed: int = 0) -> Path:
    """The job's rows as JSON lines."""
    rows = job.rows(np.random.default_rng(seed), job.num_rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
