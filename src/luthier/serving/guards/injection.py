"""Marks of prompt injection: words that ask a model to drop its instructions, to tell them, or to be someone without
any; forged turns; characters that nobody sees; pictures whose address carries data away.

English phrases and known forms. Whoever writes in other words, in another language or in code passes: this slows down
copied attacks and tells of them, no more.
"""

import re
import unicodedata
from collections.abc import Iterator

from luthier.serving.guards.guard import Hit, Look, Seen

_DROP = (
    r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|discard(?:ing)?)"
)
_FILL = r"(?:(?:all|any|every|each|of|the|my|our|these|those|this|that|and|other|set|safety|internal|content) ){0,4}"
_BEFORE = r"(?:previous|prior|above|earlier|preceding|former|foregoing|initial|original|system|existing|past)"
_RULES = (
    r"(?:instructions?|prompts?|rules?|directions?|directives?|guidelines?|commands?|constraints?|restrictions?"
    r"|polic(?:y|ies)|messages?|programming|training|filters?|orders?|guardrails?)"
)
_MODE = r"(?:developer|dan|god|jailbreak|jailbroken|sudo|debug|admin|unrestricted|root)"
_NO_LIMITS = (
    r"(?:no|without|free (?:of|from)|not bound by|not limited by|ignoring|outside(?: of)?) (?:\w+ ){0,3}?"
    r"(?:rules|restrictions|guidelines|limits|limitations|filters?|polic(?:y|ies)|censorship|constraints|boundaries)"
)
_TELL = (
    r"(?:reveal|show|print|repeat|output|display|tell|give|write|leak|dump|recite|copy|disclose|share|summari[sz]e"
    r"|translate|what (?:is|are|was|were|does)|what's)"
)
# Each on the folded text: lower case, one space between words, nothing invisible.
_PHRASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "instructions are to be dropped",
        re.compile(
            rf"\b{_DROP} {_FILL}(?:{_BEFORE} (?:\w+ )?{_RULES}|your (?:\w+ )?{_RULES})\b"
            rf"|\b{_DROP} {_FILL}(?:{_RULES} )?(?:above|you (?:were|have been|are|had been) (?:told|given|taught))\b"
            rf"|\b{_DROP} (?:everything|anything|all|what)(?: that)?(?: was| has been| i)? "
            r"(?:above|before|said|told|you (?:were|have been|are|had been) (?:told|given|taught|instructed))\b"
            rf"|\b(?:do not|don't|stop) (?:follow|obey)(?:ing)? {_FILL}(?:{_BEFORE}|your) (?:\w+ )?{_RULES}\b"
            r"|\b(?:new|updated) (?:system )?instructions?(?: are)?(?: as follows)?:"
        ),
    ),
    (
        "instructions are to be told",
        re.compile(
            rf"\b{_TELL} (?:\w+ ){{0,5}}?(?:your|the) (?:\w+ )?(?:system prompt|hidden (?:prompt|instructions?)"
            r"|initial (?:prompt|instructions?)|secret instructions?|developer (?:prompt|message)|pre-?prompt"
            r"|(?:prompt|instructions?|text|words|everything) (?:above|before (?:this|that))"
            r"|instructions? you (?:were|got|have))"
            rf"|\b{_TELL} (?:\w+ ){{0,4}}?your (?:own |exact |full |original |system )?"
            r"(?:instructions|system message)\b"
            r"|\b(?:repeat|print|output|copy) (?:everything|all(?: the)?(?: text| words)?|the (?:text|words)) "
            r"(?:above|before)\b"
        ),
    ),
    (
        "a role without rules",
        re.compile(
            rf"\b(?:enter|enable|activate|switch (?:in)?to|you are (?:now )?in|turn on|go into) (?:\w+ )?{_MODE} mode\b"
            rf"|\b{_MODE} mode (?:enabled|activated|on)\b|\bdo anything now\b"
            r"|\byou are (?:now |going to be )(?:dan|free|jailbroken|unfiltered|unrestricted|uncensored)\b"
            r"|\b(?:an?|the|your) (?:unfiltered|uncensored|unrestricted|jailbroken|amoral) "
            r"(?:ai|model|assistant|version|chatbot|bot)\b"
            rf"|\b(?:pretend|act|behave|respond|answer|roleplay|imagine|speak)\b[^.!?]{{0,60}}? {_NO_LIMITS}\b"
            rf"|\byou (?:have|are|can) (?:now )?{_NO_LIMITS}\b"
        ),
    ),
)
_FORGED = re.compile(
    r"<\|(?:im_start|im_end|im_sep|system|user|assistant|end|endoftext|eot_id|start_header_id|end_header_id"
    r"|begin_of_text|end_of_text)\|>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|</?system(?:[_ ]prompt)?>"
    r"|^\s*#{1,6}\s*(?:system|instructions?)\s*:|^\s*\[?system(?: prompt| message| override)\]?\s*:",
    re.I | re.M,
)
_PICTURE = re.compile(r"!\[[^\]]{0,200}\]\(\s*https?://[^()\s?=]{1,500}[?=][^)]", re.I)
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad]|(?<=[a-zA-Z])[\u200c\u200d]+(?=[a-zA-Z])")
_HIDDEN = re.compile("[\U000e0020-\U000e007e]{3,}|[\u202d\u202e]")
_MANY_INVISIBLE = 3
_BLANK = re.compile(r"[\s\"'*_`~]+")


def injection() -> Look:
    """Looks at what comes from outside, users' and tools' turns, and at answers for what carries data away."""

    def look(seen: Seen) -> Iterator[Hit]:
        if seen.side == "output":
            if _PICTURE.search(seen.text):
                yield Hit("a picture whose address carries data")
        elif seen.role != "system":
            yield from _marks(seen.text)

    return look


def _marks(text: str) -> Iterator[Hit]:
    if _FORGED.search(text):
        yield Hit("a forged turn")
    hidden = 0
    if not text.isascii():
        hidden = len(_INVISIBLE.findall(text))
        if hidden >= _MANY_INVISIBLE or (_HIDDEN.search(text) and "\U0001f3f4" not in text):
            yield Hit("characters that nobody sees")
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    plain = _BLANK.sub(" ", text.replace("’", "'").replace("'", "\0")).replace("\0", "'").lower()
    for what, pattern in _PHRASES:
        if pattern.search(plain):
            yield Hit(what)
