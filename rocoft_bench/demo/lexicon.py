"""Words and sentence frames of the embedded entailment set: one lexicon to train on, a disjoint one to test on."""

from dataclasses import dataclass

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Lexicon:
    """Content words. Verbs are regular: their past tense is also their participle."""

    frames: tuple[str, ...]
    """Sentences around a clause {clause}, at a {place}."""
    places: tuple[str, ...]
    names: tuple[str, ...]
    people: tuple[str, ...]
    plurals: tuple[str, ...]
    things: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]
    """What one does to a thing: (base form, past tense)."""
    treatments: tuple[str, ...]
    """What one does to a person, past tense."""
    events: tuple[str, ...]
    """What happens to anybody or anything, past tense."""
    handlings: tuple[str, ...]
    """What one does with an item of `kinds`, past tense."""
    kinds: tuple[tuple[str, tuple[str, ...]], ...]
    """A general noun and nouns that fall under it."""


TRAIN = Lexicon(
    frames=("{clause}.", "Today {clause}.", "{clause} in the {place}.", "This morning {clause}."),
    places=("harbour", "park", "city", "village", "school", "station"),
    names=(
        *("Anna", "Peter", "Maria", "David", "Laura", "Simon"),
        *("Julia", "Martin", "Clara", "Thomas", "Elena", "Robert"),
    ),
    people=(
        *("cook", "pilot", "nurse", "farmer", "teacher", "painter"),
        *("driver", "baker", "singer", "lawyer", "waiter", "tailor"),
    ),
    plurals=("dogs", "boats", "students", "windows", "flowers", "soldiers", "tables", "horses"),
    things=("gate", "kitchen", "wagon", "window", "boat", "garden", "engine", "tower"),
    actions=(
        *(("clean", "cleaned"), ("open", "opened"), ("repair", "repaired"), ("paint", "painted")),
        *(("visit", "visited"), ("watch", "watched"), ("carry", "carried"), ("wash", "washed")),
    ),
    treatments=("thanked", "followed", "called", "praised", "helped", "invited"),
    events=("slept", "arrived", "disappeared", "returned", "burned", "waited"),
    handlings=("bought", "sold", "found", "described", "lost", "liked"),
    kinds=(
        ("animal", ("dog", "horse", "rabbit")),
        ("vehicle", ("car", "truck", "van")),
        ("fruit", ("apple", "banana", "pear")),
        ("tool", ("hammer", "saw", "drill")),
        ("flower", ("rose", "tulip", "daisy")),
        ("instrument", ("violin", "piano", "flute")),
        ("bird", ("sparrow", "eagle", "pigeon")),
        ("vegetable", ("carrot", "onion", "potato")),
    ),
)

TEST = Lexicon(
    frames=("Yesterday {clause}.", "At the {place}, {clause}.", "We heard that {clause}.", "{clause} last week."),
    places=("market", "castle", "hospital", "library", "valley"),
    names=("Olga", "Victor", "Nina", "Felix", "Irene", "Oscar", "Sofia", "Hugo"),
    people=("doctor", "sailor", "dancer", "miner", "judge", "builder", "clerk", "gardener"),
    plurals=("cats", "trains", "children", "lamps", "guests", "ships"),
    things=("bridge", "cellar", "bicycle", "mirror", "fountain", "factory"),
    actions=(
        *(("close", "closed"), ("check", "checked"), ("decorate", "decorated")),
        *(("search", "searched"), ("damage", "damaged"), ("move", "moved")),
    ),
    treatments=("greeted", "blamed", "recognised", "ignored", "hired"),
    events=("stopped", "fell", "vanished", "left", "turned"),
    handlings=("ordered", "drew", "wanted", "photographed", "hid"),
    kinds=(
        ("pet", ("cat", "hamster", "parrot")),
        ("fish", ("salmon", "trout", "herring")),
        ("tree", ("oak", "pine", "birch")),
        ("gem", ("ruby", "diamond", "emerald")),
        ("insect", ("wasp", "beetle", "moth")),
        ("drink", ("lemonade", "coffee", "cider")),
    ),
)
