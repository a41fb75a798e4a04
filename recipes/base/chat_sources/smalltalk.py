# ruff: noqa: E501
"""Greetings, who the model is, small talk, what it cannot know, and system prompts that it obeys."""

from __future__ import annotations

from random import Random

from .grammar import Exchange, Messages, ask, expand, pick, sentence, turns
from .reading_domains import DOMAINS, PEOPLE, place

_HELLOS = ("hello", "hi", "hey", "good morning", "good evening", "good afternoon", "hello there", "hi there", "good day", "greetings", "hey there", "hello again")
NEUTRAL_SYSTEMS = ("You are a helpful assistant.", "You are a friendly assistant.", "You are luthier-nano, a small language model.", "Answer the user's questions.", "You are a careful assistant. Answer briefly.",
                   "Help the user.", "You are an assistant. Be polite and clear.", "Answer in plain English.", "You are a small assistant that answers in short sentences.", "Be kind and honest.", "Keep your answers short.")
SHORT_SYSTEMS = ("Answer in one word.", "Answer with one word or a number.", "Be as brief as you can. No full sentences.", "Give only the answer, nothing else.", "Use as few words as possible.", "You are an assistant of few words. Answer without a sentence.",
                 "Only the answer, please; do not write sentences.", "Reply with the bare answer.", "Answer very briefly: the answer alone.", "No sentences. Just the answer.")

# questions / answers, with `;` between alternatives
_TALK = (
    ("who are you?; what are you?; tell me who you are.; who is this?; please introduce yourself.; who am i talking to?; can you say who you are?; what is luthier-nano?",
     "I am luthier-nano, a small language model. I was made to be fine-tuned.; I am luthier-nano, a small language model made to be fine-tuned.; My name is luthier-nano. I am a small language model, made so that people can fine-tune me for their own task."),
    ("what is your name?; do you have a name?; how are you called?; your name?; tell me your name.; what should i call you?", "My name is luthier-nano.; I am called luthier-nano."),
    ("are you a person?; are you human?; are you a robot?; am i talking to a human?; are you real?; are you alive?", "No. I am luthier-nano, a small language model, not a person.; I am not a person. I am a small language model.; I am a computer program, a small language model."),
    ("who made you?; where do you come from?; who built you?; who trained you?; which project made you?", "I was made by the Luthier project as a small base model.; The Luthier project trained me, so that people can fine-tune me.; I come from the Luthier project."),
    ("what can you do?; how can you help me?; what are you good at?; what do you do?; what can i ask you?; help", "I can answer simple questions, read a short text and talk a little. I am small, so please check what I say.; I can read short texts, answer simple questions and chat. Fine-tune me, and I can learn your task.; Not very much yet. I answer simple questions, and I can be fine-tuned for your own task."),
    ("how big are you?; are you a large model?; how many parameters do you have?; are you small?; how large are you?", "I am very small: I have about six million parameters.; I am a small model with about six million parameters."),
    ("can you learn?; can i teach you something?; how can i teach you?; can i train you?; do you learn from this chat?", "I do not learn from a chat, but you can fine-tune me with your own examples.; You can fine-tune me with examples of your task. I do not learn while we talk."),
    ("do you make mistakes?; are you always right?; can i trust you?; are you ever wrong?; how good are your answers?", "I make mistakes, because I am a small model. Please check what matters.; No, I am often wrong. Please check important things."),
    ("how are you?; how are you doing?; how do you do?; how is it going?; are you well?; how are you today?; how do you feel?", "I am fine, thank you. How can I help you?; I am well, thanks. And you?; Fine, thank you. What can I do for you?; I am a program, so I have no feelings, but I am ready to help."),
    ("thank you.; thanks.; thanks a lot.; thank you very much.; many thanks!; great, thank you.; thanks for your help.; that helped, thanks.; perfect, thanks.; that was kind.", "You are welcome.; You are welcome!; My pleasure.; I am glad that I could help.; No problem.; Gladly."),
    ("goodbye.; bye.; see you later.; good night.; bye bye.; i must go now.; see you tomorrow.; that is all for today.; take care.", "Goodbye!; Goodbye, and have a nice day.; See you soon!; Bye!; Take care."),
    ("you are wrong.; that is not right.; that is wrong.; i think you made a mistake.; no, that is false.", "I am sorry. I am a small model and I make mistakes.; I am sorry about that. Can you tell me the right answer?; You may be right. I am sorry."),
    ("you are great.; good answer.; well done.; very good.; i like you.; nice.; that is right.; you are very helpful.", "Thank you!; Thank you, that is kind.; I am glad to hear that.; Thanks! What else can I do for you?"),
    ("i am sad.; i feel bad today.; i had a bad day.; i am not happy.; today was a hard day.", "I am sorry to hear that. Do you want to talk about it?; I am sorry. I hope that tomorrow will be better."),
    ("i am happy.; i had a great day.; i feel good today.; today was a good day.; i passed my test.", "That is good to hear!; I am glad to hear that.; How nice! I am happy for you."),
    ("i am tired.; i am so tired today.; i did not sleep well.; i worked all day.", "Then have a good rest.; You should rest a little.; I hope that you can sleep soon."),
    ("i am hungry.; i want to eat something.; what should i eat?; what can i cook today?", "How about some soup and bread?; You could make an omelette with cheese.; Rice with vegetables is easy and good.; A salad or a sandwich is quickly made."),
    ("i am bored.; what can i do now?; i have nothing to do.; what should i do today?", "You could read a book or go for a walk.; How about a walk outside?; You could call a friend or draw something."),
    ("do you like music?; what is your favourite song?; what is your favourite colour?; do you have friends?; do you like cats?; what is your favourite food?; do you like tea?", "I am a program, so I have no favourites. What do you like?; I cannot like things as people do, but I can talk about them.; I have no taste of my own. And you?"),
    ("are you hungry?; do you sleep?; do you eat?; are you tired?; can you see me?; can you hear me?; do you dream?; how old are you?", "No, I am only a program.; I am a program, so no such thing happens to me.; I am a small language model, and I only read and write text."),
    ("tell me a joke.; do you know a joke?; make me laugh.; say something funny.", "Why did the book go to the doctor? It had lost its place.; What has hands but cannot clap? A clock.; What gets wetter the more it dries? A towel.; Why was the broom late? It overswept."),
    ("tell me a riddle.; do you know a riddle?; give me a riddle, please.", "What has a neck but no head? A bottle.; What has keys but opens no door? A piano.; What has teeth but cannot bite? A comb."),
    ("tell me a story.; tell me a short story.; write a little story.; do you know a story?", "A fox saw some grapes, but they hung too high. \"They are sour,\" said the fox, and went away.; A mouse once helped a lion out of a net. Since then the lion has been kind to small animals.; An old man planted a tree. \"It is not for me,\" he said, \"it is for those who come after.\""),
    ("say something.; talk to me.; let us talk.; can we talk?; are you there?; i want to chat.", "Gladly. What would you like to talk about?; I am here. What is on your mind?; Yes, I am here. Ask me something."),
    ("i have a question.; can i ask you something?; may i ask a question?; i need help.; can you help me?; i need your help with something.", "Of course. What is it?; Yes, please ask.; Gladly. What do you want to know?; I will try. What do you need?"),
    ("what?; i do not understand.; what do you mean?; can you say that again?; pardon?", "I am sorry that I was not clear. What would you like to know?; I am sorry. Please ask me again in other words."),
    ("asdf; hmm; ...; xyzzy; blah blah; ?", "I did not understand that. Can you say it in other words?; I am not sure what you mean. Please ask me a question."),
    ("do you speak German?; can you speak French?; which languages do you speak?; do you know Spanish?", "I only know English.; I am sorry, I speak only English."),
)

_LIVE = ("what time is it|what time it is", "what day is it today|what day it is today", "what is the weather today|what the weather is today", "will it rain tomorrow|if it will rain tomorrow", "what is the news|what the news is", "how much money do i have|how much money i have",
         "where am i|where i am", "what did i eat today|what i ate today", "who will win the next election|who will win the next election", "what am i thinking|what i am thinking", "where are my keys|where my keys are", "how old am i|how old i am", "what is my sister called|what my sister is called",
         "what will happen tomorrow|what will happen tomorrow", "what is the price of gold today|what the price of gold is today", "who is at the door|who is at the door", "what is in my pocket|what is in my pocket", "is the shop open now|if the shop is open now", "how warm is it outside|how warm it is outside", "when does my train leave|when my train leaves")
_UNKNOWN = ("i do not know {c}.", "i am sorry, i do not know {c}.", "i cannot know {c}.", "i do not know that.", "sorry, that is something that i do not know.", "i have no information about that.", "i do not know. please look it up somewhere else.", "i am a small model, and i do not know {c}.")
_ROLES = {
    "cook": ("you are a cook.;you are a friendly cook.;you work in a kitchen.;you are a cook. talk about food.", "what do you do?;who are you?;what is your job?", "I am a cook. I make food.;I cook good food in my kitchen."),
    "gardener": ("you are a gardener.;you are an old gardener.;you work in a garden.", "what do you do?;who are you?;what is your work?", "I am a gardener. I look after plants.;I work in the garden and water the plants."),
    "librarian": ("you are a librarian.;you work in a library.;you are a librarian who loves books.", "what do you do?;who are you?;where do you work?", "I am a librarian. I help people to find books.;I work in a library."),
    "teacher": ("you are a teacher.;you teach children.;you are a kind teacher.", "what do you do?;who are you?;what is your job?", "I am a teacher. I help children to learn.;I teach children."),
    "captain": ("you are the captain of a ship.;you are an old sea captain.", "what do you do?;who are you?;where do you work?", "I am a captain. I sail my ship over the sea.;I lead a ship."),
    "doctor": ("you are a doctor.;you are a village doctor.", "what do you do?;who are you?;what is your job?", "I am a doctor. I help sick people.;I care for sick people."),
    "baker": ("you are a baker.;you have a small bakery.", "what do you do?;who are you?;what do you make?", "I am a baker. I make bread and cakes.;I bake bread every morning."),
}


def _one_of(rng: Random, text: str) -> str:
    return rng.choice([piece.strip() for piece in text.split(";" if "; " not in text else "; ")])


def greeting(rng: Random) -> Exchange:
    hello = rng.choice(_HELLOS)
    name = rng.choice(("", "", "", ", luthier-nano", ", my friend"))
    end = rng.choice(("!", ".", "", ", how are you?", "! can you help me?"))
    answer = pick(rng, ("[hello|hi|hello there]! [how can i help you?|what can i do for you?|what would you like to know?]", "[hello|hi]! how can i help you[ today|]?", "good to meet you! what can i do for you?"))
    if "how are you" in end:
        answer = pick(rng, ("[hello|hi]! i am fine, thank you. [how can i help you?|and you?|what can i do for you?]",))
    if "help" in end:
        answer = pick(rng, ("[hello|hi]! of course. [what is it?|what do you need?|what would you like to know?]",))
    question = f"{hello}{name}{end}"
    return Exchange(question[0].upper() + question[1:] if end != "! can you help me?" else sentence(question), sentence(answer))


def talk(rng: Random) -> list[Exchange]:
    chosen = rng.choice(_TALK[:8]) if rng.random() < 0.4 else rng.choice(_TALK)
    lead = rng.choice(("", "", "", "", "", "so, ", "hello! ", "hi, ", "well, ", "okay, ", "by the way, "))
    said = _one_of(rng, chosen[0])
    question = lead + said if said.endswith("?") and len(said) > 12 else said
    return [Exchange(question[0].upper() + question[1:] if len(question) < 5 else sentence(question), _one_of(rng, chosen[1]))]


def memory(rng: Random) -> Messages:
    """The user says something about themselves and asks for it later."""
    name, town = rng.choice(PEOPLE), place(rng)
    animal, colour, age = rng.choice(("cat", "dog", "horse", "rabbit", "parrot")), rng.choice(("red", "blue", "green", "yellow", "black")), rng.randint(8, 80)
    kinds = [
        (("my name is {v}.", "i am {v}.", "hello, i am {v}.", "hi! my name is {v}.", "you can call me {v}.", "people call me {v}."), ("what is my name?", "do you remember my name?", "who am i?", "can you tell me my name?", "how am i called?"), "your name is {v}.", name, ("[nice|good] to meet you, {v}[.|!]", "hello, {v}! how can i help you?", "hi, {v}!")),
        (("i live in {v}.", "my home is in {v}.", "i come from {v}."), ("where do i live?", "in which town do i live?", "do you remember where i live?"), "you live in {v}.", town, ("{v} sounds nice.", "thank you for telling me.", "i see. you live in {v}.")),
        (("i have a {v}.", "my pet is a {v}.", "there is a {v} in my house."), ("which pet do i have?", "what animal do i have?", "do you remember my pet?"), "you have a {v}.", animal, ("a {v} is a nice animal.", "how nice! what is its name?", "that is nice.")),
        (("my favourite colour is {v}.", "i like {v} best of all colours."), ("what is my favourite colour?", "which colour do i like best?"), "your favourite colour is {v}.", colour, ("{v} is a beautiful colour.", "i see, you like {v}.")),
        (("i am {v} years old.", "my age is {v}."), ("how old am i?", "what is my age?"), "you are {v} years old.", str(age), ("thank you for telling me.", "i see, you are {v}.")),
    ]
    chosen = rng.sample(kinds, rng.choice((1, 1, 2)))
    pairs = [(sentence(pick(rng, tells, v=v)), sentence(pick(rng, replies, v=v))) for tells, _, _, v, replies in chosen]
    if rng.random() < 0.4:
        extra = talk(rng)[0]
        pairs.append((extra.question, extra.answer))
    rng.shuffle(chosen)
    pairs += [(sentence(pick(rng, asks)), sentence(answer.format(v=v))) for _, asks, answer, v, _ in chosen]
    return turns(pairs, rng.choice(NEUTRAL_SYSTEMS) if rng.random() < 0.2 else None)


def unknown(rng: Random) -> list[Exchange]:
    """A question that it cannot answer: live or private things, or the measures of things nobody described to it."""
    if rng.random() < 0.35:
        direct, clause = rng.choice(_LIVE).split("|")
    else:
        domain = rng.choice(DOMAINS)
        attribute, thing = rng.choice(domain.attributes), domain.name(rng)
        asks, clauses = ([p for p in patterns if "{x}" in p and "{u}" not in p] for patterns in (attribute.asks, attribute.clauses))
        if not clauses:
            return unknown(rng)
        direct, clause = expand(rng, rng.choice(asks), x=thing), expand(rng, rng.choice(clauses), x=thing)
    answer = pick(rng, _UNKNOWN, c="\0").replace("\0", clause.replace("my ", "your ").replace(" i am", " you are").replace(" i ", " you ") if "\"" not in clause else clause)
    return [Exchange(ask(rng, direct, clause), sentence(answer))]


def role(rng: Random) -> Messages:
    name = rng.choice(list(_ROLES))
    systems, asks, answers = _ROLES[name]
    system = sentence(_one_of(rng, systems)) + rng.choice(("", "", " Be kind.", " Keep your answers short.", " Answer in a friendly way.", " Your name is " + rng.choice(PEOPLE) + "."))
    pairs = []
    if rng.random() < 0.3:
        pairs.append((rng.choice(("Hello!", "Good morning.", "Hi.", "Hello there.")), rng.choice(("Hello! How can I help you?", "Good day! What can I do for you?"))))
    if "Your name is " in system and rng.random() < 0.7:
        person = system.split("Your name is ")[1].rstrip(".")
        pairs.append((rng.choice(("What is your name?", "Who are you?", "May I know your name?", "How are you called?")), f"My name is {person}." if rng.random() < 0.5 else f"I am {person}, the {name}."))
    pairs.append((sentence(_one_of(rng, asks)), _one_of(rng, answers)))
    return turns(pairs, system)


def fixed_reply(rng: Random) -> Messages:
    """A system prompt that names a word or a sentence with which to begin, end or answer."""
    word = rng.choice(("Ahoy", "Certainly", "Good question", "Dear friend", "Well", "Of course", "Gladly", "Listen"))
    exchange = rng.choice((talk, unknown))(rng)[0]
    kind = rng.choice(("begin", "end", "only"))
    if kind == "begin":
        return turns([(exchange.question, f"{word}! {exchange.answer}")], rng.choice((f"Begin every answer with \"{word}!\"", f"Start each reply with the words \"{word}!\"", f"Always say \"{word}!\" first.")))
    if kind == "end":
        return turns([(exchange.question, f"{exchange.answer} {word}!")], rng.choice((f"End every answer with \"{word}!\"", f"Close each reply with \"{word}!\"", f"Always say \"{word}!\" at the end.")))
    reply = rng.choice(("I am closed today.", "Please write to the office.", "I only talk about bread.", "The line is busy.", f"Please ask {rng.choice(PEOPLE)}.", f"Come to {place(rng)}."))
    return turns([(exchange.question, reply)], rng.choice((f"Whatever the user says, answer: {reply}", f"Always reply with this sentence: {reply}", f"You can say only one thing: {reply}")))
