"""What is private in a text, as far as its form shows it, and how to hide it: personal data, keys, tokens, passwords.

E-mail addresses, phone, card and account numbers; keys of known providers, tokens, passwords that are called so.
Documented examples (example.com, test cards) are nobody's. `mask` hides more than `find_secrets` counts. Knows nothing
of names, addresses and other personal data that has no form.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

# From the sign on, and what stands before it is looked up: a search for names would go over every word.
_DOMAIN = re.compile(r"@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_NAME = re.compile(r"[\w.+%-]+\Z")
_LONGEST_NAME = 64
_NOBODYS_DOMAINS = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net|edu)|test\.com|domain\.com|email\.com|company\.com|yourcompany\.com|"
    r"[\w.-]*\.(?:example|invalid|test|local))$",
    re.I,
)
# Numbers are looked for only where this many digits stand together, with what people put between them.
_NUMBER = re.compile(r"[0-9](?:[ ().-]{0,3}[0-9]){8,24}")
_PHONE = re.compile(
    r"\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[.-]\d{4}"
)
_PHONE_ALONE = re.compile(r"0\d{9,10}")  # told from other numbers by the word before it
_SAYS_PHONE = re.compile(
    r"\b(?:call|phone|tel|telephone|mobile|whatsapp|fax)\b\W{0,3}(?:\w+\W+){0,3}\Z", re.I
)
_CARD = re.compile(r"[3-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}|3[47]\d{2}([ -]?)\d{6}\2\d{5}")
_SAYS_CARD = re.compile(r"\b(?:card|visa|mastercard|amex|credit|debit)\b", re.I)
_TEST_CARDS = frozenset(
    [
        "4111111111111111",
        "4242424242424242",
        "5555555555554444",
        "5105105105105100",
        "4012888888881881",
        "378282246310005",
        "371449635398431",
        "6011111111111117",
        "4000056655665556",
        "4000000000000002",
    ]
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_TEST_IBANS = frozenset({"GB82WEST12345698765432", "DE89370400440532013000", "GB29NWBK60161331926819"})
# One pattern a sign, which it begins with.
_KEYS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    (
        "-----BEGIN ",
        "private key",
        re.compile(r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----\s*[A-Za-z0-9+/=:]"),
    ),
    ("sk-", "API key", re.compile(r"sk-(?<![\w-]sk-)[A-Za-z0-9_-]{20,}")),
    ("k_live_", "API key", re.compile(r"k_live_(?<=[sr]k_live_)[A-Za-z0-9]{16,}")),
    ("AKIA", "API key", re.compile(r"AKIA(?<!\wAKIA)[A-Z0-9]{16}\b")),
    ("ASIA", "API key", re.compile(r"ASIA(?<!\wASIA)[A-Z0-9]{16}\b")),
    ("AIza", "API key", re.compile(r"AIza(?<!\wAIza)[A-Za-z0-9_-]{35}")),
    ("SG.", "API key", re.compile(r"SG\.(?<!\wSG\.)[\w-]{16,200}\.[\w-]{16,}")),
    *((f"gh{kind}_", "access token", re.compile(rf"gh{kind}_[A-Za-z0-9]{{36,}}")) for kind in "pousr"),
    ("github_pat_", "access token", re.compile(r"github_pat_\w{22,}")),
    ("glpat-", "access token", re.compile(r"glpat-[\w-]{20,}")),
    ("xox", "access token", re.compile(r"xox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("hf_", "access token", re.compile(r"hf_(?<!\whf_)[A-Za-z0-9]{30,}")),
    ("npm_", "access token", re.compile(r"npm_[A-Za-z0-9]{36}")),
    ("pypi-", "access token", re.compile(r"pypi-[\w-]{40,}")),
    ("eyJ", "signed token", re.compile(r"eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{20,}")),
)
KEY_KINDS = tuple(dict.fromkeys(kind for _, kind, _ in _KEYS))
_PASSWORD = re.compile(
    r"\b(?:password|passwd|pwd|api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token)[\"']?\s*(?:=|:|\bis\b)"
    r"\s*[\"']?([^\s\"'<>{}\[\](),;]{8,100})",
    re.I,
)
_PASSWORD_SIGNS = ("passw", "pwd", "api_key", "api-key", "apikey", "secret", "token")
_NOBODYS_SECRET = re.compile(
    r"example|sample|x{4,}|\*{3,}|your|test|dummy|placeholder|changeme|redacted|1234567|abcdef|\.\.\.|(.)\1{5,}"
    r"|eyJzdWIiOiIxMjM0NTY3ODkw",  # the token shown on jwt.io
    re.I,
)


# Most texts hold nothing that is looked for. They are told by their outline, which is fifty times as fast to make and
# to search as the texts: digits as 0, capitals as A and all else as x; or letters, digits, - and _ as a.
_TO_KINDS = bytes(48 if chr(b) in "0123456789" else 65 if 65 <= b <= 90 else 120 for b in range(256))
_SEPARATORS = b" .-()+"
_LONG_NUMBER = b"0" * 9
_ACCOUNT_START = b"AA00"
_TO_WORDS = bytes(97 if chr(b) in "-_" or (b < 128 and chr(b).isalnum()) else 32 for b in range(256))
_LONG_WORD = b"a" * 15


class Secret(NamedTuple):
    """Where a text holds something private: characters [start, end), and what it is."""

    kind: str
    start: int
    end: int


PERSONAL = ("e-mail address", "phone number", "card number", "bank account")
SECRET = (*KEY_KINDS, "password")


def find_secrets(text: str) -> Iterator[Secret]:
    """What is private in a text, as far as its form shows it."""
    if "@" in text:
        for domain in _DOMAIN.finditer(text):
            name = _NAME.search(text[max(0, domain.start() - _LONGEST_NAME) : domain.start()])
            if name is not None and _NOBODYS_DOMAINS.search(domain.group()[1:]) is None:
                yield Secret("e-mail address", domain.start() - len(name.group()), domain.end())
    data = text.encode("utf-8", "surrogatepass")
    numbers = data.translate(_TO_KINDS, _SEPARATORS)
    if _LONG_NUMBER in numbers:
        for number in _NUMBER.finditer(text):
            start = _start_of_number(text, number)
            kind = _kind_of_number(text, start, number.end())
            if kind is not None:
                yield Secret(kind, start, number.end())
    if _ACCOUNT_START in numbers:
        yield from _matches("bank account", _IBAN, text, _is_iban)
    if _LONG_WORD in data.translate(_TO_WORDS):
        for sign, kind, pattern in _KEYS:
            if sign in text:
                yield from _matches(kind, pattern, text, _is_somebodys_secret)
    low = text.lower()
    for sign in _PASSWORD_SIGNS:
        if sign in low:
            yield from _matches("password", _PASSWORD, text, _is_password)
            break


_DIGITS = str.maketrans("", "", " -.()+")


def _start_of_number(text: str, match: re.Match[str]) -> int:
    """With the bracket of an area code and the plus of a country before the digits."""
    start = match.start()
    if start and text[start - 1] == "(" and ")" in match.group():
        start -= 1
    return start - 1 if start and text[start - 1] == "+" else start


def _kind_of_number(text: str, start: int, end: int) -> str | None:
    """Is a long number a card's or a phone's?"""
    number = text[start:end]
    if (start and (text[start - 1].isalnum() or text[start - 1] in "_.-+=/*$")) or text[
        end : end + 1
    ].isalnum():
        return None
    if _CARD.fullmatch(number) and _is_card(number.translate(_DIGITS)):
        grouped = not number.isdigit()
        return "card number" if grouped or _SAYS_CARD.search(text, max(0, start - 60), end + 40) else None
    said = _SAYS_PHONE.search(text, max(0, start - 40), start) is not None
    # A plus and digits alone may be a sum, a zero and digits alone any number.
    is_form = _PHONE.fullmatch(number) and (said or not number[1:].isdigit())
    is_told = said and _PHONE_ALONE.fullmatch(number)
    return "phone number" if (is_form or is_told) and _is_phone(number.translate(_DIGITS)) else None


def _matches(
    kind: str, pattern: re.Pattern[str], text: str, is_one: Callable[[re.Match[str]], bool]
) -> Iterator[Secret]:
    for match in pattern.finditer(text):
        if is_one(match):
            group = 1 if match.re.groups and match.group(1) is not None else 0
            yield Secret(kind, *match.span(group))


def _is_phone(digits: str) -> bool:
    # 555 is kept for stories, 800 and its like for companies; 0123456789 is nobody's.
    local = digits[-10:]
    made_up = (
        local[:3] in ("555", "800", "888", "877", "866") or local[3:6] == "555" or digits in "01234567890"
    )
    return 9 <= len(digits) <= 15 and not made_up


def _is_card(digits: str) -> bool:
    return 13 <= len(digits) <= 19 and digits not in _TEST_CARDS and _luhn(digits)


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_iban(match: re.Match[str]) -> bool:
    """ISO 13616: modulo 97 is 1."""
    code = match.group().replace(" ", "")
    if not 15 <= len(code) <= 34 or code in _TEST_IBANS:
        return False
    return int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1


def _is_somebodys_secret(match: re.Match[str]) -> bool:
    return _NOBODYS_SECRET.search(match.group()) is None


def _is_password(match: re.Match[str]) -> bool:
    """A value that someone may have chosen: letters and digits, no name of a variable, no word of an example."""
    value = match.group(1)
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and "." not in value and "_" not in value and _NOBODYS_SECRET.search(value) is None


# What `mask` hides: also what was cut at the end of an example, so that no form can be recognised any more.
_HIDDEN = re.compile(
    r"(?P<block>-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*-----|\Z))"
    r"|(?P<email>[^\s@\"'`<>(),;:\[\]]{1,64}@[\w*-]*(?:\.[\w*-]+)*)"
    r"|(?P<key>(?-i:\b(?:sk-|[sr]k_live_|A[KS]IA|AIza|SG\.|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|hf_|npm_|pypi-|eyJ)"
    r"(?=[\w.-]{0,200}[A-Z0-9])[\w.-]{4,}))"
    # Tokens of forms that are not known here, and the lines of a key whose beginning was cut away.
    r"|(?P<blob>[A-Za-z0-9+/_=-]{32,})"
    r"|(?P<account>(?-i:\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b))"
    r"|(?P<number>(?<![\w.])\+?\(?\d(?:[ ().-]{0,2}\d){8,}|(?<!\w)\+?\(?\d[\d ().-]{2,}(?=…))"
    r"|(?P<said>\b(?:password|passwd|pwd|api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token)[\"']?"
    r"\s*(?:=|:|\bis\b)\s*[\"']?)(?P<value>[^\s\"']{3,})",
    re.IGNORECASE | re.DOTALL,
)


def mask(text: str) -> str:
    """The text with everything private hidden: `jo***@***.com`, `sk-***`, `41***`.

    Hides more than `find_secrets` finds: what was cut short, and what might be an example.
    """
    return _HIDDEN.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    found = match.group()
    if match["block"]:
        return "-----BEGIN PRIVATE KEY----- ***"
    if match["email"]:
        name, domain = found.split("@", 1)
        ending = domain.rsplit(".", 1)[1] if "." in domain else ""
        return f"{name[:2]}***@***{'.' + ending if ending else ''}"
    if match["key"]:
        return f"{found[:3]}***"
    return f"{match['said']}***" if match["said"] else f"{found[:2]}***"
