"""How long are the rows: in characters always, in the model's tokens where its renderer is given.

Tokens come from the one token path, so they are what training would see. Knows nothing of files and terminals.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luthier.chat.messages import Conversation, Message
from luthier.data.checks.check import Check, Context, Tallies, Totals
from luthier.data.checks.finding import MAX_ROWS_NAMED, SPLITS, Finding, RowKey, SplitName, rows_word
from luthier.data.checks.hash_sample import HashSample
from luthier.data.checks.row import CheckedRow
from luthier.data.histogram import Histogram
from luthier.data.sharing import count_nodes, packed_tokens, padded_tokens
from luthier.data.truncate import SHORTENINGS, Shortening, shorten_row
from luthier.errors import LuthierError

if TYPE_CHECKING:
    from luthier.chat.render import Renderer

_FEW_SUPERVISED_SHARE = 0.05  # one token in twenty: nearly all of the computing reads prompts
_OUTLIER_FACTOR = 4  # times p99: such a row decides how much memory the whole run needs
_OUTLIER_MIN_ROWS = 100  # below, p99 is the longest row itself
_BUFFERED_ROWS = 256
_BUFFERED_CHARACTERS = 4_000_000
_SAMPLED_TOKENS = 4_000_000  # of rows kept to see what they share: 16 MB
_SAMPLED_ROWS = 2048
_SIGNATURE = re.compile(
    r"^(?:message \d+: )?([^'\"\d]{1,90})"
)  # what a refusal says, without what it says it about


class _Lengths:
    """Histograms of prompt, answer and whole row, by split."""

    def __init__(self) -> None:
        self.of: dict[SplitName, dict[str, Histogram]] = {}

    def add(self, split: SplitName, **lengths: int) -> None:
        parts = self.of.get(split)
        if parts is None:
            parts = self.of[split] = {name: Histogram() for name in ("prompt", "answer", "row")}
        for name, length in lengths.items():
            parts[name].add(length)

    def merge(self, later: "_Lengths") -> None:
        for split, parts in later.of.items():
            self.add(split)
            for name, histogram in parts.items():
                self.of[split][name].merge(histogram)

    def figures(self, split: SplitName) -> dict[str, Any]:
        """Percentiles of each part that occurs, and the bins of whole rows."""
        parts = self.of[split]
        found: dict[str, Any] = {name: one.summary() for name, one in parts.items() if one.num_rows}
        return found | {"total": parts["row"].total, "histogram": parts["row"].bins()}


class CharacterLengths(Check):
    """Lengths in characters: figures only, since what is too long is a matter of tokens."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.lengths = _Lengths()

    def see(self, row: CheckedRow) -> None:
        example = row.example
        if example is None:
            return
        if example.kind == "text":
            self.lengths.add(row.split, row=len(example.text or ""))
            return
        prompt = sum([len(m.content) for m in row.before])
        if row.answer is None:
            self.lengths.add(row.split, prompt=prompt, row=prompt)
        else:
            answer = len(row.answer)
            self.lengths.add(row.split, prompt=prompt, answer=answer, row=prompt + answer)

    def merge(self, later: Self) -> None:
        self.lengths.merge(later.lengths)

    def findings(self, totals: Totals) -> Iterable[Finding]:
        return ()

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`characters`: by split, percentiles of prompt, answer and row, and the bins of the histogram."""
        splits = [split for split in SPLITS if split in self.lengths.of]
        return {"characters": {split: self.lengths.figures(split) for split in splits}} if splits else {}


class TokenLengths(Check):
    """Rows too long, far longer than the others, hardly supervised, or refused by the template; and what they cost.

    A preference counts as two rows, a conversation whose template hides earlier reasoning as one for each turn: as
    training takes them. Of evaluation items the prompt is measured.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.lengths = _Lengths()
        self.trained: dict[SplitName, Histogram] = {}  # rows after they are cut to max_length
        self.tallies = Tallies()
        self.lost: Counter[tuple[SplitName, Shortening, str]] = Counter()
        self.refusals: dict[tuple[SplitName, str], list[Any]] = {}
        self.longest: dict[SplitName, list[tuple[int, RowKey]]] = {}
        rows = max(2 * context.batch_size, min(_SAMPLED_ROWS, _SAMPLED_TOKENS // context.max_length))
        self.sample: HashSample[NDArray[np.int32]] = HashSample(rows)
        self._renderer: Renderer | None = None
        self._waiting: list[CheckedRow] = []
        self._waiting_characters = 0

    def see(self, row: CheckedRow) -> None:
        if self.context.open_renderer is None or row.example is None:
            return
        self._waiting.append(row)
        self._waiting_characters += sum(map(len, row.texts()))
        if len(self._waiting) >= _BUFFERED_ROWS or self._waiting_characters >= _BUFFERED_CHARACTERS:
            self._measure_waiting()

    def finish(self) -> None:
        self._measure_waiting()
        self._renderer = None  # it does not travel between processes

    def merge(self, later: Self) -> None:
        self.lengths.merge(later.lengths)
        for split, histogram in later.trained.items():
            self.trained.setdefault(split, Histogram()).merge(histogram)
        self.tallies.merge(later.tallies)
        self.lost.update(later.lost)
        for key, (count, said) in later.refusals.items():
            self.refusals.setdefault(key, [0, said])[0] += count
        for split, rows in later.longest.items():
            self.longest[split] = nsmallest(MAX_ROWS_NAMED, self.longest.get(split, []) + rows)
        self.sample.merge(later.sample)

    # Measuring.

    def _measure_waiting(self) -> None:
        """Documents are tokenised together, which is many times faster; everything in the order of the rows."""
        if not self._waiting:
            return
        if self._renderer is None:
            assert self.context.open_renderer is not None
            self._renderer = self.context.open_renderer()
        rows, self._waiting, self._waiting_characters = self._waiting, [], 0
        texts = [row.example.text or "" for row in rows if row.example and row.example.kind == "text"]
        options = {"add_special_tokens": False, "split_special_tokens": True}
        encoded = iter(self._renderer.tokenizer(texts, **options)["input_ids"] if texts else ())
        for row in rows:
            if row.example and row.example.kind == "text":
                self._measure_text(row, next(encoded))
            else:
                self._measure_chat(row, self._renderer)

    def _measure_text(self, row: CheckedRow, ids: list[int]) -> None:
        length = len(ids) + 1  # the end-of-text token
        self.lengths.add(row.split, row=length, answer=length)
        self._note_longest(row, length)
        for start in range(0, max(length - 1, 1), self.context.max_length - 1):  # pieces share one token
            self._train(row, min(length - start, self.context.max_length))
        self._keep(row, 0, ids)

    def _measure_chat(self, row: CheckedRow, renderer: "Renderer") -> None:
        try:
            if row.shape == "item":
                length = len(renderer.prompt(row.before))
                self.lengths.add(row.split, prompt=length, row=length)
                return
            found = [one for each in _conversations(row) for one in renderer.render(each)]
        except LuthierError as error:
            self._refused(row, str(error))
            return
        limit, longest = self.context.max_length, 0
        for part, rendering in enumerate(found):
            length, supervised = len(rendering.token_ids), rendering.num_supervised
            self.lengths.add(row.split, prompt=length - supervised, answer=supervised, row=length)
            self._train(row, min(length, limit))
            self._keep(row, part, rendering.token_ids)
            longest = max(longest, length)
            if length > limit:
                self._count_losses(
                    row.split, rendering.token_ids, rendering.weights, renderer.tokenizer.bos_token_id
                )
        if longest > limit:
            self.tallies[row.split, "over"].add(row)
        if found:
            self._note_longest(row, longest)

    def _refused(self, row: CheckedRow, said: str) -> None:
        self.tallies[row.split, "refused"].add(row)
        match = _SIGNATURE.match(said)
        self.refusals.setdefault((row.split, match[1] if match else ""), [0, said])[0] += 1

    def _count_losses(
        self, split: SplitName, ids: tuple[int, ...], weights: tuple[float, ...], bos_id: int | None
    ) -> None:
        whole = sum(weight > 0 for weight in weights[1:])
        for policy in SHORTENINGS:
            pieces = shorten_row(ids, weights, self.context.max_length, policy, bos_id=bos_id)
            lost = whole - sum(piece.num_supervised for piece in pieces)
            self.lost[split, policy, "answers"] += lost == whole
            self.lost[split, policy, "parts_of_answers"] += 0 < lost < whole
            self.lost[split, policy, "supervised_tokens"] += lost

    def _train(self, row: CheckedRow, length: int) -> None:
        self.trained.setdefault(row.split, Histogram()).add(length)

    def _keep(self, row: CheckedRow, part: int, ids: Iterable[int]) -> None:
        rank = self.sample.rank(row.key, part)
        if row.split == "train" and self.sample.wants(rank):
            kept = np.fromiter(ids, np.int32)[: self.context.max_length]
            self.sample.add(rank, row.key, kept.copy())

    def _note_longest(self, row: CheckedRow, length: int) -> None:
        rows = self.longest.setdefault(row.split, [])
        if len(rows) < MAX_ROWS_NAMED or -length < rows[-1][0]:
            rows.append((-length, row.key))
            rows.sort()
            del rows[MAX_ROWS_NAMED:]

    # What was found.

    def findings(self, totals: Totals) -> Iterable[Finding]:
        for split in SPLITS:
            yield from self._cannot_render(split, totals)
            if split in self.lengths.of:
                yield from self._over_max_length(split, totals)
                yield from self._long_outliers(split, totals)
                yield from self._few_supervised(split, totals)

    def _cannot_render(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        groups = sorted(
            ((count, said) for (where, _), (count, said) in self.refusals.items() if where == split),
            key=lambda group: -group[0],
        )
        if not groups:
            return
        tally = self.tallies[split, "refused"]
        told = "; ".join(f"{said} ({count:,})" if len(groups) > 1 else said for count, said in groups[:3])
        yield tally.finding(
            "cannot_render",
            "error",
            split,
            totals,
            f"{tally.count:,} of {rows_word(totals.rows[split])} cannot be rendered with this model's template: {told}",
            "Training would stop there. Do what the message says, or take a model whose template can show such rows.",
        )

    def _over_max_length(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        tally = self.tallies.get((split, "over"))
        if tally is None:
            return
        longest = self.lengths.of[split]["row"].longest
        yield tally.finding(
            "over_max_length",
            "warning",
            split,
            totals,
            f"{tally.count:,} of {rows_word(totals.rows[split])} are longer than {self.context.max_length:,} tokens "
            f"(the longest has {longest:,})",
            "Training stops at the first of them, unless data.max_length is raised or data.too_long is set. "
            f"{'; '.join(self._loss(split, policy) for policy in SHORTENINGS)}.",
        )

    def _loss(self, split: SplitName, policy: Shortening) -> str:
        whole, parts, tokens = (
            self.lost[split, policy, what] for what in ("answers", "parts_of_answers", "supervised_tokens")
        )
        told = [f"{whole:,} answer{'' if whole == 1 else 's'}"] * bool(whole)
        told += [f"a part of {parts:,}"] * bool(parts)
        return (
            f"{policy} loses {' and '.join(told)} ({tokens:,} tokens to learn)"
            if told
            else f"{policy} loses none"
        )

    def _long_outliers(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        histogram = self.lengths.of[split]["row"]
        p99 = histogram.percentile(99)
        count = histogram.num_over(_OUTLIER_FACTOR * p99)
        if not count or histogram.num_rows < _OUTLIER_MIN_ROWS:
            return
        rows = [key for length, key in self.longest.get(split, ()) if -length > _OUTLIER_FACTOR * p99]
        yield Finding(
            "long_outliers",
            "note",
            split,
            f"{rows_word(count)} {'is' if count == 1 else 'are'} over {_OUTLIER_FACTOR} times as long as 99% of the "
            f"rows ({p99:,} tokens); the longest has {histogram.longest:,}",
            "The longest row decides how much memory training needs. Look at them: several rows may have run together.",
            count,
            totals.share(count, split),
            tuple(rows),
        )

    def _few_supervised(self, split: SplitName, totals: Totals) -> Iterator[Finding]:
        learnt, all_tokens = self.lengths.of[split]["answer"].total, self.lengths.of[split]["row"].total
        if split != "train" or not all_tokens or not learnt or learnt >= _FEW_SUPERVISED_SHARE * all_tokens:
            return
        yield Finding(
            "few_supervised_tokens",
            "note",
            split,
            f"only {learnt / all_tokens:.1%} of the tokens are learnt ({learnt:,} of {all_tokens:,}); the others are "
            "prompts",
            "Most of the computing reads prompts. Shorten what every prompt repeats, or ask for several answers in "
            "one conversation.",
            totals.rows[split],
            1.0,
            examples=(),
        )

    def figures(self, totals: Totals) -> Mapping[str, Any]:
        """`tokens`: by split as `characters`, with `supervised_share`, `over_max_length`, what each policy loses; of
        the training rows also `packing` and `sharing`."""
        found = {split: self._figures_of(split) for split in SPLITS if split in self.lengths.of}
        return {"tokens": found} if found else {}

    def _figures_of(self, split: SplitName) -> dict[str, Any]:
        parts = self.lengths.of[split]
        found = self.lengths.figures(split)
        over = self.tallies.get((split, "over"))
        found |= {
            "max_length": self.context.max_length,
            "supervised_share": round(parts["answer"].total / max(parts["row"].total, 1), 4),
            "over_max_length": over.count if over else 0,
        }
        if over:
            words = ("answers", "parts_of_answers", "supervised_tokens")
            found["would_lose"] = {
                policy: {what: self.lost[split, policy, what] for what in words} for policy in SHORTENINGS
            }
        if split == "train" and split in self.trained:
            found |= {"packing": self._packing(), "sharing": self._sharing()}
        return found

    def _packing(self) -> dict[str, Any]:
        """Tokens of the training rows, and what holds them padded and packed."""
        trained = self.trained["train"]
        lengths = trained.items()
        padded = round(padded_tokens(lengths, self.context.batch_size))
        packed = packed_tokens(lengths, self.context.max_length)
        return {
            "tokens": trained.total,
            "padded_tokens": padded,
            "packed_tokens": packed,
            "batch_size": self.context.batch_size,
        }

    def _sharing(self) -> dict[str, Any]:
        """Tokens of steps of `batch_size` random rows, and the nodes of their prefix trees, on a sample."""
        rows = [ids for _, ids in self.sample.items()]
        size = self.context.batch_size
        starts = range(0, len(rows) - len(rows) % size or len(rows), size)
        steps = [rows[start : start + size] for start in starts]
        tokens = sum(len(ids) for step in steps for ids in step)
        nodes = sum(count_nodes(step) for step in steps)
        return {
            "batch_size": size,
            "sampled_rows": sum(map(len, steps)),
            "tokens": tokens,
            "nodes": nodes,
            "speedup": round(tokens / nodes, 3) if nodes else 1.0,
        }


def _conversations(row: CheckedRow) -> list[Conversation]:
    """What training would render of a row: of a preference, each of the two answers after its prompt."""
    example = row.example
    if example is None or row.answer is None:
        return []
    if not example.chosen:
        return [example.conversation]
    prompt = example.conversation

    def with_answer(turns: tuple[Message, ...]) -> Conversation:
        return Conversation((*prompt.messages, *turns), prompt.tools)

    return [with_answer(turns) for turns in (example.chosen, example.rejected) if turns]
