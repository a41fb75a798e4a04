"""Which answers say that the context does not hold them."""

import pytest

from luthier.chat.context import abstains


@pytest.mark.parametrize(
    "text",
    [
        None,
        " ",
        "The answer is not in the context.",
        "This is not mentioned in the passage.",
        "The context does not say.",
        "The provided text doesn't contain this information.",
        "That cannot be answered from the given documents.",
        "It can’t be determined.",
        "Unanswerable",
        "I don't know.",
        "There is not enough information to tell.",
        "No answer",
        "The price isn't stated in the article.",
    ],
)
def test_abstentions(text: str | None) -> None:
    assert abstains(text)


@pytest.mark.parametrize(
    "text",
    [
        "68 metres.",
        "The mayor did not come to the party.",
        "No.",
        "He is not in Paris.",
        "It does not rain in summer.",
        "Two teams, neither of which won.",
        "Nobody knows the answer better than Ann.",
        "The context of the poem is the war.",
    ],
)
def test_answers(text: str) -> None:
    assert not abstains(text)
