"""Token ids by llama.cpp from a GGUF file against the tokenizer they came from: texts, chats, control strings."""

from pathlib import Path
from typing import Any

import pytest

from luthier.chat.messages import Conversation, Message
from luthier.chat.render import Renderer
from luthier.errors import ExportError
from luthier.export.gguf.file import write_file
from luthier.export.gguf.probe import keys_tokeniser
from luthier.export.gguf.tokenizer import TRICKY_TEXTS, gguf_tokenizer
from tests.export.tokenizers import QWEN2, sentencepiece_tokenizer, split_tokenizer
from tests.toy import byte_tokenizer, metaspace_tokenizer

VOCAB_SIZE = 640
TOKENIZERS = {
    "gpt-2, chatml": lambda: byte_tokenizer("chatml"),
    "gpt-2, llama3": lambda: byte_tokenizer("llama3"),
    "qwen2": lambda: split_tokenizer(QWEN2),
    "llama 2": lambda: sentencepiece_tokenizer("first"),
    "llama 2, legacy": lambda: sentencepiece_tokenizer("always"),
    "gemma": lambda: sentencepiece_tokenizer("never", "fold"),
}
TEXTS = (
    *TRICKY_TEXTS,
    "",
    " ",
    "\u0000\u0001 \u200b zero width",
    "\U0001f469\u200d\U0001f52c \ufffd \u202e right to left",
    "a" * 200,
    "<0x41> \u2581 <pad> [not a control]",
)


def conversations() -> list[Conversation]:
    quoted = "ignore <|im_end|><|im_start|>system</s><s>[/INST]<|eot_id|><end_of_turn> this"
    users = ["Hello", "Größe? 日本語 🙂\n\nnext", quoted, "  spaces around  ", "x"]
    chats = [Conversation((Message("user", text),)) for text in users]
    turns = (Message("user", "one"), Message("assistant", quoted), Message("user", "two"))
    return [*chats, Conversation(turns)]


@pytest.fixture(params=TOKENIZERS, scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer, and llama.cpp's from the file."""
    pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python is not installed: nothing reads a GGUF tokenizer"
    )
    from luthier.models.gguf import GgufVocabulary

    tokenizer = TOKENIZERS[request.param]()
    keys = gguf_tokenizer(tokenizer, VOCAB_SIZE, keys_tokeniser()).keys
    path = tmp_path_factory.mktemp("vocabulary") / "v.gguf"
    write_file(path, "llama", keys, [], lambda plan: ())
    with GgufVocabulary(path) as vocabulary:
        yield tokenizer, vocabulary, keys


def test_texts_have_the_same_ids(pair: Any) -> None:
    tokenizer, vocabulary, keys = pair
    control = tokenizer.convert_ids_to_tokens(Renderer(tokenizer).end_of_turn_id)
    for text in TEXTS:
        if keys["tokenizer.ggml.model"] == "llama":
            text = text.lstrip()
        want = tokenizer(control + text, add_special_tokens=False)["input_ids"][1:]
        assert vocabulary.tokenize(text) == want, text


def test_chats_have_the_same_ids(pair: Any) -> None:
    tokenizer, vocabulary, keys = pair
    renderer = Renderer(tokenizer)
    # Metaspace's `always` adds no space to one that is there, llama.cpp does: the notes say so.
    always = bool(tokenizer.backend_tokenizer.pre_tokenizer) and keys.get("tokenizer.ggml.add_space_prefix")
    for conversation in conversations():
        if always and conversation.messages[-1].content.startswith(" "):
            continue
        want = renderer.prompt(conversation.messages)
        assert vocabulary.prompt_ids(conversation) == want, conversation.messages[-1].content
    assert renderer.end_of_turn_id in vocabulary.stop_ids
    assert set(renderer.stop_ids) <= set(vocabulary.stop_ids)
    assert vocabulary.chat_template == tokenizer.chat_template


def test_merges_that_no_scores_stand_for_are_refused() -> None:
    with pytest.raises(ExportError, match="trained with merges and not with scores"):
        gguf_tokenizer(metaspace_tokenizer(), VOCAB_SIZE)


def test_without_llama_cpp_sentencepiece_is_written_from_its_parts_alone() -> None:
    for scheme, add_space in (("first", False), ("always", True)):
        tokenizer = sentencepiece_tokenizer(scheme)
        keys = gguf_tokenizer(tokenizer, VOCAB_SIZE).keys
        assert keys["tokenizer.ggml.add_space_prefix"] is add_space
        types = dict(zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"], strict=True))
        assert (types["<unk>"], types["<0x41>"], types["</s>"]) == (2, 6, 3)
    sentencepiece = sentencepiece_tokenizer("first")
    sentencepiece.chat_template = None
    assert gguf_tokenizer(sentencepiece, VOCAB_SIZE).keys["tokenizer.ggml.add_space_prefix"] is True


@pytest.mark.parametrize("template", ["chatml", "llama3"])
def test_a_file_that_asks_for_bos_gets_it_once(template: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from luthier.models.gguf import GgufVocabulary

    tokenizer = byte_tokenizer(template)
    keys = gguf_tokenizer(tokenizer, VOCAB_SIZE, keys_tokeniser()).keys
    bos = keys.get("tokenizer.ggml.bos_token_id", tokenizer.eos_token_id)
    asking = keys | {"tokenizer.ggml.bos_token_id": bos, "tokenizer.ggml.add_bos_token": True}
    write_file(tmp_path / "v.gguf", "llama", asking, [], lambda plan: ())
    with GgufVocabulary(tmp_path / "v.gguf") as vocabulary:
        ids = vocabulary.prompt_ids(conversations()[0])
    own = Renderer(tokenizer).prompt(conversations()[0].messages)
    assert ids == ([bos, *own] if template == "chatml" else own) and ids.count(bos) == 1
