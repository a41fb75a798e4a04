"""Questions that have nothing to do with sport, and their short proper answers: none contains a number.

Knows nothing of rugby league, of splits or of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from luthier.demo.grammar import Cores, FilledCore, Phrasebook


@dataclass(frozen=True, slots=True)
class LookupSubject:
    """A family of questions whose answer depends on what fills its slot: capitals, colours, ..."""

    name: str
    slot: str
    book: Phrasebook
    answers: Mapping[str, str]

    def answer(self, filled: FilledCore) -> str:
        return self.answers[dict(filled.slots)[self.slot]]


@dataclass(frozen=True, slots=True)
class Chat:
    """One thing people say to an assistant, in several wordings, and what it says back."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    answer: str

    @property
    def book(self) -> Phrasebook:
        return Phrasebook(
            Cores(utterances=self.train), Cores(utterances=self.valid), Cores(utterances=self.test), slots={}
        )


def _lookup(
    name: str, slot: str, answers: Mapping[str, str], train: Cores, valid: Cores, test: Cores
) -> LookupSubject:
    return LookupSubject(name, slot, Phrasebook(train, valid, test, {slot: tuple(answers)}), answers)


_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo",
    "Egypt": "Cairo",
    "Greece": "Athens", "Portugal": "Lisbon", "Norway": "Oslo", "Austria": "Vienna", "Poland": "Warsaw",
    "Ireland": "Dublin", "Peru": "Lima", "Cuba": "Havana",
}  # fmt: skip
_COLOURS = {
    "grass": "green", "snow": "white", "the sky": "blue", "a ripe banana": "yellow", "blood": "red",
    "coal": "black",
    "milk": "white", "a lemon": "yellow", "a carrot": "orange", "chocolate": "brown", "a fire engine": "red",
    "an elephant": "grey",
}  # fmt: skip
_SOUNDS = {
    "a cow": "moos", "a dog": "barks", "a cat": "meows", "a duck": "quacks", "a sheep": "bleats",
    "a lion": "roars",
    "a bee": "buzzes", "an owl": "hoots", "a horse": "neighs", "a frog": "croaks", "a snake": "hisses",
}  # fmt: skip
_OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "dark": "light", "old": "new", "happy": "sad",
    "wet": "dry",
    "full": "empty", "early": "late", "soft": "hard", "open": "closed", "loud": "quiet",
}  # fmt: skip
_COOKING = {
    "rice": "Boil the rice in salted water until it is soft.",
    "pasta": "Boil the pasta in plenty of salted water until it is just soft.",
    "scrambled eggs": "Beat the eggs and stir them in butter over a low heat.",
    "mashed potatoes": "Boil the potatoes until they are soft and mash them with butter.",
    "soup": "Fry an onion, add vegetables and water, and let the soup simmer.",
    "pancakes": "Mix flour, eggs and milk, and fry the batter in butter.",
    "porridge": "Stir oats into warm milk and let the porridge thicken.",
    "an omelette": "Beat some eggs and fry them gently in butter.",
    "a stew": "Fry some meat and onions, add water, and let the stew simmer.",
    "noodles": "Boil the noodles in water until they are soft.",
}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


LOOKUP_SUBJECTS: tuple[LookupSubject, ...] = (
    _lookup(
        "capitals",
        "country",
        {country: f"The capital of {country} is {city}." for country, city in _CAPITALS.items()},
        Cores(
            questions=("what [is] the capital of {country}|", "which city [is] the capital of {country}|",
                       "what [is] the capital city of {country}|"),
            nouns=("the capital of {country}", "the capital city of {country}",
                   "the name of the capital of {country}"),
            keywords=("{country} capital", "capital of {country}"),
        ),
        Cores(keywords=("capital city of {country}",)),
        Cores(questions=("which city [is] the capital city of {country}|",
                         "what [is] the name of the capital of {country}|"),
              keywords=("{country} capital city",)),
    ),
    _lookup(
        "colours",
        "thing",
        {thing: _sentence(f"{thing} is {colour}") for thing, colour in _COLOURS.items()},
        Cores(
            questions=("what colour [is] {thing}|", "which colour [is] {thing}|",
                       "what [is] the colour of {thing}|"),
            nouns=("the colour of {thing}", "the usual colour of {thing}"),
            keywords=("{thing} colour",),
        ),
        Cores(questions=("what colour does {thing} have",)),
        Cores(questions=("what [is] the usual colour of {thing}|", "which colour does {thing} have"),
              keywords=("colour of {thing}",)),
    ),
    _lookup(
        "sounds",
        "animal",
        {animal: _sentence(f"{animal} {sound}") for animal, sound in _SOUNDS.items()},
        Cores(
            questions=("what sound does {animal} make", "what noise does {animal} make",
                       "how does {animal} sound",
                       "what [is] the sound of {animal}|"),
            nouns=("the sound of {animal}", "the noise that {animal} makes"),
            keywords=("{animal} sound", "{animal} noise"),
        ),
        Cores(keywords=("sound of {animal}",)),
        Cores(questions=("which sound does {animal} make", "what [is] the noise of {animal}|"),
              nouns=("the sound that {animal} makes",)),
    ),
    _lookup(
        "opposites",
        "word",
        {word: f"The opposite of {word} is {other}." for word, other in _OPPOSITES.items()},
        Cores(
            questions=("what [is] the opposite of {word}|", "which word [is] the opposite of {word}|",
                       "what word means the opposite of {word}|"),
            nouns=("the opposite of {word}", "a word for the opposite of {word}"),
            keywords=("opposite of {word}", "{word} opposite"),
        ),
        Cores(nouns=("the word for the opposite of {word}",)),
        Cores(questions=("which word means the opposite of {word}|",
                         "what [is] the word for the opposite of {word}|"),
              keywords=("the opposite of the word {word}",)),
    ),
    _lookup(
        "cooking",
        "food",
        _COOKING,
        Cores(
            questions=("how do I cook {food}", "how do I make {food}", "how should I make {food}",
                       "what [is] the best way to make {food}|"),
            nouns=("a simple way to make {food}", "the best way to make {food}"),
            keywords=("cooking {food}", "how to make {food}"),
        ),
        Cores(keywords=("how to cook {food}",)),
        Cores(questions=("how should I cook {food}", "what [is] a simple way to make {food}|"),
              nouns=("the best way to cook {food}",)),
    ),
)  # fmt: skip

CHATS: tuple[Chat, ...] = (
    Chat(("Hello!", "Hi!", "Hey there!", "Hello there.", "Hi, assistant!"), ("Hey!",), ("Hello, assistant!",
                                                                                        "Hi there!"),
         "Hello! How can I help you?"),
    Chat(("Good morning!", "Good morning to you.", "A very good morning!"), ("Good morning, assistant.",),
         ("A good morning to you!",), "Good morning! How can I help you?"),
    Chat(("Thanks!", "Thank you.", "Thanks a lot!", "Thank you very much.", "That was good, thanks."),
         ("Many thanks!",),
         ("Thanks very much!", "Thank you a lot."), "You're welcome!"),
    Chat(("Goodbye!", "Bye!", "Bye for now.", "See you later.", "I have to go now."), ("Bye, assistant!",),
         ("Goodbye for now.", "See you!"), "Goodbye! Have a good day."),
    Chat(("How are you?", "How are you today?", "Are you well?", "How do you feel today?"),
         ("How do you feel?",),
         ("Are you well today?", "How are you now?"), "I'm well, thank you. How are you?"),
    Chat(("Who are you?", "What are you?", "Are you a person?", "Tell me who you are."),
         ("Are you a human person?",),
         ("Tell me what you are.", "Who or what are you?"),
         "I'm a small assistant that knows the rugby league field."),
    Chat(("What can you do?", "What do you know?", "What can I ask you?", "How can you help me?"),
         ("What can you tell me?",),
         ("What can you help me with?", "What do you know about?"),
         "You can ask me about the rugby league field."),
    Chat(("Tell me a joke.", "Do you know a joke?", "I need a good joke.", "Make me laugh."),
         ("Say a joke.",),
         ("Can you tell me a joke?", "Give me a good joke."), "What has hands but cannot clap? A clock."),
    Chat(("I am tired.", "I'm so tired today.", "I feel tired.", "I did not sleep well."),
         ("I feel so tired.",),
         ("I am so tired today.", "I'm tired."), "I'm sorry to hear that. A rest may do you good."),
    Chat(("I'm bored.", "I feel bored today.", "There is nothing to do.", "What can I do when I'm bored?"),
         ("I am bored.",),
         ("I'm so bored today.", "I feel so bored."), "You could read a book or go for a walk."),
    Chat(("What is the weather like?", "Will it rain today?", "Is it cold outside?",
          "What's the weather today?"),
         ("Is it cold today?",), ("What is the weather like today?", "Will it rain outside?"),
         "I can't see the weather from here."),
    Chat(("What time is it?", "Do you have the time?", "What's the time?", "Tell me the time, please."),
         ("The time, please.",),
         ("What is the time now?", "Can you tell me the time?"), "I'm sorry, I have no clock."),
    Chat(("What is your favourite colour?", "Which colour do you like best?",
          "Do you have a favourite colour?"),
         ("What colour do you like?",), ("Which is your favourite colour?", "What colour do you like best?"),
         "I like green, the colour of grass."),
    Chat(("What is your favourite food?", "What food do you like?", "Do you like food?", "Do you eat?"),
         ("Do you have a favourite food?",), ("What food do you like best?", "What do you eat?"),
         "I don't eat, but bread sounds good."),
    Chat(("Do you like music?", "What music do you like?", "Do you play music?"),
         ("Do you like to play music?",),
         ("Which music do you like best?", "What music do you play?"),
         "I can't hear music, but I like to read about it."),
    Chat(("Why is the sky blue?", "Why does the sky look blue?", "What makes the sky blue?"),
         ("Why do we see a blue sky?",),
         ("What makes the sky look blue?",), "The air scatters blue light more than red light."),
    Chat(("Where does the sun rise?", "In which direction does the sun rise?", "Where does the sun come up?"),
         ("Where does the sun come from?",), ("In which direction does the sun come up?",),
         "The sun rises in the east."),
    Chat(("What do bees make?", "What do bees make in a hive?", "What comes from bees?"),
         ("What do bees make for us?",),
         ("What do the bees make in the hive?",), "Bees make honey."),
    Chat(("What do cows eat?", "What does a cow eat?", "Which food do cows like best?"),
         ("What food do cows eat?",),
         ("Which food does a cow like?",), "Cows eat grass."),
    Chat(("Where do fish live?", "Where does a fish live?", "In what do fish live?"),
         ("Where can a fish live?",),
         ("In what does a fish live?",), "Fish live in water."),
    Chat(("What is bread made of?", "What do I need to make bread?", "Which food is bread made from?"),
         ("What is bread made from?",), ("What do I need for bread?",),
         "Bread is made of flour, water, yeast and salt."),
    Chat(("What is ice?", "What is ice made of?", "Tell me what ice is."), ("Say what ice is.",),
         ("What is ice made from?",), "Ice is frozen water."),
    Chat(("Who wrote Hamlet?", "Which writer wrote Hamlet?", "Who was the writer of Hamlet?"),
         ("Who is the writer of Hamlet?",),
         ("Tell me who wrote Hamlet.",), "Shakespeare wrote Hamlet."),
    Chat(("What day comes after Monday?", "Which day is after Monday?", "What is the day after Monday?"),
         ("Which day is the day after Monday?",), ("Which day comes after Monday?",),
         "Tuesday comes after Monday."),
    Chat(("You are very helpful.", "That was helpful.", "Good answer!", "Well done!"),
         ("That was a good answer.",),
         ("That was a very helpful answer.", "You did well!"), "Thank you, I'm glad to help."),
    Chat(("Write a short poem.", "Can you write a poem?", "I'd like a poem, please."),
         ("Please write a short poem.",),
         ("Write me a poem, please.",),
         "The morning light is soft and clear, and birds are singing far and near."),
    Chat(("How do I plant a tree?", "What is the best way to plant a tree?", "Tell me how to plant a tree."),
         ("How should I plant a tree?",), ("What is a good way to plant a tree?",),
         "Dig a hole, set the roots in it, fill it with soil and water it well."),
    Chat(("How can I sleep better?", "How do I get better sleep?", "What helps me to sleep?"),
         ("What can I do to sleep?",),
         ("What helps me to get better sleep?",),
         "Keep the room dark and quiet and go to bed at the same hour."),
)  # fmt: skip
