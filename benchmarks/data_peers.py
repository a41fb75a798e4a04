"""What people write by hand to check a data set: the few checks that fit into a script, with three libraries.

    python benchmarks/data_peers.py pandas|datasets|datasketch TRAIN VALID

Each prints the counts that it found as JSON. pandas and datasets look for exact duplicates, validation rows that are
training rows, and placeholders; datasketch for near-duplicates alone. None looks for anything else.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

PLACEHOLDER = r"\[[Ii]nsert [^\]]*\]|\{\{[^}]*\}\}|<your [^>]*>"


def text_of(messages: Any) -> str:
    return "\x1f".join(turn["content"] for turn in messages)


def with_pandas(train: str, valid: str) -> dict[str, int]:
    import pandas as pd

    rows = pd.read_json(train, lines=True)
    held_out = pd.read_json(valid, lines=True)
    rows["text"] = rows["messages"].map(text_of)
    held_out["text"] = held_out["messages"].map(text_of)
    leaked = held_out.merge(rows[["text"]].drop_duplicates(), on="text")
    return {
        "rows": len(rows),
        "duplicates": int(rows["text"].duplicated().sum()),
        "leaked_rows": len(leaked),
        "placeholders": int(rows["text"].str.contains(PLACEHOLDER).sum()),
    }


def with_datasets(train: str, valid: str) -> dict[str, int]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    pattern = re.compile(PLACEHOLDER)
    with tempfile.TemporaryDirectory() as cache:
        loaded = load_dataset("json", data_files={"train": train, "valid": valid}, cache_dir=cache)
        texts = loaded.map(lambda row: {"text": text_of(row["messages"])}, remove_columns=["messages"])
        distinct = set(texts["train"].unique("text"))
        return {
            "rows": len(texts["train"]),
            "duplicates": len(texts["train"]) - len(distinct),
            "leaked_rows": len(texts["valid"].filter(lambda row: row["text"] in distinct)),
            "placeholders": len(texts["train"].filter(lambda row: pattern.search(row["text"]) is not None)),
        }


def with_datasketch(train: str, valid: str) -> dict[str, int]:
    """Rows with an earlier row that shares about 0.8 of its 5-word shingles."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=128)
    rows = near = 0
    with open(train, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            words = text_of(json.loads(line)["messages"]).lower().split()
            sketch = MinHash(num_perm=128)
            sketch.update_batch([" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)])
            near += bool(index.query(sketch))
            index.insert(number, sketch)
            rows += 1
    return {"rows": rows, "near_or_exact_duplicates": near}


PEERS: dict[str, Callable[[str, str], dict[str, int]]] = {
    "pandas": with_pandas,
    "datasets": with_datasets,
    "datasketch": with_datasketch,
}

if __name__ == "__main__":
    print(json.dumps(PEERS[sys.argv[1]](sys.argv[2], sys.argv[3])))
