# ruff: noqa: E501, SIM905
"""The domains of the reading tasks: which things there are, what they are called and which facts each kind has."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .reading_facts import (
    Attribute,
    Value,
    apart,
    choice,
    clock,
    colour,
    cost,
    count,
    dimension,
    happened,
    measure,
    part,
    simple,
    weight,
    whole,
)

_STARTS = ("Bar Cal Dor El Fen Gal Har Il Jor Kel Lin Mar Nor Or Pel Quin Ros Sal Tor Ul Ver Wil Yar Zan Ash Bren Cor Dun Ed Fal "
           "Gren Hol Is Ken Lor Mil Nes Os Pol Rav Sed Tam Ur Val Wes Bel Cas Del").split()
_MIDDLES = ["", "", "", "a", "i", "e", "en", "an", "ing", "er", "o"]
_ENDS = "ton ford ley by ham wick mont dale stead ville nor mar lan den bury field port well wood gate".split()
PEOPLE = ("Anna Ben Clara David Emma Frank Grace Henry Ida Jack Kate Leo Maria Nina Oscar Paul Rosa Sam Tina Victor Wendy Alan Beth "
          "Carl Dora Eric Fiona George Helen Ivan Julia Karl Laura Mark Nora Olga Peter Ruth Simon Tom Uma Vera Walter Amir Lina Omar "
          "Priya Kofi Mei Hugo Sofia Elsa Jonas Lucy Martin Alice Robert Sarah").split()
_FAMILIES = "Hill Stone Baker Lane Brook Marsh Wood Reed Cole Frost Hart Moss Park Snow Vale West Young Bell Dean Fox Gray".split()


def place(rng: Random) -> str:
    return rng.choice(_STARTS) + rng.choice(_MIDDLES) + rng.choice(_ENDS)


def full_name(rng: Random) -> str:
    return f"{rng.choice(PEOPLE)} {rng.choice(_FAMILIES)}"


def coined(rng: Random) -> str:
    """A made-up common noun."""
    return (rng.choice(_STARTS) + rng.choice(["o", "a", "i", "u", "e"]) + rng.choice(["l", "m", "n", "r", "t", "k", "v"])
            + rng.choice(["o", "a", "in", "et", "ock", "im", "u"])).lower()


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of thing. `names` are patterns over {p} place, {n} person, {k} coined word, {c} colour and {i} number."""

    kind: str
    names: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    pronoun: str = "it"

    def name(self, rng: Random) -> str:
        return rng.choice(self.names).format(
            p=place(rng), n=rng.choice(PEOPLE), f=full_name(rng), k=coined(rng), i=rng.randint(2, 99),
            c=rng.choice("red blue green white black grey yellow brown small large old new".split()), l=rng.choice("BCDFGHKLMNPR"),
        )


def _who(rng: Random) -> str:
    return full_name(rng)


def _domain(kind: str, names: str, *attributes: Attribute, pronoun: str = "it") -> Domain:
    return Domain(kind, tuple(name.strip() for name in names.split("/")), attributes, pronoun)


M, CM, KM, KG, G, MIN = "metres", "centimetres", "kilometres", "kilograms", "grams", "minutes"


def _length(low: float, high: float, unit: str = M, *, reserved: bool = False) -> Attribute:
    return dimension("long", "length", measure(low, high, unit, reserved=reserved))


def _width(low: float, high: float, unit: str = M, *, reserved: bool = False) -> Attribute:
    return dimension("wide", "width", measure(low, high, unit, reserved=reserved))


def _height(low: float, high: float, unit: str = M) -> Attribute:
    return dimension("high", "height", measure(low, high, unit))


def _depth(low: float, high: float, unit: str = M) -> Attribute:
    return dimension("deep", "depth", measure(low, high, unit))


def _by(verb: str) -> Attribute:
    return simple(f"{verb} by", f"{{x}} was {verb} by {{v}} / {{v}} {verb} {{x}}", f"who {verb} {{x}} / by whom was {{x}} {verb}",
                  f"who {verb} {{x}}", f"{{v}} {verb} {{x}} / {{x}} was {verb} by {{v}}", _who, f"and who {verb} it")


_PLACE = simple("place", "{x} is in {v} / {x} stands in {v} / you can find {x} in {v}", "where is {x} / in which town is {x} / in which place can i find {x}",
                "where {x} is / in which town {x} is", "{x} is in {v} / it is in {v}", place, "and where is it")
_OPENS = simple("opening time", "{x} opens at {v}", "when does {x} open / at what time does {x} open / what time does {x} open",
                "when {x} opens / at what time {x} opens", "{x} opens at {v} / it opens at {v}", clock, "and when does it open")
_CLOSES = simple("closing time", "{x} closes at {v}", "when does {x} close / at what time does {x} close / what time does {x} close",
                 "when {x} closes / at what time {x} closes", "{x} closes at {v} / it closes at {v}", clock, "and when does it close")
_LASTS = simple("duration", "{x} lasts {v} / {x} takes {v}", "how long does {x} last / how long does {x} take / for how long does {x} last",
                "how long {x} lasts / how long {x} takes", "{x} lasts {v} / it lasts {v}", measure(5, 180, MIN), "and how long does it last")
_LIVES = simple("life", "{x} lives for {v} / {x} can live for {v}", "how long does {x} live / how many years does {x} live", "how long {x} lives",
                "{x} lives for {v} / it lives for {v}", measure(2, 90, "years"), "and how long does it live")
_EATS = simple("food", "{x} eats {v} / {x} feeds on {v} / the food of {x} is {v}", "what does {x} eat / what is the food of {x} / what does {x} feed on",
               "what {x} eats", "{x} eats {v} / it eats {v}", choice("grass,leaves,small fish,insects,seeds,berries,roots,snails,nuts,bark,worms,moss,crabs,honey"),
               "and what does it eat")
_SPEED = simple("speed", "the top speed of {x} is {v} / {x} can reach {v}", "how fast is {x} / what is the top speed of {x} / how fast can {x} go",
                "how fast {x} is / what the top speed of {x} is", "the top speed of {x} is {v} / {x} can reach {v}", measure(12, 320, "kilometres per hour"), "and how fast is it")
_WARRANTY = simple("warranty", "{x} has a warranty of {v} / the warranty of {x} lasts {v}", "how long is the warranty of {x} / what is the warranty of {x}",
                   "how long the warranty of {x} is", "the warranty of {x} lasts {v} / it has a warranty of {v}", measure(6, 60, "months"), "and the warranty")
_AGE = simple("age", "{x} is {v} years old / the age of {x} is {v} / {x} turned {v} this year", "how old is {x} / what is the age of {x}", "how old {x} is",
              "{x} is {v} years old / {x} is {v}", whole(5, 89), "and how old")
_JOB = simple("job", "{x} is a {v} / {x} works as a {v}", "what does {x} do / what is the job of {x} / what work does {x} do / what is {x}",
              "what {x} does / what the job of {x} is", "{x} is a {v} / {x} works as a {v}",
              choice("baker,teacher,nurse,farmer,painter,driver,cook,doctor,gardener,singer,writer,builder,pilot,tailor,lawyer,dentist"))
_HOME = simple("home", "{x} lives in {v} / the home of {x} is in {v}", "where does {x} live / in which town does {x} live", "where {x} lives",
               "{x} lives in {v}", place)
_PET = simple("pet", "{x} has a {v} / {x} keeps a {v}", "what pet does {x} have / which animal does {x} keep / which pet does {x} have", "which pet {x} has",
              "{x} has a {v}", choice("cat,dog,parrot,rabbit,goat,pony,turtle,hamster,canary,goldfish"))
_LIKES = simple("favourite food", "{x} likes {v} best / the favourite food of {x} is {v}", "what does {x} like best / what is the favourite food of {x}",
                "what {x} likes best", "{x} likes {v} best / the favourite food of {x} is {v}", choice("soup,rice,bread,cheese,apples,plums,noodles,beans,fish,pancakes,cake,salad"))
_BIRTHDAY = simple("birthday", "{x} was born on {v} / the birthday of {x} is {v}", "when is the birthday of {x} / when was {x} born / on which day was {x} born", "when {x} was born",
                   "{x} was born on {v} / the birthday of {x} is {v}",
                   lambda rng: f"{rng.randint(1, 28)} {rng.choice('January February March April May June July August September October November December'.split())}")


def _ingredient(name: str, value: Value) -> Attribute:
    return simple(name, f"{{x}} needs {{v}} of {name} / for {{x}} you need {{v}} of {name} / put {{v}} of {name} into {{x}}",
                  f"how much {name} does {{x}} need / how much {name} is needed for {{x}} / how much {name} do i need for {{x}} / how much {name} goes into {{x}}",
                  f"how much {name} {{x}} needs / how much {name} i need for {{x}}", f"{{x}} needs {{v}} of {name} / you need {{v}} of {name}",
                  value, f"and how much {name} / and the {name}")


_BAKES = simple("baking time", "{x} bakes for {v} / bake {x} for {v} / {x} is in the oven for {v}", "how long does {x} bake / for how long do i bake {x} / how long must {x} stay in the oven",
                "how long {x} bakes / how long i must bake {x}", "{x} bakes for {v} / bake it for {v}", measure(8, 95, MIN), "and how long does it bake")
_OVEN = simple("oven", "the oven for {x} is set to {v} / bake {x} at {v}", "how hot is the oven for {x} / at what heat do i bake {x} / what is the oven temperature for {x}",
               "how hot the oven must be for {x}", "the oven is set to {v} / bake {x} at {v}", lambda rng: f"{rng.randrange(140, 250, 5)} degrees", "and how hot is the oven")
_LEAVES = simple("departure", "{x} leaves at {v} / the departure of {x} is at {v} / {x} departs at {v}", "when does {x} leave / at what time does {x} leave / what time does {x} depart",
                 "when {x} leaves / at what time {x} departs", "{x} leaves at {v} / it leaves at {v}", clock, "and when does it leave")
_ARRIVES = simple("arrival", "{x} arrives at {v} / {x} gets in at {v}", "when does {x} arrive / at what time does {x} arrive / what time does {x} get in",
                  "when {x} arrives / at what time {x} arrives", "{x} arrives at {v} / it arrives at {v}", clock, "and when does it arrive")
_PLATFORM = simple("platform", "{x} goes from platform {v} / {x} uses platform {v}", "which platform does {x} use / from which platform does {x} go / what is the platform of {x}",
                   "which platform {x} uses", "{x} goes from platform {v} / it uses platform {v}", whole(1, 24), "and the platform / and which platform")
_GOES = simple("destination", "{x} goes to {v} / {x} runs to {v}", "where does {x} go / to which town does {x} go", "where {x} goes", "{x} goes to {v} / it goes to {v}", place, "and where does it go")
_KEY = simple("key", "the key of {x} is {v} / the key for {x} is number {v}", "which key is for {x} / what is the key of {x}", "which key is for {x}", "the key for {x} is number {v}", whole(2, 400))
_FLOOR = simple("floor", "{x} is on floor {v}", "on which floor is {x} / what floor is {x} on / which floor is {x} on", "on which floor {x} is", "{x} is on floor {v} / it is on floor {v}", whole(1, 30), "and on which floor")
_HEAT = simple("temperature", "the temperature of {x} is {v} / {x} is kept at {v}", "what is the temperature of {x} / how warm is {x} / at what temperature is {x} kept", "how warm {x} is / at what temperature {x} is kept",
               "{x} is kept at {v} / the temperature of {x} is {v}", lambda rng: f"{rng.randint(4, 38)} degrees", "and how warm is it")
_TIMEOUT = simple("timeout", "the timeout of {x} is {v} / {x} gives up after {v}", "what is the timeout of {x} / after what time does {x} give up", "what the timeout of {x} is",
                  "the timeout of {x} is {v}", measure(2, 240, "seconds"), "and the timeout")
_PORT = simple("port", "{x} listens on port {v} / the port of {x} is {v}", "which port does {x} use / on which port does {x} listen / what is the port of {x}", "which port {x} uses",
               "{x} listens on port {v} / it uses port {v}", lambda rng: str(rng.randint(1024, 9999)), "and the port / and which port")
_POWER = simple("battery", "the battery of {x} lasts {v} / {x} runs for {v} on one charge", "how long does the battery of {x} last / how long does {x} run on one charge", "how long the battery of {x} lasts",
                "the battery of {x} lasts {v} / it lasts {v}", measure(3, 72, "hours"), "and how long does the battery last")
_CAPTAIN = simple("captain", "the captain of {x} is {v} / {v} is the captain of {x}", "who is the captain of {x} / what is the name of the captain of {x}", "who the captain of {x} is", "the captain of {x} is {v}", _who, "and who is the captain")
_HEAD = simple("head", "the head of {x} is {v} / {v} is the head of {x}", "who is the head of {x} / what is the name of the head of {x}", "who the head of {x} is", "the head of {x} is {v}", _who, "and who is the head")

DOMAINS: tuple[Domain, ...] = (
    _domain("bridge", "the {p} Bridge / the bridge at {p} / the {c} bridge / the old bridge of {p}", _length(40, 900), _width(4, 40), _height(5, 90), happened("built"), _by("built"),
            count("arches", whole(2, 24)), part("railing", "high", "height", measure(1, 3, M)), part("footpath", "wide", "width", measure(2, 5, M)), apart("pillars", measure(8, 80, M)), weight(90, 4000, "tonnes"), count("lamps", whole(4, 120))),
    _domain("room", "room {i} / the {c} room / room {l} / the {n} Room / the reading room / the music room", _length(4, 30), _width(3, 20), _height(2, 7), count("windows", whole(2, 14)), count("seats", whole(8, 300)), _FLOOR, _KEY, _HEAT,
            part("door", "wide", "width", measure(70, 240, CM)), count("lamps", whole(2, 30)), colour()),
    _domain("hall", "the {p} Hall / the {n} Hall / the town hall of {p} / the concert hall", _length(15, 90), _width(9, 60), _height(5, 35), part("stage", "wide", "width", measure(5, 30, M)), part("stage", "deep", "depth", measure(3, 19, M)), part("door", "high", "height", measure(2, 6, M)),
            count("seats", whole(90, 4000)), apart("pillars", measure(2, 12, M)), part("aisle", "wide", "width", measure(1, 5, M)), happened("opened"), part("gallery", "high", "height", measure(3, 12, M))),
    _domain("box", "the {c} box / box {l} / box {i} / the box of {n} / the parcel from {p} / the wooden box", count("apples", whole(2, 60), "contain"), count("pencils", whole(2, 90), "contain"), count("keys", whole(2, 40), "hold"), count("coins", whole(5, 900), "hold"),
            weight(2, 60), _length(12, 150, CM), _width(8, 90, CM), _height(5, 80, CM), colour(), cost(2, 90)),
    _domain("cake", "the {k} cake / the apple cake / the {n} pie / the plum tart / the cheese bread / the {p} loaf", _ingredient("flour", measure(100, 900, G)), _ingredient("sugar", measure(20, 400, G)), _ingredient("butter", measure(20, 350, G)),
            _ingredient("milk", measure(50, 800, "millilitres")), count("eggs", whole(2, 9), "need"), _BAKES, _OVEN, simple("servings", "{x} serves {v} people / {x} is enough for {v} people", "how many people does {x} serve / for how many people is {x} enough", "how many people {x} serves", "{x} serves {v} people / it is enough for {v} people", whole(2, 16), "and how many people does it serve")),
    _domain("soup", "the {k} soup / the bean stew / the fish soup of {n} / the {p} stew / the carrot soup", _ingredient("salt", measure(2, 30, G)), _ingredient("water", measure(1, 9, "litres")), _ingredient("rice", measure(50, 600, G)), count("onions", whole(2, 9), "need"), count("carrots", whole(2, 14), "need"),
            simple("cooking time", "{x} cooks for {v} / cook {x} for {v}", "how long does {x} cook / for how long do i cook {x}", "how long {x} cooks", "{x} cooks for {v} / cook it for {v}", measure(10, 180, MIN), "and how long does it cook"), cost(3, 25)),
    _domain("train", "the train to {p} / the {p} Express / train {i} / the night train / the {c} line / the morning train", _LEAVES, _ARRIVES, _PLATFORM, cost(4, 150), count("coaches", whole(3, 18)), count("stops", whole(2, 22)), _SPEED, _length(60, 400), count("seats", whole(80, 900))),
    _domain("bus", "bus {i} / the {c} bus / the bus to {p} / the airport bus", _LEAVES, _ARRIVES, _GOES, cost(2, 40), count("seats", whole(12, 80)), count("stops", whole(3, 40))),
    _domain("goods", "the {k} lamp / the {c} chair / the {p} kettle / the {k} bag / the {c} clock / the {n} coat / the {k} pan", cost(3, 400), weight(2, 25), colour(), _WARRANTY, _height(10, 190, CM), _by("made"), _width(8, 120, CM)),
    _domain("device", "the {k} phone / the {p} radio / the {k} camera / the {k} {i} / the {p} tablet", cost(30, 1500), weight(90, 900, G), _POWER, _WARRANTY, count("buttons", whole(2, 30)), part("screen", "wide", "width", measure(5, 40, CM)), colour(), happened("released")),
    _domain("court", "a {k} court / a {k} field / the {k} court / a {k} pitch / the {p} {k} court", _length(12, 97, reserved=True), _width(5, 60, reserved=True), part("net", "high", "height", measure(70, 240, CM)), part("circle", "wide", "width", measure(2, 9, M, reserved=True)), apart("baskets", measure(7, 60, M, reserved=True)), part("fence", "high", "height", measure(2, 8, M, reserved=True)),
            count("lines", whole(4, 9)), apart("benches", measure(4, 35, M, reserved=True)), part("middle zone", "deep", "depth", measure(2, 9, M, reserved=True)), part("service box", "wide", "width", measure(2, 9, M, reserved=True)), apart("flags", measure(4, 80, M, reserved=True))),
    _domain("game", "a game of {k} / a {k} match", count("players", whole(2, 30)), _LASTS, count("rounds", whole(2, 12)), count("balls", whole(2, 9), "need"), count("cards", whole(12, 120), "need"), count("judges", whole(2, 7), "need")),
    _domain("pool", "the {p} pool / the swimming pool / the pool of {p} / the {c} pool", _length(12, 80), _width(6, 40), _depth(1, 6), _HEAT, _OPENS, _CLOSES, count("lanes", whole(3, 12)), cost(2, 20), part("slide", "high", "height", measure(2, 14, M))),
    _domain("animal", "the {k} / a {k} / the {c} {k} / the {p} {k}", _LIVES, _EATS, weight(2, 900), _length(20, 400, CM), count("teeth", whole(8, 60)), count("legs", choice("two,four,six,eight")), _SPEED,
            simple("sleep", "{x} sleeps {v} a day / every day {x} sleeps {v}", "how long does {x} sleep / how many hours does {x} sleep", "how long {x} sleeps", "{x} sleeps {v} a day / it sleeps {v} a day", measure(2, 20, "hours"), "and how long does it sleep"), part("tail", "long", "length", measure(4, 150, CM)), count("eggs", whole(2, 300), "carry")),
    _domain("person", "{f} / {n} / {n} / {n} / {f}", _AGE, _JOB, _HOME, _PET, _LIKES, _BIRTHDAY, count("children", whole(2, 7)), count("brothers", whole(2, 6)), dimension("tall", "height", measure(120, 205, CM)), pronoun="this person"),
    _domain("tower", "the {p} Tower / the tower of {p} / the {c} tower / the lighthouse of {p}", _height(12, 330), count("steps", whole(40, 1200)), happened("built"), _by("designed"), count("floors", whole(3, 90)), part("clock", "wide", "width", measure(1, 8, M)), _OPENS, cost(2, 30), apart("windows", measure(2, 9, M)), part("wall", "thick", "thickness", measure(20, 300, CM))),
    _domain("river", "the {p} River / the river {p} / the {c} river", _length(12, 2400, KM), _width(5, 600), _depth(2, 40), count("bridges", whole(2, 40)), simple("source", "{x} begins near {v} / the source of {x} is near {v}", "where does {x} begin / where is the source of {x}", "where {x} begins", "{x} begins near {v} / it begins near {v}", place, "and where does it begin"), count("islands", whole(2, 30))),
    _domain("mountain", "Mount {p} / the {p} Peak / the hill of {p}", _height(300, 6800), happened("climbed"), count("huts", whole(2, 12)), count("paths", whole(2, 15)), _PLACE, simple("climb", "the climb of {x} takes {v}", "how long does the climb of {x} take / how long is the climb of {x}", "how long the climb of {x} takes", "the climb takes {v} / the climb of {x} takes {v}", measure(2, 14, "hours"), "and how long is the climb")),
    _domain("museum", "the {p} Museum / the Museum of {p} / the {n} Gallery / the toy museum", _OPENS, _CLOSES, cost(2, 35), count("rooms", whole(4, 90)), count("paintings", whole(20, 4000)), happened("founded"), _HEAD, count("guides", whole(2, 40), "employ"), _PLACE),
    _domain("shop", "the {p} Bakery / the shop of {n} / the {n} Bookshop / the {k} Cafe / the market of {p}", _OPENS, _CLOSES, count("people", whole(2, 60), "employ"), happened("opened"), count("kinds of bread", whole(3, 40), "sell"), count("tables", whole(2, 30)), _by("founded"), _PLACE, count("kinds of tea", whole(3, 50), "serve")),
    _domain("school", "the {p} School / the school of {p} / {n} {k} School / the school in {p}", count("pupils", whole(60, 1900)), count("teachers", whole(5, 120)), count("classes", whole(3, 45)), _HEAD, happened("founded"), count("computers", whole(8, 300)), count("buses", whole(2, 14)), _OPENS),
    _domain("book", "the book \"The {p} Road\" / the book \"{n} and the {k}\" / the {k} story / the red book / the guide to {p}", count("pages", whole(40, 900)), count("chapters", whole(3, 60)), simple("author", "{x} was written by {v} / the author of {x} is {v} / {v} wrote {x}", "who wrote {x} / who is the author of {x}", "who wrote {x}", "{v} wrote {x} / the author of {x} is {v}", _who, "and who wrote it"), happened("published"), cost(4, 60), count("pictures", whole(2, 150)), weight(150, 1800, G)),
    _domain("ship", "the ship {p} / the {p} Star / the ferry to {p} / the {c} boat", _length(8, 300), _width(3, 45), count("sailors", whole(3, 90), "carry"), count("cabins", whole(4, 400)), _CAPTAIN, happened("launched"), _SPEED, part("mast", "high", "height", measure(6, 48, M)), count("lifeboats", whole(2, 30), "carry")),
    _domain("garden", "the {p} Garden / the garden of {n} / the {c} garden / the rose garden", _length(8, 200), _width(6, 120), count("trees", whole(3, 300)), count("benches", whole(2, 40)), part("hedge", "high", "height", measure(1, 4, M)), part("pond", "deep", "depth", measure(1, 5, M)), part("gate", "wide", "width", measure(1, 5, M)), apart("fountains", measure(5, 70, M)), _OPENS, part("path", "long", "length", measure(20, 400, M))),
    _domain("hotel", "the {p} Hotel / the {c} Lion Inn / the Hotel {n} / the {p} Lodge", count("rooms", whole(6, 400)), count("beds", whole(10, 700)), cost(30, 350), _PLACE, happened("opened"), simple("breakfast", "breakfast at {x} is at {v} / {x} serves breakfast from {v}", "when is breakfast at {x} / at what time is breakfast at {x}", "when breakfast is at {x}", "breakfast at {x} is at {v} / breakfast is at {v}", clock, "and when is breakfast"), count("lifts", whole(2, 9))),
    _domain("server", "the {k} server / the {k} service / server {l} / the mail server / the {k} program", _PORT, _TIMEOUT, count("workers", whole(2, 64), "use"), count("connections", whole(10, 5000), "hold"), count("log files", whole(2, 30), "have"), simple("memory", "{x} needs {v} of memory / the memory of {x} is {v}", "how much memory does {x} need / what is the memory of {x}", "how much memory {x} needs", "{x} needs {v} of memory / it needs {v} of memory", measure(2, 512, "gigabytes"), "and how much memory"), simple("version", "the version of {x} is {v} / {x} runs version {v}", "which version does {x} run / what is the version of {x}", "which version {x} runs", "{x} runs version {v} / the version is {v}", lambda rng: f"{rng.randint(1, 14)}.{rng.randint(0, 30)}", "and the version")),
    _domain("village", "{p} / the village of {p} / the town of {p} / {p}", count("people", whole(90, 90000)), count("houses", whole(30, 9000)), count("schools", whole(2, 20)), count("churches", whole(2, 12)), happened("founded"), simple("mayor", "the mayor of {x} is {v} / {v} is the mayor of {x}", "who is the mayor of {x} / what is the name of the mayor of {x}", "who the mayor of {x} is", "the mayor of {x} is {v}", _who, "and who is the mayor"), simple("river", "{x} lies on the river {v} / the river {v} flows through {x}", "which river flows through {x} / on which river does {x} lie", "which river flows through {x}", "the river {v} flows through {x} / {x} lies on the river {v}", place)),
    _domain("event", "the {p} fair / the spring festival / the meeting with {n} / the {p} race / the piano lesson / the talk by {f}", _LASTS, simple("start", "{x} starts at {v} / {x} begins at {v}", "when does {x} start / at what time does {x} begin / what time does {x} start", "when {x} starts / at what time {x} begins", "{x} starts at {v} / it starts at {v}", clock, "and when does it start"), _PLACE, simple("day", "{x} is on {v} / {x} takes place on {v}", "on which day is {x} / what day is {x} / when does {x} take place", "on which day {x} is", "{x} is on {v} / it is on {v}", choice("Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday"), "and on which day"), cost(2, 60), simple("guests", "{v} people come to {x} / {x} has {v} guests", "how many people come to {x} / how many guests does {x} have", "how many people come to {x}", "{v} people come to {x} / {x} has {v} guests", whole(4, 5000))),
    _domain("table", "the {c} table / the {k} desk / the kitchen table / the bed of {n} / the {k} shelf", _length(60, 320, CM), _width(30, 180, CM), _height(35, 210, CM), weight(6, 90), cost(15, 900), colour(), part("drawer", "deep", "depth", measure(8, 60, CM)), apart("legs", measure(20, 180, CM)), _by("made"), part("top", "thick", "thickness", measure(2, 9, CM))),
)
