"""Words of the embedded questions and summaries: names, places and things to train on, and others to test on."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

NUMBERS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("fifteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November")
YEARS = tuple(str(year) for year in range(1801, 2000))


@dataclass(frozen=True)
class Words:
    """The names and nouns of one split."""

    names: tuple[str, ...]
    surnames: tuple[str, ...]
    towns: tuple[str, ...]
    places: tuple[str, ...]
    """Where people meet."""
    things: tuple[str, ...]
    """What is built, sold or given away."""
    jobs: tuple[str, ...]
    """Each begins with a consonant."""
    plurals: tuple[str, ...]
    """What can be counted."""


TRAIN = Words(
    names=(
        *("Anna", "Peter", "Maria", "David", "Laura", "Simon", "Julia", "Martin", "Clara", "Thomas", "Elena", "Robert"),
        *("Alice", "Henry", "Rosa", "George", "Emma", "Paul", "Helen", "Frank", "Lucy", "Walter", "Grace", "Edward"),
    ),
    surnames=(
        *("Berg", "Carter", "Dale", "Fisher", "Grant", "Hill", "Jensen", "Keller", "Lang", "Moore", "Norton"),
        *("Palmer", "Reed", "Stone", "Turner", "Webb", "Young", "Bishop", "Cole", "Foster"),
    ),
    towns=(
        *("Arden", "Barlow", "Camden", "Dorset", "Epsom", "Fairmont", "Grafton", "Hexham", "Irvine", "Jarrow"),
        *("Ashford", "Brandon", "Calder", "Denby", "Elton", "Farley", "Glenham", "Harlow", "Ilford", "Kelso"),
        *("Linden", "Marlow", "Newport", "Oakham", "Preston", "Rydal", "Selby", "Tarrant", "Upton", "Wexford"),
    ),
    places=(
        *("church", "farm", "cafe", "airport", "college", "circus"),
        *("harbour", "park", "school", "station", "theatre", "hotel", "bakery", "stadium"),
    ),
    things=(
        *("table", "house", "letter", "ring", "cart", "well", "chair", "painting", "fence", "stove"),
        *("bridge", "tower", "garden", "basket", "wagon", "piano", "clock", "barn", "gate", "statue", "chapel", "mill"),
        *("lantern", "carpet", "violin", "kettle"),
    ),
    jobs=(
        *("tailor", "clerk", "soldier", "writer", "mechanic", "waiter"),
        *("cook", "pilot", "nurse", "farmer", "teacher", "painter", "driver", "baker", "singer", "lawyer"),
    ),
    plurals=(
        *("dogs", "boats", "flowers", "cars", "birds", "books", "cows", "stones"),
        *("horses", "flags", "tents", "wolves", "bells", "kites", "sheep", "candles", "barrels", "swans"),
    ),
)

TEST = Words(
    names=(
        *("Olga", "Victor", "Nina", "Felix", "Irene", "Oscar", "Sofia", "Hugo"),
        *("Vera", "Leo", "Edith", "Karl", "Stella", "Max", "Ruth", "Ivan"),
    ),
    surnames=(
        *("Abbott", "Brandt", "Clark", "Doyle", "Ellis", "Frost", "Hansen"),
        *("Kemp", "Lowe", "Mason", "Nash", "Price", "Sharp", "Vogel"),
    ),
    towns=(
        *("Alden", "Bexley", "Corby", "Dunmore", "Fenwick", "Halton"),
        *("Kirby", "Lowick", "Morley", "Penrith", "Stanton", "Whitby"),
    ),
    places=("market", "castle", "hospital", "library", "museum", "cinema"),
    things=(
        "fountain",
        "factory",
        "bicycle",
        "mirror",
        "cottage",
        "windmill",
        "ladder",
        "sledge",
        "guitar",
        "carriage",
    ),
    jobs=("doctor", "sailor", "dancer", "miner", "judge", "builder", "gardener"),
    plurals=("cats", "trains", "lamps", "geese", "ships", "rabbits", "drums"),
)

WORDS = {"train": TRAIN, "test": TEST}


def fill(template: str, values: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    """The template with its `{slots}` filled, and where in it the value of each slot begins (in characters).

    Raises: KeyError if a slot has no value.
    """
    text, starts = "", {}
    for literal, slot, _, _ in Formatter().parse(template):
        text += literal
        if slot is not None:
            starts[slot] = len(text)
            text += values[slot]
    return text, starts


def slots(template: str) -> set[str]:
    """The names of the template's `{slots}`."""
    return {slot for _, slot, _, _ in Formatter().parse(template) if slot is not None}
