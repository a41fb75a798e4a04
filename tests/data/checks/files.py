"""Files of rows for tests: clean ones, that no check has anything to say of, and troubled ones."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = "try line post halfway metre width length field goal area dead ball touch referee scrum tackle kick".split()  # noqa: SIM905


def some_rows(count: int, *, troubled: bool = True, seed: int = 0) -> list[Any]:
    """Rows of prompt and completion; every eighth or so a copy, a near copy, or one that leaves something to say."""
    choose = random.Random(seed)
    rows: list[Any] = []
    for number in range(count):
        prompt = f"What is {' '.join(choose.choices(WORDS, k=12))} at {number}?"
        answer = " ".join(choose.choices(WORDS, k=20)).capitalize() + "."
        trouble = choose.randrange(40) if troubled and number > 10 else 40
        row: Any = {"prompt": prompt, "completion": answer}
        if troubled:
            row["id"] = number
        if trouble == 0:
            row = dict(choose.choice([one for one in rows if isinstance(one, dict)]))
        elif trouble == 1:
            row["completion"] += " Yours, [Insert name here]"
        elif trouble == 2:
            row["completion"] = ""
        elif trouble == 3:
            row = {**rows[3], "completion": f"Another answer {number}."}
        elif trouble == 4:
            row = {**rows[5], "prompt": rows[5]["prompt"] + f" {choose.choice(WORDS)}"}
        elif trouble == 5:
            row["completion"] += " Write to jo.field@rugby-league.org or +44 20 7946 0321."
        rows.append(row)
    return rows


def lines_of(rows: Sequence[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text(lines_of(rows), encoding="utf-8")
    return path
