"""How an upstream wants to be asked, found by asking it: ids or text, what it adds, which settings it knows.

The specialist's template rules, so an upstream must continue exactly the tokens that it is given. Two short questions
and the number of prompt tokens that it reports show whether it does. Knows nothing of answers that people wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.errors import ServingError
from luthier.models.generate import Sampling
from luthier.serving.engines.engine import Unavailable

if TYPE_CHECKING:
    import openai

_OWNERS = {"vllm": "vllm", "llamacpp": "llama-server", "me": "llama_cpp.server", "luthier": "luthier"}
"""What servers call themselves as owners of their models."""
_PENALTY = {
    "vllm": "repetition_penalty",
    "luthier": "repetition_penalty",
    "llama-server": "repeat_penalty",
    "llama_cpp.server": "repeat_penalty",
}
"""Servers that are known to take a penalty, its name there, and top_k; all have defaults that are not neutral."""
_NO_COMPLETIONS = (
    "{url} has no /v1/completions, so only messages could be sent to it: its own template would replace the "
    "specialist's, and the answers would not be those of the model that was tested. Choose a server that continues raw "
    "prompts (vLLM, llama-server, llama_cpp.server)"
)


@dataclass(frozen=True)
class Manner:
    """How an upstream is asked.

    server: which it is, or `unknown`. takes_ids: token ids; else text. adds_bos: it puts the first token before a text
    by itself. models: the names it lists, empty where it lists none.
    """

    server: str
    takes_ids: bool
    adds_bos: bool
    models: tuple[str, ...]

    def describe(self) -> str:
        """One line for the log."""
        how = "token ids" if self.takes_ids else "text with control tokens"
        return f"{how}{', its first token left to the server' if self.adds_bos else ''} ({self.server})"

    def prompt(self, tokenizer: Any, ids: Sequence[int]) -> list[int] | str:
        """The prompt as it is sent. Raises ServingError where the upstream would continue other tokens."""
        if self.takes_ids:
            return list(ids)
        if self.adds_bos:
            if ids[0] != tokenizer.bos_token_id:
                raise ServingError(
                    "the upstream puts a first token before every text, and this prompt has none: it would continue "
                    "other tokens than the specialist learnt. Choose a server that takes token ids"
                )
            ids = ids[1:]
        text = as_text(tokenizer, ids)
        if tokenizer.encode(text, add_special_tokens=False) != list(ids):
            raise ServingError(
                "the upstream takes text alone, and would read other tokens in this prompt than the specialist's "
                "template wrote: a message that quotes a control token would become that token. Choose a server that "
                "takes token ids (vLLM, llama-server)"
            )
        return text

    def settings(
        self, sampling: Sampling, stop_ids: frozenset[int], stop_texts: Sequence[str]
    ) -> dict[str, Any]:
        """The fields of a request beside the prompt. Raises ServingError for a setting that would be ignored."""
        extra: dict[str, Any] = {}
        if self.server in _PENALTY:  # always, because a server's own default may be another one
            extra = {"top_k": sampling.top_k, _PENALTY[self.server]: sampling.repetition_penalty}
            if self.server != "luthier":
                extra["min_p"] = 0.0
        elif sampling.top_k or sampling.repetition_penalty != 1.0:
            raise ServingError(
                f"top_k = {sampling.top_k}, repetition_penalty = {sampling.repetition_penalty}: this upstream is not "
                "known to take them and would ignore them; leave them out of the specialist's sampling, or choose "
                "vLLM or llama-server"
            )
        if self.server == "vllm":
            extra |= {
                "stop_token_ids": sorted(stop_ids),
                "skip_special_tokens": False,
                "return_token_ids": True,
            }
        return {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed % 2**31,
            "stop": list(stop_texts),
            "extra_body": extra,
        }


def as_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """Ids as text, control tokens written out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


async def find_manner(client: openai.AsyncOpenAI, model: str, tokenizer: Any) -> Manner:
    """Ask an upstream two short questions.

    Raises Unavailable where it cannot be reached, ServingError where it cannot continue a prompt as it stands.
    """
    server, models = await _listed(client)
    control = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    first = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    words = tokenizer.encode("What is it?", add_special_tokens=False)
    ids = [*first, *words, *control, *words]
    counted = await _num_prompt_tokens(client, model, ids)
    if counted == len(ids):
        return Manner(server, True, False, models)
    counted = await _num_prompt_tokens(client, model, as_text(tokenizer, ids[len(first) :]))
    plain = len(ids) - len(first)
    if counted not in (plain, plain + 1):
        raise ServingError(
            f"{client.base_url}: a prompt of {plain} tokens was sent, and the upstream counts {counted or 'none'}: it "
            "wraps prompts into a template of its own, reads control tokens as plain text, has another tokenizer, or "
            "does not count. (In Ollama, a model continues raw prompts with TEMPLATE {{ .Prompt }} in its Modelfile.)"
        )
    return Manner(server, False, counted == plain + 1, models)


async def _listed(client: openai.AsyncOpenAI) -> tuple[str, tuple[str, ...]]:
    """(which server it is, the models that it names)."""
    import openai

    try:
        listed = getattr(await client.models.list(), "data", None) or []
    except openai.APIConnectionError as error:
        raise Unavailable(f"{client.base_url}: cannot connect: {error.__cause__ or error}") from error
    except openai.APIStatusError as error:
        if error.status_code >= 500:
            raise Unavailable(f"{client.base_url}: status {error.status_code}") from error
        return "unknown", ()
    owners = [str(getattr(model, "owned_by", "")) for model in listed]
    return next((_OWNERS[owner] for owner in owners if owner in _OWNERS), "unknown"), tuple(
        model.id for model in listed
    )


async def _num_prompt_tokens(client: openai.AsyncOpenAI, model: str, prompt: Any) -> int | None:
    """What the upstream counts; None where it refuses such a prompt or does not count."""
    import openai

    try:
        answer = await client.completions.create(model=model, prompt=prompt, max_tokens=1, temperature=0)
    except openai.APIConnectionError as error:
        raise Unavailable(f"{client.base_url}: cannot connect: {error.__cause__ or error}") from error
    except openai.APIStatusError as error:
        if error.status_code in (404, 405) and "model" not in error.response.text:
            raise ServingError(_NO_COMPLETIONS.format(url=client.base_url)) from error
        if error.status_code in (401, 403, 404, 429, 503):
            said = " ".join(error.response.text.split())[:300]
            raise Unavailable(f"{client.base_url}: status {error.status_code}: {said}") from error
        return None
    return answer.usage.prompt_tokens if answer.usage is not None else None
