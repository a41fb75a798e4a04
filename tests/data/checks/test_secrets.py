"""Secrets and personal data are found, and never shown. Every secret here was made up for these tests."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from luthier.data.checks.check import Context
from luthier.data.checks.duplicates import DuplicateRows
from luthier.data.checks.engine import check_places
from luthier.data.checks.finding import shorten
from luthier.data.checks.secrets import Secrets
from luthier.private import find_secrets, mask
from tests.data.checks.real import names, report_on
from tests.data.checks.toys import assert_merges, find
from tests.data.shared import needs_shared

_RANDOM = "Zk4Qw9Rt7Lm2Xv8Bn5Hc3Jd6Fg1PsYuAoEiMv"
_BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
# Put together here, so that no scanner of repositories takes this file for a leak.
PERSONAL = {
    "e-mail address": ["jane.roe@somewhere-real.com", "j+x%y@mail.uni.ac.uk"],
    "phone number": [
        "+44 20 7946 0958",
        "(212) 736-5000",
        "212-736-5000",
        "+49 30 227 32152",
    ],
    "card number": [
        "4539 1488 0343 6467",
        "5425-2334-3010-9903",
        "6011 0009 9013 9424",
    ],
    "bank account": ["GB33BUKB20201555555555", "NL91 ABNA 0417 1643 00"],
}
SECRET = {
    "private key": [f"-----BEGIN RSA PRIVATE KEY-----\n{_BASE64}\n{_BASE64}\n-----END RSA PRIVATE KEY-----"],
    "API key": [
        "sk-" + _RANDOM,
        "sk_live_" + _RANDOM[:24],
        "AKIA" + "Q7W9E2R5T8Y1U4I6",
        "AIza" + _RANDOM[:35],
    ],
    "access token": ["ghp_" + _RANDOM, "xoxb-" + "2948571036-" + _RANDOM[:12], "hf_" + _RANDOM],
    "signed token": ["eyJ" + _RANDOM + ".eyJ" + _RANDOM + "." + _RANDOM],
}
ALL = [(kind, text) for kinds in (PERSONAL, SECRET) for kind, texts in kinds.items() for text in texts]


def _rows(*texts: str) -> list[dict[str, str]]:
    return [{"prompt": f"q{i}", "completion": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize(("kind", "text"), ALL)
def test_fires_and_is_never_shown(kind: str, text: str) -> None:
    [finding] = find(Secrets, _rows("nothing", f"Here it is: {text} and again ({text}), use it."))
    assert finding.name == _name_of(kind)
    assert finding.severity == ("warning" if kind in PERSONAL else "error")
    assert finding.message.endswith(f"{kind} (1)") and [row.number for row in finding.rows] == [2]
    _assert_hidden(text, json.dumps(asdict(finding)))


@pytest.mark.parametrize(("kind", "text"), ALL)
@pytest.mark.parametrize("before", [0, 60, 120, 140, 150, 155])
def test_the_mask_hides_what_was_cut(kind: str, text: str, before: int) -> None:
    example = shorten("a" * before + f" is {text} and more " + "b" * 200)
    _assert_hidden(text, mask(example))
    assert mask(mask(example)) == mask(example)


def _name_of(kind: str) -> str:
    return "personal_data" if kind in PERSONAL else "secrets"


def _assert_hidden(secret: str, shown: str) -> None:
    parts = [part for part in secret.replace("-----", " ").split() if len(part) > 8] or [secret]
    for part in parts:
        if part in ("PRIVATE", "BEGIN"):
            continue
        for length in (9, len(part)):
            assert part[-length:] not in shown and part[:length] not in shown, shown


def test_numbers_in_brackets() -> None:
    assert [one.kind for one in find_secrets("(4539 1488 0343 6467)")] == ["card number"]
    assert [one.kind for one in find_secrets("(+44 20 7946 0958)")] == ["phone number"]


def test_passwords() -> None:
    [finding] = find(Secrets, _rows('{"password": "aB3#fG7!kL@9"}', "my password is Tr0ub4dor&3"))
    assert finding.name == "secrets" and finding.severity == "warning" and finding.count == 2
    assert "fG7" not in json.dumps(asdict(finding)) and "ub4dor" not in json.dumps(asdict(finding))


@pytest.mark.parametrize(
    "text",
    [
        "Write to info@example.com or me@test.com.",
        "Call 555-123-4567 or (555) 123-4567 or 1-800-555-0199.",
        "Try the card 4111 1111 1111 1111 or 4242-4242-4242-4242.",
        "GB82 WEST 1234 5698 7654 32 is the usual example.",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "sk-your-key-goes-here-as-you-know",
        "password = os.environ['PASSWORD']; password: ********; the secret is out",
        "the sum is 355909190063 - 746 and 4539148803436467 + 1",
        "4539 1488 0343 6468 is no card: the last digit is wrong",
        "GB33BUKB20201555555556",
        "on 2024-01-02 10:11:12, at 1.2.3.4, ISBN 978-3-16-148410-0",
        "task-oriented and risk-averse people",
        "if text[i] in '0123456789': pass",
    ],
)
def test_stays_silent(text: str) -> None:
    assert find(Secrets, _rows(text)) == []


def test_the_mask_leaves_the_rest() -> None:
    assert mask("Ask jane.roe@somewhere.com about 42 things.") == "Ask ja***@***.com about 42 things."
    assert mask("a key sk-" + _RANDOM + " here") == "a key sk-*** here"
    assert mask("In 2024 it cost 1,200 euros.") == "In 2024 it cost 1,200 euros."


@pytest.mark.parametrize(("kind", "text"), ALL)
def test_no_finding_of_the_whole_report_shows_one(kind: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    line = json.dumps({"prompt": f"What is it? {text}", "completion": f"It is {text}, as said."})
    path.write_text(f"{line}\n" * 3)
    report = check_places({"train": [path]}, [Secrets, DuplicateRows], partial(Context))
    assert {one.name for one in report.findings} == {"duplicate_rows", _name_of(kind)}
    _assert_hidden(text, json.dumps(report.to_dict()))


def test_a_long_line_takes_no_time() -> None:
    for text in ("a" * 2_000_000 + "@", "@" * 200_000, "1" * 500_000, "eyJ" * 100_000, "A1 " * 300_000):
        assert list(find_secrets(text)) == []


def test_merges() -> None:
    assert_merges(Secrets, _rows(*[text for _, text in ALL], "nothing", "password: aB3#fG7!kL@9"))


@pytest.mark.slow
@needs_shared
def test_real_files() -> None:
    for path in (
        "wikisql",
        "instruct/gsm8k_train.jsonl",
        "classify/banking77_train.csv",
        "code",
        "rugby_seed",
    ):
        assert names(report_on(path, Secrets)) == []
    [(_, name, count)] = names(report_on("classify/SMSSpamCollection", Secrets))
    assert name == "personal_data" and 200 < count < 260
