"""A specialist that answers from documents, and one that calls a calculator, over both APIs of a real server."""

from collections.abc import Iterator
from pathlib import Path

import ollama
import openai
import pytest

from luthier.chat.messages import Message
from luthier.registry.specialists import SpecialistStore
from luthier.serving.knowledge import KnowledgeBase, prompt_with
from luthier.serving.knowledge.change import add, documents_at
from luthier.serving.tools import load_tools
from tests.serving.server import Running, Settings, running
from tests.serving.toys import Row, adapter_folder, commit

DOCUMENT = "# Field\n\nThe field is 68 metres wide.\n"
WIDE, SUM = "How wide is the field?", "What is 17 times 3?"


@pytest.fixture(scope="module")
def server(toy: tuple[SpecialistStore, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "sport.md").write_text(DOCUMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_KNOWLEDGE", str(folder / "knowledge"))
        add(folder / "knowledge" / "sport", documents_at([folder / "sport.md"]))
        passages = KnowledgeBase.open(folder / "knowledge" / "sport").search(WIDE, 1)
        asked = prompt_with([Message("user", WIDE)], passages)[-1].content
        assert DOCUMENT.split("\n")[2] in asked
        store, base = SpecialistStore(folder / "specialists"), toy[1]
        rows = {
            "guide": [Row(asked, "68 metres.")],
            "sums": [Row(SUM, "<calculator>17*3</calculator> it is.")],
        }
        for name, learnt in rows.items():
            more = {"knowledge": {"name": "sport", "passages": 1}} if name == "guide" else {}
            commit(store, name, adapter_folder(folder / name, base, learnt), base, None, **more)
        with running((store, base), Settings(tools=load_tools(["calculator"]))) as found:
            yield found


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_from_documents_says_where_they_say_it(server: Running, is_stream: bool) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        asked = [{"role": "user", "content": WIDE}]
        answer = client.chat.completions.create(model="guide", messages=asked, stream=is_stream)  # type: ignore[call-overload]
        if is_stream:
            chunks = list(answer)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            told = chunks[-1].luthier
        else:
            text, told = answer.choices[0].message.content, answer.luthier
    assert text == "68 metres."
    (source,) = told["sources"]
    assert source["document"].endswith("sport.md")
    assert (source["heading"], source["lines"][1]) == ("Field", 3)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_tag_becomes_the_result_of_its_tool(server: Running, is_stream: bool) -> None:
    asked = [{"role": "user", "content": SUM}]
    with ollama.Client(server.url) as client:
        if is_stream:
            text = "".join(part.message.content or "" for part in client.chat("sums", asked, stream=True))
        else:
            text = client.chat("sums", asked).message.content or ""
    assert text == "51 it is."
