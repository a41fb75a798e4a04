"""A form of the certificate as something that the gate can ask: it renders, stops and answers as it does elsewhere.

Knows nothing of items, of graders and of how forms are opened.
"""

import time
from collections.abc import Sequence

from luthier.chat.messages import Message
from luthier.chat.render import Renderer
from luthier.errors import ModelError
from luthier.evaluation.answerers.local import whole_text
from luthier.evaluation.runner import AnsweredItem
from luthier.evaluation.tasks.likelihood import ModelScorer, Scorer
from luthier.export.certificate.forms import FolderForm, Form
from luthier.export.certificate.probes import Probe


class FormAnswerer:
    """Asks a form whose answers are token ids; they are taken apart by the training template's `renderer`."""

    def __init__(self, form: Form, renderer: Renderer, name: str) -> None:
        self._form, self._renderer, self._name = form, renderer, name

    @property
    def name(self) -> str:
        return self._name

    def answer(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Sequence[AnsweredItem]:
        """Greedy. Raises TemplateError where the form's template cannot render one, ModelError where it is too long."""
        started = time.perf_counter()
        probes = [Probe("gate", tuple(messages)) for messages in conversations]
        replies = self._form.answers(probes, max_new_tokens)
        waited = time.perf_counter() - started
        answered = []
        for probe, reply in zip(probes, replies, strict=True):
            prompt = self._form.prompt_ids(probe)
            if reply.token_ids is None or prompt is None:
                raise ModelError(
                    f"{self._name}: it shows no token ids, and the gate needs to see how answers end"
                )
            parsed = self._renderer.parse(reply.token_ids)
            answered.append(
                AnsweredItem(
                    text=whole_text(parsed),
                    token_ids=reply.token_ids,
                    prompt=self._renderer.decode(prompt),
                    num_prompt_tokens=len(prompt),
                    termination=parsed.termination,
                    seconds=waited / max(1, len(probes)),
                    latency_seconds=waited,
                )
            )
        return answered


class FolderAnswerer(FormAnswerer):
    """Asks a model folder or an adapter folder, which can also say how likely an answer is."""

    def __init__(self, form: FolderForm, renderer: Renderer, name: str) -> None:
        super().__init__(form, renderer, name)
        self._loaded = form.loaded

    def scorer(self) -> Scorer:
        """How likely it finds a given answer."""
        return ModelScorer(self._loaded)


def form_answerer(form: Form, renderer: Renderer, name: str) -> FormAnswerer:
    """The form as something that can be asked."""
    if isinstance(form, FolderForm):
        return FolderAnswerer(form, renderer, name)
    return FormAnswerer(form, renderer, name)
