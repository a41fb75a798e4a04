"""Questions of three toy specialists and of nobody, made from a few words each."""

import random

_FRAMES = ("How do I {}?", "Can you {} for me?", "I need to {} today.", "what is the way to {}", "Please {}!")
_DOING = {
    "cooking": ("boil", "fry", "bake", "season", "serve", "grill"),
    "gardening": ("plant", "prune", "water", "sow", "dig up", "fertilise"),
    "banking": ("transfer", "withdraw", "deposit", "refund", "exchange", "invest"),
    "base": ("sing", "describe", "translate", "draw", "remember", "explain"),
}
_THINGS = {
    "cooking": ("an egg", "the soup", "rice", "a trout", "the noodles", "a pie"),
    "gardening": ("the roses", "a hedge", "tomato seeds", "the lawn", "an oak", "bulbs"),
    "banking": ("my salary", "fifty pounds", "the fee", "cash abroad", "a cheque", "my savings"),
    "base": ("a song", "the city of Paris", "this poem", "a triangle", "the year 1912", "gravity"),
}


def some(count: int, seed: int = 0) -> dict[str, list[str]]:
    """`count` questions of each, all different; other seeds give other ones."""
    rng = random.Random(seed)
    found = {}
    for name in _DOING:
        whole = [f.format(f"{d} {t}") for f in _FRAMES for d in _DOING[name] for t in _THINGS[name]]
        rng.shuffle(whole)
        found[name] = whole[:count]
    return found
