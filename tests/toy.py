"""Toys, not mocks: tiny real tokenizers and models, made in memory in milliseconds."""

import json
from functools import lru_cache
from typing import Any

from luthier.chat.templates import load_family

_TEXT = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps until the morning comes.",
    "What is the width of a rugby league field? It is 68 metres wide and 112 to 122 metres long.",
    "Hello there! How are you today? I am well, thank you. Please tell me what you would like to know.",
    "Write a short answer. The answer is 42, because the question asks for a number and nothing else.",
    "You are a helpful assistant who answers in plain English and says so when it does not know.",
    '{"name": "lookup", "arguments": {"city": "Leeds", "days": 3}}',
]
# Trained on one line at a time: no merge crosses a line break.


def byte_tokenizer(family: str = "chatml") -> Any:
    """A byte-level BPE tokenizer (GPT-2's kind) with the control tokens and the template of a family."""
    return _finish(_byte_json(), family)


def metaspace_tokenizer(family: str = "chatml") -> Any:
    """A SentencePiece-like BPE tokenizer (Llama 2's kind): spaces as a character, bytes as the way out."""
    return _finish(_metaspace_json(), family)


@lru_cache
def _byte_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    return str(tokenizer.to_str())


@lru_cache
def _metaspace_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = metaspace
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    config = json.loads(tokenizer.to_str())
    config["added_tokens"] = [token for token in config["added_tokens"] if token["content"] == "<unk>"]
    return json.dumps(config)


def _finish(backend_json: str, family_name: str) -> Any:
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    family = load_family(family_name)
    backend = Tokenizer.from_str(backend_json)
    backend.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in family.control_tokens]
    )
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in family.plain_tokens])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.eos,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = family.template
    return tokenizer


ARCHITECTURES = (
    "llama",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma2",
    "gemma3_text",
    "phi3",
    "gpt2",
    "smollm3",
    "granite",
    "olmo2",
)


MIXTURES = ("qwen3_moe", "mixtral")


def tiny_model(architecture: str = "llama", vocab_size: int = 512, seed: int = 0) -> Any:
    """A randomly initialised causal model: 2 layers, hidden size 32, the real transformers class, eval mode.

    Models with sliding windows have one of 8 tokens (mistral, gemma2, gemma3_text).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if architecture == "gpt2":
        sizes: dict[str, Any] = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 1024}
    else:
        sizes = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 1024,
            "pad_token_id": 0,
        }
    if architecture in ("mistral", "gemma2", "gemma3_text"):
        sizes["sliding_window"] = 8
    if architecture in ("gemma2", "gemma3_text"):
        sizes["layer_types"] = ["sliding_attention", "full_attention"]
        sizes["query_pre_attn_scalar"] = 8
    if architecture in (*MIXTURES, "qwen2_moe"):
        count = "num_local_experts" if architecture == "mixtral" else "num_experts"
        sizes |= {count: 4, "num_experts_per_tok": 2}
    if architecture in ("qwen2_moe", "qwen3_moe"):
        sizes["moe_intermediate_size"] = 16
    if architecture == "qwen2_moe":
        sizes["shared_expert_intermediate_size"] = 24
    if architecture in ("phi3", "granite", "olmo2"):
        del sizes["head_dim"]
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model(architecture, vocab_size=vocab_size, **sizes, **ends)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()
