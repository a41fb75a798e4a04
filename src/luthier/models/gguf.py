"""A GGUF file as a model that answers, through llama.cpp: its own tokenizer, template and stop ids, decoded greedily.

Only the template writes control tokens, as in `chat`: what a turn quotes is tokenised as text.
Needs llama-cpp-python (extra `llamacpp`), imported when a file is opened. Knows nothing of how files are made.
"""

import ctypes
import os
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.chat.controls import any_of, map_strings
from luthier.chat.messages import Conversation
from luthier.errors import DataError, ModelError, TemplateError
from luthier.models.file_headers import check_gguf

_F32 = 0
_PRIVATE_USE = 0xF0000


@lru_cache
def llama_cpp() -> Any:
    """The llama_cpp package, silent but for errors. Raises ModelError with the command that installs it."""
    try:
        import llama_cpp
    except ImportError as error:
        raise ModelError(
            "GGUF files are run by llama-cpp-python, which is not installed: pip install 'luthier[llamacpp]' "
            "(it is compiled on the way: minutes, and a C++ compiler)"
        ) from error
    silent = llama_cpp.llama_log_callback(_ignore)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.luthier_log = silent  # llama.cpp keeps only the address
    return llama_cpp


def _ignore(level: int, text: bytes, data: Any) -> None:
    """llama.cpp speaks while it loads; what goes wrong comes back as a return code."""


def _free(owned: list[tuple[Any, Any]]) -> None:
    """Free a context before its model."""
    while owned:
        free, handle = owned.pop()
        free(handle)


class GgufVocabulary:
    """The tokenizer of a GGUF file; weights are not loaded. Raises ModelError for a file that cannot be read."""

    def __init__(self, path: str | Path, *, vocabulary_only: bool = True) -> None:
        self.path = Path(path)
        check_gguf(self.path)
        self._lib = llama_cpp()
        params = self._lib.llama_model_default_params()
        params.vocab_only = vocabulary_only
        self._model = self._lib.llama_model_load_from_file(os.fsencode(self.path), params)
        if not self._model:
            raise ModelError(
                f"{self.path}: llama.cpp cannot load this file: it is no GGUF, cut short, or of an architecture that "
                "this version of llama.cpp does not know"
            )
        self._owned: list[tuple[Any, Any]] = [(self._lib.llama_model_free, self._model)]
        self.close = weakref.finalize(self, _free, self._owned)
        """Gives the memory back; the object cannot be used after it."""
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self.num_tokens = int(self._lib.llama_vocab_n_tokens(self._vocab))

    def tokenize(self, text: str, *, control_tokens: bool = False) -> list[int]:
        """Ids of a text, none added around it. With `control_tokens` their strings become their ids."""
        data = text.encode("utf-8")
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), room, len(room), False, control_tokens)
        return list(room[:count])

    def token_text(self, token_id: int) -> str:
        """One token as it stands in the file."""
        return str(self._lib.llama_vocab_get_text(self._vocab, token_id).decode("utf-8"))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out."""
        given = (ctypes.c_int32 * len(ids))(*ids)
        size = 16 * len(ids) + 64
        while True:
            room = ctypes.create_string_buffer(size)
            count = self._lib.llama_detokenize(self._vocab, given, len(ids), room, size, False, True)
            if count >= 0:
                return room.raw[:count].decode("utf-8", "replace")
            size = -count

    @cached_property
    def control_ids(self) -> dict[str, int]:
        """The strings of the control tokens."""
        ids = range(self.num_tokens)
        return {self.token_text(i): i for i in ids if self._lib.llama_vocab_is_control(self._vocab, i)}

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: the end of turn first."""
        eot, eos = (int(f(self._vocab)) for f in (self._lib.llama_vocab_eot, self._lib.llama_vocab_eos))
        ends = [i for i in range(self.num_tokens) if self._lib.llama_vocab_is_eog(self._vocab, i)]
        first = [i for i in (eot, eos) if i >= 0]
        return tuple(dict.fromkeys([*first, *ends]))

    @cached_property
    def chat_template(self) -> str | None:
        """The Jinja text inside the file."""
        found = self._lib.llama_model_chat_template(self._model, None)
        return found.decode("utf-8") if found else None

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        """The conversation and the generation prompt, by the file's own template; BOS where the file asks for it.

        Raises TemplateError where the file has none or it cannot render this conversation.
        """
        names = {text: chr(_PRIVATE_USE + i) for i, text in enumerate(self.control_ids)}
        quoted = any_of(names)
        hidden = map_strings(
            [message.to_dict() for message in conversation.messages],
            lambda text: quoted.sub(lambda found: names[found[0]], text),
        )
        text = self._rendered(hidden, conversation.tools)
        strings = {name: string for string, name in names.items()}
        ids: list[int] = []
        for piece in re.split(f"({quoted.pattern})", text) if names else [text]:
            if piece in self.control_ids:
                ids.append(self.control_ids[piece])
            elif piece:
                plain = any_of(strings).sub(lambda found: strings[found[0]], piece)
                ids += self.tokenize(plain)
        return self._with_bos(ids)

    def _with_bos(self, ids: list[int]) -> list[int]:
        """llama.cpp's programs begin every prompt with BOS where the file asks for it, and write it once."""
        bos = int(self._lib.llama_vocab_bos(self._vocab))
        wanted = bos >= 0 and bool(self._lib.llama_vocab_get_add_bos(self._vocab))
        return [bos, *ids] if wanted and ids[:1] != [bos] else ids

    def _rendered(self, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
        import jinja2
        from transformers.utils.chat_template_utils import render_jinja_template

        if not self.chat_template:
            raise TemplateError(f"{self.path}: the file holds no chat template")
        special = {
            f"{name}_token": self.token_text(token_id)
            for name, token_id in (
                ("bos", int(self._lib.llama_vocab_bos(self._vocab))),
                ("eos", int(self._lib.llama_vocab_eos(self._vocab))),
            )
            if token_id >= 0
        }
        try:
            texts, _ = render_jinja_template(
                [messages],
                tools=[dict(tool) for tool in tools] or None,
                chat_template=self.chat_template,
                add_generation_prompt=True,
                **special,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            raise TemplateError(
                f"{self.path}: its template cannot render this conversation: {error}"
            ) from error
        return str(texts[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class GgufContext(GgufVocabulary):
    """The weights of a GGUF file, and one context to compute in.

    `context_length`: positions of each sequence; 0 for what the file says. `num_sequences`: with a memory of their own
    each. `block`: tokens that are computed at once; llama.cpp's number where it is not given. `num_threads`: torch's
    number where it is not given (llama.cpp's threads wait in a loop: more than cores are slow).
    Keys and values are kept in float32 and attention is the plain one, so that a float32 file computes in float32.
    Raises ModelError for a file that cannot be loaded, or a context that has no room.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        context_length: int = 0,
        num_sequences: int = 1,
        block: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, vocabulary_only=False)
        self.name = str(path)
        trained = int(self._lib.llama_model_n_ctx_train(self._model))
        self.context_length = min(context_length, trained) if context_length else trained
        params = self._lib.llama_context_default_params()
        params.n_ctx = self.context_length * num_sequences
        params.n_seq_max = num_sequences
        params.swa_full = num_sequences > 1
        if block is not None:
            params.n_batch = params.n_ubatch = block
        params.type_k = params.type_v = _F32
        params.flash_attn_type = 0
        params.n_threads = params.n_threads_batch = num_threads or torch.get_num_threads()
        self._context = self._lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise ModelError(
                f"{path}: llama.cpp has no memory for {num_sequences} contexts of {self.context_length} "
                "tokens"
            )
        self._owned.append((self._lib.llama_free, self._context))
        self._memory = self._lib.llama_get_memory(self._context)
        self._block = int(self._lib.llama_n_batch(self._context))

    def load_adapter(self, adapter: Path) -> Any:
        """A LoRA as GGUF, ready to be laid over the weights. Raises ModelError where it does not fit them."""
        if adapter.is_file():
            check_gguf(adapter)
            loaded = self._lib.llama_adapter_lora_init(self._model, os.fsencode(adapter))
        else:
            loaded = None
        if not loaded:
            raise ModelError(
                f"{adapter}: llama.cpp cannot lay this adapter over {self.path}: is it the same base?"
            )
        return loaded  # the model owns its adapters and frees them

    def use_adapter(self, adapter: Any | None, scale: float = 1.0) -> None:
        """What is computed from now on is computed with this adapter, or with none."""
        count = 0 if adapter is None else 1
        adapters = (self._lib.llama_adapter_lora_p_ctypes * 1)(adapter)
        scales = (ctypes.c_float * 1)(scale)
        if self._lib.llama_set_adapters_lora(self._context, adapters, count, scales) != 0:
            raise ModelError(f"{self.path}: llama.cpp refuses an adapter that it has loaded")


class GgufModel(GgufContext):
    """A GGUF file that answers, one prompt at a time.

    `adapter`: a LoRA as GGUF laid over it. `context_length`: positions to make room for; 0 for what the file says.
    Raises ModelError for files that cannot be loaded or do not fit each other.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        adapter: str | Path | None = None,
        adapter_scale: float = 1.0,
        context_length: int = 0,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, context_length=context_length, num_threads=num_threads)
        if adapter is not None:
            self.use_adapter(self.load_adapter(Path(adapter)), adapter_scale)

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits that each position gives for the next token, shape (len(ids), vocabulary)."""
        self._forget()
        return np.concatenate(
            [
                self._decode(ids[start : start + self._block], start, every=True)
                for start in range(0, len(ids), self._block)
            ]
        )

    def generate(
        self,
        ids: Sequence[int],
        max_new_tokens: int,
        choose: Callable[[NDArray[np.float32]], int] = lambda logits_V: int(logits_V.argmax()),
    ) -> list[int]:
        """The continuation, with the stop id where one came; it also ends where the context is full.

        `choose`: the next token from its logits, shape (vocabulary,); greedy unless told otherwise.
        """
        self._forget()
        for start in range(0, len(ids), self._block):
            last_V = self._decode(ids[start : start + self._block], start, every=False)[-1]
        answer: list[int] = []
        while len(answer) < min(max_new_tokens, self.context_length - len(ids)):
            answer.append(choose(last_V))
            if answer[-1] in self.stop_ids:
                break
            if len(answer) < max_new_tokens and len(ids) + len(answer) < self.context_length:
                last_V = self._decode(answer[-1:], len(ids) + len(answer) - 1, every=False)[-1]
        return answer

    def _forget(self) -> None:
        self._lib.llama_memory_clear(self._memory, True)

    def _decode(self, ids: Sequence[int], start: int, *, every: bool) -> NDArray[np.float32]:
        """Logits of every position of one block, or of its last; shape (positions, vocabulary)."""
        if not ids or start + len(ids) > self.context_length:
            raise DataError(
                f"{self.path}: {start + len(ids)} tokens; the context holds 1 to {self.context_length}"
            )
        batch = self._lib.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(token), start + i, 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = every or i == len(ids) - 1
            if self._lib.llama_decode(self._context, batch) != 0:
                raise ModelError(
                    f"{self.path}: llama.cpp cannot compute {len(ids)} tokens at position {start}"
                )
        finally:
            self._lib.llama_batch_free(batch)
        rows = len(ids) if every else 1
        logits = self._lib.llama_get_logits(self._context)
        found = np.ctypeslib.as_array(logits, shape=(rows, self.num_tokens))
        return np.array(found, dtype=np.float32)
