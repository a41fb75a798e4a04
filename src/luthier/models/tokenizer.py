"""Train a byte-level BPE tokenizer with ChatML control tokens.

The pre-tokenizer (digits one by one, then the GPT-2 pattern) is one that llama.cpp knows as "smollm", so a
model with this tokenizer converts to GGUF. Digits are single tokens because numbers are what small
specialists most often get wrong. This file knows nothing of models.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from luthier.chat.templates import load_family
from luthier.config import Config

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"


class TokenizerConfig(Config):
    """What a tokenizer is learnt from, and its size. `data`: JSONL files with a `text` field."""

    data: list[str] = Field(min_length=1)
    vocab_size: int = Field(ge=300)
    context_length: int = Field(ge=2)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, context_length: int) -> Any:
    """A `PreTrainedTokenizerFast` of `vocab_size` tokens, learnt from `texts`, with the ChatML template.

    Ids 0, 1, 2 are end of text, start of turn, end of turn. The end-of-text token also pads.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START, TURN_END],
        chat_template=load_family("chatml").template,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )
