"""The small world of the generated sets: who lives in it, and what holds there.

The text that the embedded causal model is pretrained on states all of these facts and uses all of these words; the sets
in `word_problems` and `choices` give one part of them to training and keep the other for the test.
"""

from dataclasses import dataclass

Fact = tuple[str, str]
"""A subject and what goes with it, both as they stand in a sentence: ("a rose", "a flower")."""

_MASS = """
    gold silver copper tin zinc steel snow milk salt coal soot tar grass moss butter mud chocolate ash coffee tea cider
    lemonade juice blood chalk bark
"""
MASS = frozenset(_MASS.split())
"""Nouns without an article."""


@dataclass(frozen=True)
class Relation:
    """Facts of one sort, and how they are said and asked for."""

    facts: tuple[Fact, ...]
    statements: tuple[str, ...]
    """Sentences with {a}, the subject, and {b}, what goes with it."""
    asks_b: tuple[str, ...]
    """Questions with {a}, answered by what goes with it; the last one is kept for the test."""
    asks_a: tuple[str, ...]
    """Questions with {b}, answered by the subject; the last one is kept for the test."""


def held_out(index: int) -> bool:
    """Whether a fact, by its place in its relation, is kept for the test."""
    return index % 3 == 2


def with_article(noun: str) -> str:
    if noun in MASS:
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _grouped(text: str) -> tuple[Fact, ...]:
    """Facts from lines "what goes with them: noun noun noun"."""
    pairs = [line.strip().split(": ") for line in text.strip().splitlines()]
    return tuple((with_article(noun), value) for value, nouns in pairs for noun in nouns.split())


def _listed(text: str) -> tuple[Fact, ...]:
    """Facts from "noun phrase, noun phrase"."""
    pairs = [item.strip().split(" ", 1) for item in text.replace("\n", " ").split(",")]
    return tuple((with_article(noun), phrase) for noun, phrase in pairs)


KINDS = Relation(
    facts=_grouped("""
        a flower: rose tulip daisy lily violet poppy
        a bird: sparrow eagle pigeon robin swan crow
        a fish: trout herring carp cod tuna perch
        an insect: wasp beetle moth ant bee fly
        a tree: oak pine birch maple willow elm
        a fruit: pear apple plum grape melon peach
        a vegetable: onion potato cabbage leek pea turnip
        a tool: chisel drill saw hammer axe file
        an instrument: violin piano flute harp drum guitar
        a vehicle: car truck van bus bicycle tram
        a drink: coffee tea cider lemonade juice milk
        a metal: gold silver copper tin zinc steel
        a garment: shirt coat skirt scarf jacket glove
    """),
    statements=("{a} is {b}.", "we call {a} {b}.", "every child knows that {a} is {b}."),
    asks_b=("what is {a}?", "what kind of thing is {a}?", "what do we call {a}?"),
    asks_a=("which of these is {b}?", "which thing is {b}?", "which one is {b}?"),
)

COLOURS = Relation(
    facts=_grouped("""
        white: snow milk salt chalk goose pearl
        red: blood ruby cherry tomato brick strawberry
        black: coal tar soot raven panther tyre
        green: grass frog cucumber emerald moss pickle
        yellow: lemon butter canary banana chick duckling
        brown: chocolate mud bark walnut chestnut acorn
        grey: ash elephant dolphin mouse donkey pebble
    """),
    statements=("{a} is {b}.", "the colour of {a} is {b}.", "{b} is the colour of {a}."),
    asks_b=("what colour is {a}?", "which colour does {a} have?", "what is the colour of {a}?"),
    asks_a=("which of these is {b}?", "which thing is {b}?", "what has the colour {b}?"),
)

HOMES = Relation(
    facts=_grouped("""
        in the forest: fox deer badger squirrel boar lynx
        in the sea: whale shark octopus lobster jellyfish seahorse
        in the desert: camel scorpion cobra meerkat viper jackal
        in the jungle: monkey tiger gorilla jaguar sloth toucan
        in the mountains: yak ibex marmot
        on the farm: cow pig hen goat turkey sheep
        in the river: otter beaver hippo
        on the plain: lion zebra giraffe ostrich antelope rhino
    """),
    statements=("{a} lives {b}.", "the home of {a} is {b}.", "{b} lives {a}."),
    asks_b=("where does {a} live?", "where is the home of {a}?", "where do you find {a}?"),
    asks_a=("which of these lives {b}?", "which animal lives {b}?", "what do you find {b}?"),
)

USES = Relation(
    facts=_listed("""
        saw cut wood, hammer drive nails, broom sweep floors, pen write letters, needle sew clothes,
        spoon eat soup, clock tell the time, umbrella stop the rain, lamp light a room, oven bake bread,
        key open a lock, towel dry hands, kettle boil water, ladder reach a roof, rake gather leaves,
        spade dig holes, camera take pictures, bed sleep at night, comb tidy hair, bucket carry water,
        telescope look at stars, map find the way, anchor hold a ship, fridge keep food cold, bell call people,
        net catch fish, scale weigh goods, pillow rest the head, razor shave a beard, pump fill a tyre
    """),
    statements=("{a} is used to {b}.", "we use {a} to {b}.", "to {b}, take {a}."),
    asks_b=("what do we do with {a}?", "what is the use of {a}?", "what can you do with {a}?"),
    asks_a=("what is used to {b}?", "what do we need to {b}?", "what do you take to {b}?"),
)

JOBS = Relation(
    facts=_listed("""
        baker bakes bread, tailor sews coats, farmer grows crops, pilot flies planes, doctor heals patients,
        teacher teaches pupils, miner digs coal, carpenter builds cupboards, painter paints portraits,
        butcher cuts meat, cobbler mends shoes, barber cuts hair, judge leads trials, cook makes dinners,
        librarian lends books, florist sells flowers, sailor sails ships, gardener waters plants,
        dentist treats teeth, mason lays bricks, plumber fixes pipes, singer sings songs, writer writes novels,
        guard watches gates, postman brings letters, shepherd keeps sheep, dancer dances ballets
    """),
    statements=("{a} {b}.", "it is {a} who {b}.", "a person who {b} is {a}."),
    asks_b=("what is true of {a}?", "what does {a} do?", "what is the work of {a}?"),
    asks_a=("who {b}?", "which person {b}?", "what do we call a person who {b}?"),
)

SOUNDS = Relation(
    facts=_listed("""
        dog barks, cat meows, cow moos, sheep bleats, pig grunts, horse neighs, duck quacks, bee buzzes, lion roars,
        wolf howls, snake hisses, owl hoots, frog croaks, rooster crows, mouse squeaks, donkey brays, pigeon coos,
        sparrow chirps
    """),
    statements=("{a} {b}.", "it is {a} that {b}.", "listen: {a} {b}."),
    asks_b=("what is true of {a}?", "what does {a} do?", "what do you hear of {a}?"),
    asks_a=("which animal {b}?", "which of these {b}?", "what animal is it that {b}?"),
)

_OPPOSITES = """
    hot cold, big small, old new, tall short, fast slow, happy sad, light dark, hard soft, wet dry, rich poor,
    full empty, loud quiet, near far, early late, strong weak, clean dirty, deep shallow, wide narrow, thick thin,
    sweet bitter, open closed, up down, left right, north south, day night, above below, inside outside, first last,
    begin finish, give take, buy sell, win lose, push pull, laugh cry, love hate, brave afraid
"""

OPPOSITES = Relation(
    facts=tuple((a, b) for a, b in (pair.split() for pair in _OPPOSITES.replace("\n", " ").split(","))),
    statements=("the opposite of {a} is {b}.", "{a} is the opposite of {b}.", "the contrary of {a} is {b}."),
    asks_b=(
        "what is the opposite of {a}?",
        "which word is the opposite of {a}?",
        "what do we call the opposite of {a}?",
    ),
    asks_a=(
        "what is the opposite of {b}?",
        "which word is the opposite of {b}?",
        "what do we call the opposite of {b}?",
    ),
)

RELATIONS: dict[str, Relation] = {
    "kinds": KINDS,
    "colours": COLOURS,
    "homes": HOMES,
    "uses": USES,
    "jobs": JOBS,
    "sounds": SOUNDS,
    "opposites": OPPOSITES,
}


@dataclass(frozen=True)
class Cast:
    """People, each with the pronoun, and things that can be counted."""

    people: tuple[tuple[str, str], ...]
    things: tuple[str, ...]


def _cast(women: str, men: str, things: str) -> Cast:
    people = [(name, "she") for name in women.split()] + [(name, "he") for name in men.split()]
    return Cast(tuple(people), tuple(things.split()))


TRAIN_CAST = _cast(
    women="Anna Maria Laura Julia Clara Elena Rosa Emma",
    men="Peter David Simon Martin Thomas Robert Paul Jonas",
    things="pears books coins stones shells pens cards stamps eggs marbles cups balls rings buttons boxes toys",
)

TEST_CAST = _cast(
    women="Olga Nina Irene Sofia",
    men="Victor Felix Oscar Hugo",
    things="apples pencils beads keys plates candles nuts stickers",
)
