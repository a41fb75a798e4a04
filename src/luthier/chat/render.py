"""Conversations to token ids with a weight per token, by the tokenizer's own chat template.

`Renderer.render` (training), `Renderer.prompt` (serving, evaluation) and `Renderer.parse` (what came back)
are the only way from messages to tokens and back. What is learned is found as the template means it:

- the ids of `messages[:i]` with the generation prompt begin the ids of `messages[:i+1]`; what follows,
  through the end-of-turn token, is what the model says. A template's `{% generation %}` marks narrow that;
- where all turns stand in the ids of the whole conversation as they stood when they were said, it is
  one rendering. Where not (reasoning dropped from history), each learned turn has its own;
- where an answer's first characters would merge with the end of the prompt into one token, the ids are split
  there, because a served model starts behind the prompt. Everything else is what `apply_chat_template` gives.

Knows nothing of files, batches, models or torch.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from luthier.chat.controls import ControlTokens, Encoded, Shield
from luthier.chat.marked import Span, marked_tokens
from luthier.chat.messages import Conversation, Message, ToolCall
from luthier.chat.parse import Answer, AnswerTokens, parse_answer
from luthier.chat.parts import Markup
from luthier.chat.stream import AnswerStream, PlainStream
from luthier.errors import DataError, TemplateError
from luthier.hashing import hash_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE = "zebra quince"


@dataclass(frozen=True, slots=True)
class Rendering:
    """Token ids and one weight per token: 0 is context, anything above is learned with that weight."""

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def num_supervised(self) -> int:
        """How many tokens are learned."""
        return sum(weight > 0 for weight in self.weights)


@dataclass(frozen=True, slots=True)
class _Source:
    """A conversation as the template sees it, its quoted control strings hidden behind the shield."""

    messages: tuple[Message, ...]
    dicts: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    shield: Shield | None


class Renderer:
    """The token path of one tokenizer. `template_kwargs` reach the template (`enable_thinking=False`).

    The template is rendered first when a method needs it; a base model without one can be wrapped.
    Every method raises TemplateError where the template cannot do what is asked, DataError where the
    conversation is wrong (no assistant turn, text that is not Unicode).
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", *, template_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._template_kwargs = dict(template_kwargs or {})
        self._variables = {**tokenizer.special_tokens_map, **self._template_kwargs}
        self._templates: dict[bool, str] = {}
        self._shown: dict[str, bool] = {}

    def render(self, conversation: Conversation) -> list[Rendering]:
        """One rendering, or one per learned turn where the template shows history otherwise than it was said.

        Turns after the last assistant turn are left out: nothing is learned from them.
        """
        roles = [message.role for message in conversation.messages]
        if "assistant" not in roles:
            raise DataError(
                "the conversation has no assistant turn, so there is nothing to learn: add the answer"
            )
        messages = conversation.messages[: len(roles) - roles[::-1].index("assistant")]
        _ = self.end_of_turn_id
        source = self._source(messages, conversation.tools)
        learned = [i for i, message in enumerate(messages) if message.token_weight > 0]
        text, marks = self._text(source, len(messages))
        whole = self._controls.encode(text, source.shield)
        weights = self._chain_weights(source, learned, text, marks, whole)
        if weights is not None:
            return [Rendering(tuple(whole.ids), tuple(weights))]
        return [self._turn_rendering(source, i) for i in learned]

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Ids of the messages with the generation prompt: exactly what `render` puts before that answer."""
        if not messages:
            raise DataError("a prompt needs at least one message")
        source = self._source(tuple(messages), tools)
        return self._controls.encode(self._prompt_text(source, len(messages)), source.shield).ids

    def parse(self, token_ids: Sequence[int]) -> Answer:
        """Take apart the ids that a model generated after a prompt."""
        return parse_answer(token_ids, self._answer_tokens, self._controls.decode)

    def stream(self, stops: Sequence[str] = (), stop_ids: Collection[int] = ()) -> AnswerStream:
        """Takes apart one answer while it comes, as `parse` does the whole; it ends before the first stop text.

        `stop_ids`: further ids that end an answer.
        """
        controls, tokens = self._controls, self._answer_tokens
        further = tuple(sorted(set(stop_ids) - set(tokens.stop_ids)))
        tokens = replace(tokens, stop_ids=tokens.stop_ids + further) if further else tokens
        return AnswerStream(tokens, controls.decode, byte_ids=controls.byte_ids, stops=stops)

    def stream_text(self, stops: Sequence[str] = (), stop_ids: Collection[int] = ()) -> PlainStream:
        """The same for ids that continue a raw text: nothing in them is reasoning or a tool call."""
        controls, ends = self._controls, {*self.stop_ids, *stop_ids}
        return PlainStream(ends, controls.decode, byte_ids=controls.byte_ids, stops=stops)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids from the middle of a rendering, control tokens written out."""
        return self._controls.decode(list(token_ids))

    @cached_property
    def end_of_turn_id(self) -> int:
        """The first control token that the template writes after an answer, found by rendering one."""
        messages = (Message("user", "What is it?"), Message("assistant", f"The {_PROBE}."))
        source = _Source(messages, [message.to_dict() for message in messages], None, None)
        text, _ = self._text(source, 2)
        at = text.rfind(f"{_PROBE}.")
        if at < 0:
            raise TemplateError(
                "the chat template does not show the assistant's words, so nothing can be learned"
            )
        encoded = self._controls.encode(text)
        enders = {*self._controls.ids.values(), self._tokenizer.eos_token_id}
        after = encoded.ids[encoded.first_at(at + len(_PROBE) + 1) :]
        found = next((token_id for token_id in after if token_id in enders), None)
        if found is None:
            raise TemplateError(
                "the chat template ends an assistant turn without a control token: the model would never "
                f"learn to stop. After the answer it writes {text[at + len(_PROBE) + 1 :]!r}; "
                "let it write the eos token"
            )
        self._controls.add_special(found)
        return found

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer: the template's end of turn, then the tokenizer's eos if it differs."""
        eos = self._tokenizer.eos_token_id
        return (
            (self.end_of_turn_id,) if eos in (None, self.end_of_turn_id) else (self.end_of_turn_id, int(eos))
        )

    @property
    def tokenizer(self) -> Any:
        """The tokenizer itself, for what is no conversation: plain documents."""
        return self._tokenizer

    @cached_property
    def template_hash(self) -> str:
        """Identity of the template and its arguments."""
        return hash_json({"template": self._tokenizer.chat_template, "kwargs": self._template_kwargs})

    # Rendering: from messages to text.

    def _source(self, messages: tuple[Message, ...], tools: Sequence[Mapping[str, Any]]) -> _Source:
        self._refuse_what_is_not_shown(messages, tools)
        dicts = [message.to_dict() for message in messages]
        schemas: list[dict[str, Any]] | None = [dict(tool) for tool in tools] or None
        controls = self._controls
        contents = [(message.content, message.role == "assistant") for message in messages]
        others = [{k: v for k, v in value.items() if k not in ("role", "content")} for value in dicts]
        if not (
            any(controls.quoted_in(text, special_only=mine) for text, mine in contents)
            or controls.quoted_in(others)
            or controls.quoted_in(schemas)
        ):
            return _Source(messages, dicts, schemas, None)
        shield = controls.shield([dicts, schemas])
        hidden = [
            {
                "role": value["role"],
                "content": controls.hide(text, shield, special_only=mine),
                **controls.hide(other, shield),
            }
            for value, other, (text, mine) in zip(dicts, others, contents, strict=True)
        ]
        return _Source(messages, hidden, controls.hide(schemas, shield), shield)

    def _text(
        self, source: _Source, count: int, *, for_answer: bool = False
    ) -> tuple[str, list[Span] | None]:
        """The first `count` messages as text, and the spans that the template marks (None: no marks)."""
        import jinja2
        from transformers.utils.chat_template_utils import render_jinja_template

        template = self._template(bool(source.tools))
        marked = not for_answer and _MARKS.search(template) is not None
        try:
            texts, spans = render_jinja_template(
                [source.dicts[:count]],
                tools=source.tools,
                chat_template=template,
                return_assistant_tokens_mask=marked,
                add_generation_prompt=for_answer,
                **self._variables,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            # A template is a program of its own: what it raises, by intent or by accident, is about the row.
            raise TemplateError(self._why_it_failed(source, count, error)) from error
        return texts[0], spans[0] if marked else None

    def _prompt_text(self, source: _Source, count: int) -> str:
        return self._text(source, count, for_answer=True)[0]

    def _template(self, has_tools: bool) -> str:
        if has_tools not in self._templates:
            if not self._tokenizer.chat_template:
                raise TemplateError(
                    "the tokenizer has no chat template: use a chat model, or set tokenizer.chat_template to "
                    "one of luthier.chat.templates and train its control tokens"
                )
            # transformers picks the template called tool_use, if there is one, when tools are given.
            self._templates[has_tools] = self._tokenizer.get_chat_template(None, [{}] if has_tools else None)
        return self._templates[has_tools]

    @property
    def control_strings(self) -> tuple[str, ...]:
        """The strings that are control tokens of this tokenizer and template."""
        return tuple(self._controls.ids)

    @cached_property
    def _controls(self) -> ControlTokens:
        return ControlTokens(self._tokenizer, self._template(False) + self._template(True))

    # Supervision: from text to weights.

    def _chain_weights(
        self, source: _Source, learned: list[int], text: str, marks: list[Span] | None, whole: Encoded
    ) -> list[float] | None:
        """A weight per token of the whole conversation; None if a learned turn was said otherwise."""
        weights = [0.0] * len(whole.ids)
        for i in learned:
            end = len(text)
            if i + 1 < len(source.messages):
                so_far, _ = self._text(source, i + 1)
                end = len(so_far)
                if not text.startswith(so_far):
                    return None
            prompt = self._prompt_text(source, i)
            if not text.startswith(prompt):
                return None
            prompt_ids = self._controls.encode(prompt, source.shield).ids
            if whole.ids[: len(prompt_ids)] != prompt_ids:
                return None
            self._weigh(weights, whole, len(prompt_ids), end, marks, source.messages[i], i)
        return weights

    def _turn_rendering(self, source: _Source, i: int) -> Rendering:
        """The conversation through turn `i`, as it was when that turn was said."""
        text, marks = self._text(source, i + 1)
        prompt = self._prompt_text(source, i)
        if not text.startswith(prompt):
            raise TemplateError(_what_differs(prompt, text, i))
        prompt_ids = self._controls.encode(prompt, source.shield).ids
        whole = self._controls.encode(text, source.shield)
        if whole.ids[: len(prompt_ids)] != prompt_ids:
            answer = self._controls.encode_continuation(text[len(prompt) :], source.shield)
            spans = [(start + len(prompt), end + len(prompt)) for start, end in answer.spans]
            whole = Encoded(prompt_ids + answer.ids, [(0, 0)] * len(prompt_ids) + spans)
        weights = [0.0] * len(whole.ids)
        self._weigh(weights, whole, len(prompt_ids), len(text), marks, source.messages[i], i)
        return Rendering(tuple(whole.ids), tuple(weights))

    def _weigh(
        self,
        weights: list[float],
        whole: Encoded,
        start: int,
        end_char: int,
        marks: list[Span] | None,
        message: Message,
        number: int,
    ) -> None:
        """Give the turn's weight to its tokens, from index `start` through its end-of-turn token."""
        stop = self._end_of_turn_index(whole, start, end_char, number)
        learned = range(start, stop + 1) if marks is None else marked_tokens(whole, start, stop, marks)
        for k in learned:
            weights[k] = message.token_weight

    def _end_of_turn_index(self, whole: Encoded, start: int, end_char: int, number: int) -> int:
        fallback = None
        for k in range(start, len(whole.ids)):
            if whole.spans[k][0] >= end_char:
                break
            if whole.ids[k] == self.end_of_turn_id:
                return k
            if whole.ids[k] in self._controls.special_ids:
                fallback = k  # some templates end a tool call otherwise (Llama 3.1: <|eom_id|>)
        if fallback is None:
            raise TemplateError(
                f"message {number + 1}: the chat template does not end this assistant turn with a control "
                "token, so the model would not learn to stop there"
            )
        return fallback

    # What the template can do, found by asking it.

    @cached_property
    def _answer_tokens(self) -> AnswerTokens:
        question = (Message("user", "What is it?"),)
        prompt = self._prompt_text(_Source(question, [question[0].to_dict()], None, None), 1)
        added = {token.content: int(i) for i, token in self._tokenizer.added_tokens_decoder.items()}
        return AnswerTokens(
            stop_ids=self.stop_ids,
            special_ids=self._controls.special_ids - {self._tokenizer.unk_token_id},
            markup_ids={added[mark]: mark for mark in Markup if mark in added},
            opens_thinking=prompt.rstrip().endswith(Markup.THINK_OPEN),
        )

    def _refuse_what_is_not_shown(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
    ) -> None:
        """A part that the template drops without a word would be trained away in silence."""
        used = {message.role for message in messages if message.role in ("system", "tool")}
        parts: set[str] = {*used, *(["tools"] if tools else [])}
        for message in messages:
            parts |= {"tool_calls"} if message.tool_calls else set()
            parts |= {"reasoning"} if message.reasoning else set()
        for part in sorted(parts):
            if part not in self._shown:
                self._shown[part] = self._shows(part)
            if not self._shown[part]:
                raise TemplateError(
                    f"the chat template leaves out {_PARTS[part]} without a word: remove them from the row, "
                    "write them into a turn's content, or use a model whose template shows them"
                )

    def _shows(self, part: str) -> bool:
        user, answer = Message("user", "What is it?"), Message("assistant", "It is here.")
        call = Message("assistant", "", tool_calls=(ToolCall(_PROBE, {}, id="call00001"),))
        messages, tools = {
            "system": ((Message("system", _PROBE), user), None),
            "tools": ((user,), [{"type": "function", "function": {"name": _PROBE, "parameters": {}}}]),
            "tool_calls": ((user, call), None),
            "tool": ((user, call, Message("tool", _PROBE, name=_PROBE), answer), None),
            "reasoning": ((user, Message("assistant", "It is here.", reasoning=_PROBE)), None),
        }[part]
        try:
            text, _ = self._text(
                _Source(messages, [m.to_dict() for m in messages], tools, None), len(messages)
            )
        except TemplateError:
            return True  # it speaks up by itself, about the row at hand
        return _PROBE in text

    def _why_it_failed(self, source: _Source, count: int, error: Exception) -> str:
        said = f"the chat template cannot render this conversation: {error or type(error).__name__}"
        roles = [message.role for message in source.messages[:count]]
        turns = [(i, role) for i, role in enumerate(roles) if role != "system"]
        for k, (i, role) in enumerate(turns):
            if role not in ("user", "assistant"):
                return f"{said}. Message {i + 1} is a {role} turn: remove it, or use another model's template"
            if role != ("user", "assistant")[k % 2]:
                before = f"after {turns[k - 1][1]}" if k else "as the first turn"
                return f"{said}. Message {i + 1} is from {role} {before}: make the turns alternate"
        if "system" in roles:
            number = roles.index("system") + 1
            return (
                f"{said}. Message {number} is a system turn: put its text at the start of the first user turn"
            )
        return f"{said}. Its roles are {', '.join(roles)}"


_PARTS = {
    "system": "system turns",
    "tool": "tool turns",
    "tools": "the tools on offer",
    "tool_calls": "tool calls",
    "reasoning": "reasoning",
}


def _what_differs(prompt: str, text: str, number: int) -> str:
    pairs = zip(prompt, text, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(text)))
    return (
        f"message {number + 1}: the chat template shows the model one prompt and trains it on another. "
        f"After {text[max(0, at - 30) : at]!r} the prompt goes on with {prompt[at : at + 30]!r} "
        f"and the row with {text[at : at + 30]!r}. If the template has an option for it, set it "
        "(template_kwargs, such as enable_thinking); or give the turn what is missing (reasoning)"
    )
