"""What is learnt: the supervised tokens are the assistant's words and its end of turn, and nothing else."""

from itertools import groupby
from typing import Any

from luthier.chat.messages import Message
from luthier.chat.parse import Answer, Termination
from luthier.training.objectives import make_objective
from luthier.training.selftest.bench import Bench, ChatRow, Proof, Word

_SHOWN = 60


def mask(bench: Bench) -> Proof:
    """The supervised text of each row decodes to exactly the assistant's words plus the end of turn."""
    numbers = {
        "rows": bench.plan.train_rows.num_rows,
        "tokens": bench.plan.train_rows.num_tokens,
        "supervised tokens": bench.plan.train_rows.num_supervised,
    }
    if make_objective(bench.plan.recipe.objective).rows == "text":
        return _whole_documents(bench, numbers)
    spaces = False
    for row in bench.chat_rows:
        learnt = [ids for ids, weight in _stretches(bench, row.index) if weight]
        said = [message for message in row.conversation.messages if message.token_weight > 0]
        picture = _picture(bench, row.index)
        answers = [bench.plan.renderer.parse(ids) for ids in learnt]
        if len(answers) != len(said):
            why = f"{len(answers)} stretches of tokens are learnt, but the assistant speaks {len(said)} times"
            return Proof(Word.FAILED, f"{row.place}: {why}", numbers, picture)
        for answer, message in zip(answers, said, strict=True):
            if problem := _differs(answer, message):
                return Proof(Word.FAILED, f"{row.place}: what is learnt {problem}", numbers, picture)
            spaces = spaces or answer.text != message.content
    numbers["rows looked at"] = len(bench.chat_rows)
    why = "the supervised text is exactly the assistant's words and the end of each turn"
    if spaces:
        why += ", but for white space at the ends, which the template changes"
    return Proof(Word.PASSED, why, numbers, _picture(bench, bench.chat_rows[0].index))


def template(bench: Bench) -> Proof:
    """A row taken apart again: each prompt is what a served model is shown, each answer parses to the turn."""
    renderer, num_turns = bench.plan.renderer, 0
    for row in bench.chat_rows:
        ids = [int(token) for token in bench.rows.row(row.index)[0]]
        for number, prompt_length in _prompts(bench, row):
            messages = row.conversation.messages
            prompt = renderer.prompt(messages[:number], row.conversation.tools)
            if ids[:prompt_length] != prompt:
                why = f"{row.place}: message {number + 1} is trained behind other tokens than a served model is shown"
                return Proof(Word.FAILED, why)
            answer = renderer.parse(ids[prompt_length:])
            if problem := _differs(answer, messages[number]):
                return Proof(
                    Word.FAILED, f"{row.place}: message {number + 1}, rendered and read back, {problem}"
                )
            num_turns += 1
    why = "every prompt is what a served model is shown, and every answer reads back as the turn in the row"
    return Proof(Word.PASSED, why, {"turns": num_turns, "template": renderer.template_hash})


def _prompts(bench: Bench, row: ChatRow) -> list[tuple[int, int]]:
    """(message index, length of its prompt) of each learnt turn."""
    renderer, conversation = bench.plan.renderer, row.conversation
    learnt = [i for i, message in enumerate(conversation.messages) if message.token_weight > 0]
    return [(i, len(renderer.prompt(conversation.messages[:i], conversation.tools))) for i in learnt]


def _stretches(bench: Bench, index: int) -> list[tuple[list[int], bool]]:
    """The row in turns of learnt and context tokens. Neighbouring answers are parted at the end of turn."""
    ids, weights = bench.rows.row(index)
    stops = bench.plan.renderer.stop_ids
    keys, turn = [], 0
    for token, weight in zip(ids, weights, strict=True):
        keys.append((turn, bool(weight)))
        turn += bool(weight) and int(token) in stops
    pairs = groupby(zip(keys, ids.tolist(), strict=True), key=lambda pair: pair[0])
    return [([token for _, token in group], key[1]) for key, group in pairs]


def _picture(bench: Bench, index: int) -> list[tuple[str, bool]]:
    return [(bench.plan.renderer.decode(ids), learnt) for ids, learnt in _stretches(bench, index)]


def _differs(answer: Answer, message: Message) -> str | None:
    """How an answer that was read is not the turn in the row; None where it is."""
    if answer.termination is Termination.LENGTH:
        return "has no end of turn: the model would not learn to stop"
    if answer.text.strip() != message.content.strip():
        return f"is {_short(answer.text)}, and the turn in the row is {_short(message.content)}"
    if (answer.reasoning or "").strip() != (message.reasoning or "").strip():
        return f"has the reasoning {_short(answer.reasoning)}, and the row has {_short(message.reasoning)}"
    calls = [(call.name, dict(call.arguments)) for call in answer.tool_calls]
    wanted = [(call.name, dict(call.arguments)) for call in message.tool_calls]
    return None if calls == wanted else f"has the tool calls {calls}, and the row has {wanted}"


def _short(text: str | None) -> str:
    text = text or ""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _whole_documents(bench: Bench, numbers: dict[str, Any]) -> Proof:
    """Documents are learnt whole: every token but a piece's first, which nothing predicts."""
    for index in range(bench.rows.num_rows):
        _, weights = bench.rows.row(index)
        if weights[0] or not weights[1:].all():
            why = f"{bench.rows.places[index]}: not every token of the document is learnt"
            return Proof(Word.FAILED, why, numbers, _picture(bench, index))
    why = "every token of a document is learnt but the first of each piece, which nothing predicts"
    return Proof(Word.PASSED, why, numbers)
