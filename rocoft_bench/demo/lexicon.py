"""Words and sentence templates of the embedded entailment set: one `Lexicon` to train on, a disjoint one to test on.

A template is two cases `(hypothesis, premise that entails it, premise that does not)`; `crossed` and `swapped` build
the common shapes. Slots in braces are filled by `rocoft_bench.demo.entailment`, which says what each of them means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Case(NamedTuple):
    """One hypothesis with a premise that entails it and a premise that does not."""

    hypothesis: str
    entails: str
    does_not: str


Template = tuple[Case, Case]


def crossed(premise: str, other: str, hypothesis: str, other_hypothesis: str) -> Template:
    """Each premise entails its own hypothesis and not the other's: all four sentences occur with both labels."""
    return Case(hypothesis, premise, other), Case(other_hypothesis, other, premise)


def swapped(premise: str, hypothesis: str) -> Template:
    """Cross a premise and its hypothesis with the same two sentences after {a} and {b} changed places."""
    return crossed(premise, _swap(premise), hypothesis, _swap(hypothesis))


def _swap(text: str) -> str:
    return text.replace("{a}", "{*}").replace("{b}", "{a}").replace("{*}", "{b}")


class Verb(NamedTuple):
    """A regular transitive verb (past tense = participle) and objects that it goes with."""

    base: str
    past: str
    objects: tuple[str, ...]


class Predicate(NamedTuple):
    """Something that one person can do, plain and in the past tense."""

    base: str
    past: str


class Quality(NamedTuple):
    """Two adjectives that exclude each other and the things that can be either."""

    adjective: str
    opposite: str
    things: tuple[str, ...]


class Chain(NamedTuple):
    """Nouns of one category from general to special: top > each middle > its own leaves."""

    top: str
    middles: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Lexicon:
    """Content words and templates of one family of splits; every field is drawn from with equal chances."""

    names: tuple[str, ...]
    people: tuple[str, ...]
    places: tuple[str, ...]
    goods: tuple[str, ...]
    events: tuple[str, ...]
    actions: tuple[str, ...]
    verbs: tuple[Verb, ...]
    predicates: tuple[Predicate, ...]
    qualities: tuple[Quality, ...]
    comparatives: tuple[tuple[str, str], ...]
    chains: tuple[Chain, ...]
    templates: dict[str, tuple[Template, ...]]


_TRAIN_TEMPLATES: dict[str, tuple[Template, ...]] = {
    "negation": (
        crossed(
            "The {n} {past} the {o}.",
            "The {n} did not {base} the {o}.",
            "The {o} was {past} by the {n}.",
            "The {o} was not {past} by the {n}.",
        ),
        crossed(
            "The {n} managed to {base} the {o}.",
            "The {n} refused to {base} the {o}.",
            "The {n} {past} the {o}.",
            "The {n} did not {base} the {o}.",
        ),
        crossed(
            "Everybody except the {m} saw the {n}.",
            "Nobody except the {m} saw the {n}.",
            "The {m} did not see the {n}.",
            "The {m} saw the {n}.",
        ),
        crossed(
            "The {thing} is {adj}.",
            "The {thing} is {ant}.",
            "The {thing} is not {ant}.",
            "The {thing} is not {adj}.",
        ),
        crossed(
            "It is true that the {thing} is {adj}.",
            "It is not true that the {thing} is {adj}.",
            "The {thing} is {adj}.",
            "The {thing} is not {adj}.",
        ),
    ),
    "quantifiers": (
        crossed(
            "All of the {n}s {past}.",
            "None of the {n}s {past}.",
            "Most of the {n}s {past}.",
            "Most of the {n}s did not {base}.",
        ),
        crossed(
            "Every {n} {past}.",
            "No {n} {past}.",
            "Some {n}s {past}.",
            "Some {n}s did not {base}.",
        ),
        crossed(
            "Most of the {n}s {past}.",
            "Few of the {n}s {past}.",
            "Many of the {n}s {past}.",
            "Many of the {n}s did not {base}.",
        ),
        (
            Case("Most {n}s {past}.", "All {n}s {past}.", "Some {n}s {past}."),
            Case("Some {n}s did not {base}.", "Only some {n}s {past}.", "All the {n}s {past}."),
        ),
        (
            Case("All of the {n}s {past}.", "Every single {n} {past}.", "Most of the {n}s {past}."),
            Case("Some of the {n}s {past}.", "Many {n}s {past}.", "Not a single {n} {past}."),
        ),
    ),
    "numbers": (
        crossed(
            "Exactly {high} {n}s {past}.",
            "Exactly {low} {n}s {past}.",
            "More than {mid} {n}s {past}.",
            "Fewer than {mid} {n}s {past}.",
        ),
        crossed(
            "{high} of the {n}s {past}.",
            "Only {low} of the {n}s {past}.",
            "At least {mid} {n}s {past}.",
            "Not more than {mid} {n}s {past}.",
        ),
        (
            Case("More than {mid} {n}s {past}.", "At least {high} {n}s {past}.", "At least {low} {n}s {past}."),
            Case("Fewer than {mid} {n}s {past}.", "At most {low} {n}s {past}.", "At most {high} {n}s {past}."),
        ),
    ),
    "roles": (
        swapped("{a} {past} {b}.", "{b} was {past} by {a}."),
        swapped("{a} {past} {b} in the {place}.", "In the {place} it was {a} who {past} {b}."),
        swapped("{a} sold the {good} to {b}.", "{b} bought the {good} from {a}."),
        swapped("{a} gave {b} the {good}.", "{b} received the {good} from {a}."),
        swapped("{a} sold {b} a {good}.", "{a} handed a {good} over to {b}."),
    ),
    "hypernyms": (
        crossed(
            "{a} bought a {leaf}.",
            "{a} bought a {other_leaf}.",
            "{a} bought a {middle}.",
            "{a} bought a {other_middle}.",
        ),
        (
            Case("{a} owns a {middle}.", "{a} owns a {leaf}.", "{a} owns a {top}."),
            Case("{a} does not own a {middle}.", "{a} does not own a {top}.", "{a} does not own a {leaf}."),
        ),
        (
            Case("The {n} saw a {middle}.", "The {n} saw a {leaf}.", "The {n} saw a {top}."),
            Case("The {n} saw no {middle}.", "The {n} saw no {top}.", "The {n} saw no {leaf}."),
        ),
    ),
    "temporal": (
        swapped("The {a} took place before the {b}.", "The {b} took place after the {a}."),
        swapped("{n} came home after the {a} and before the {b}.", "The {a} was over before the {b}."),
        swapped("First came the {a} and then the {b}.", "The {a} came before the {b}."),
        swapped("After the {a} there was the {b}.", "The {a} was earlier than the {b}."),
    ),
    "comparison": (
        swapped("{a} is {more} than {b}.", "{b} is {less} than {a}."),
        swapped("{a} was {more} than {b} last year.", "{a} was not {less} than {b} last year."),
        swapped("{a} is much {more} than {b}.", "Compared with {b}, {a} is {more}."),
    ),
    "conjunction": (
        swapped("{a} {past} but {b} did not.", "It was {a} who {past}."),
        swapped("{a} {past} and {b} did not.", "{b} did not {base}."),
        crossed(
            "Both {a} and {b} {past}.",
            "Neither {a} nor {b} {past}.",
            "{b} {past}.",
            "{b} did not {base}.",
        ),
    ),
}

_TEST_TEMPLATES: dict[str, tuple[Template, ...]] = {
    "negation": (
        crossed(
            "The {n} finally {past} the {o}.",
            "The {n} never {past} the {o}.",
            "It is correct that the {n} {past} the {o}.",
            "It is incorrect that the {n} {past} the {o}.",
        ),
        crossed(
            "The {n} remembered to {base} the {o}.",
            "The {n} forgot to {base} the {o}.",
            "The {n} has {past} the {o}.",
            "The {n} has not {past} the {o}.",
        ),
        crossed(
            "Everyone found the {thing} {adj}.",
            "Everyone found the {thing} {ant}.",
            "No one found the {thing} {ant}.",
            "No one found the {thing} {adj}.",
        ),
    ),
    "quantifiers": (
        crossed(
            "Each of the {n}s {past}.",
            "Not one of the {n}s {past}.",
            "Several of the {n}s {past}.",
            "Several of the {n}s failed to {base}.",
        ),
        crossed(
            "Nearly all the {n}s {past}.",
            "Hardly any of the {n}s {past}.",
            "The majority of the {n}s {past}.",
            "Only a minority of the {n}s {past}.",
        ),
        (
            Case("The majority of {n}s {past}.", "Each {n} {past}.", "A few {n}s {past}."),
            Case("Several {n}s failed to {base}.", "Just a few {n}s {past}.", "Each one of the {n}s {past}."),
        ),
    ),
    "numbers": (
        crossed(
            "A total of {high} {n}s {past}.",
            "A total of {low} {n}s {past}.",
            "The number of {n}s who {past} was above {mid}.",
            "The number of {n}s who {past} was below {mid}.",
        ),
        crossed(
            "There were {high} {n}s who {past}.",
            "There were {low} {n}s who {past}.",
            "Over {mid} {n}s {past}.",
            "Under {mid} {n}s {past}.",
        ),
    ),
    "roles": (
        swapped("{a} was {past} by {b} at the {place}.", "At the {place} {b} {past} {a}."),
        swapped("The person who {past} {a} was {b}.", "{b} {past} {a}."),
        swapped("{a} lent {b} the {good}.", "{b} borrowed the {good} from {a}."),
        swapped("{a} got the {good} from {b}.", "{b} passed the {good} on to {a}."),
    ),
    "hypernyms": (
        crossed(
            "{a} drew a {leaf}.",
            "{a} drew a {other_leaf}.",
            "The drawing by {a} shows a {middle}.",
            "The drawing by {a} shows a {other_middle}.",
        ),
        (
            Case("{a} can see a {middle}.", "{a} can see a {leaf}.", "{a} can see a {top}."),
            Case("{a} cannot see any {middle}.", "{a} cannot see any {top}.", "{a} cannot see any {leaf}."),
        ),
    ),
    "temporal": (
        swapped("The {a} preceded the {b}.", "The {b} happened later than the {a}."),
        swapped("The {a} was followed by the {b}.", "The {a} happened sooner than the {b}."),
        swapped("Once the {a} had ended the {b} began.", "When the {b} began the {a} was over."),
    ),
    "comparison": (
        swapped("{a} seems {more} than {b}.", "{b} seems {less} than {a}."),
        swapped("Of the two, {a} is {more} and {b} is {less}.", "{a} is the {more} one."),
    ),
    "conjunction": (
        swapped("Unlike {b}, {a} {past}.", "{a} {past}."),
        swapped("{a} {past} while {b} refused to.", "The one who {past} was {a}."),
    ),
}

TRAIN = Lexicon(
    names=tuple(
        "Anna Ben Carla David Emma Frank Grace Henry Ivan Julia Karl Laura Maria Nick Olga Peter Rosa Sam Tina Victor "
        "Alice Bruno Claire Daniel Elena Felix Gloria Hugo Irene Jack".split()
    ),
    people=tuple(
        "baker nurse farmer pilot lawyer painter driver teacher doctor student soldier waiter gardener singer tailor "
        "writer plumber guard banker sailor".split()
    ),
    places=tuple("park kitchen library station garden office".split()),
    goods=tuple("car book lamp boat watch guitar chair coat bicycle camera ring table radio mirror".split()),
    events=tuple(
        "concert wedding meeting lecture storm match parade dinner election interview funeral picnic lesson "
        "speech war trial".split()
    ),
    actions=tuple(
        "helped followed greeted kissed pushed called visited blamed thanked chased hugged warned hired "
        "invited watched".split()
    ),
    verbs=(
        Verb("lock", "locked", ("door", "safe", "gate")),
        Verb("repair", "repaired", ("engine", "roof", "clock")),
        Verb("clean", "cleaned", ("floor", "stove", "window")),
        Verb("paint", "painted", ("wall", "fence", "ceiling")),
        Verb("cook", "cooked", ("soup", "rice", "meal")),
        Verb("open", "opened", ("letter", "box", "bottle")),
        Verb("move", "moved", ("sofa", "piano", "shelf")),
        Verb("sign", "signed", ("contract", "petition", "form")),
        Verb("wash", "washed", ("shirt", "dish", "towel")),
        Verb("order", "ordered", ("pizza", "salad", "cake")),
    ),
    predicates=(
        Predicate("pass the test", "passed the test"),
        Predicate("wear a hat", "wore a hat"),
        Predicate("miss the bus", "missed the bus"),
        Predicate("drink tea", "drank tea"),
        Predicate("sleep well", "slept well"),
        Predicate("leave early", "left early"),
        Predicate("eat breakfast", "ate breakfast"),
        Predicate("play chess", "played chess"),
        Predicate("win a prize", "won a prize"),
        Predicate("lose money", "lost money"),
        Predicate("learn French", "learned French"),
        Predicate("work at night", "worked at night"),
        Predicate("stay at home", "stayed at home"),
        Predicate("swim in the lake", "swam in the lake"),
    ),
    qualities=(
        Quality("open", "closed", ("shop", "museum", "bridge", "school")),
        Quality("full", "empty", ("glass", "bucket", "train", "bag")),
        Quality("clean", "dirty", ("plate", "bathroom", "river", "carpet")),
        Quality("wet", "dry", ("grass", "road", "blanket", "sand")),
        Quality("hot", "cold", ("coffee", "oven", "water", "room")),
        Quality("long", "short", ("film", "rope", "novel", "tunnel")),
        Quality("cheap", "expensive", ("hotel", "ticket", "phone", "dress")),
    ),
    comparatives=(
        ("taller", "shorter"),
        ("older", "younger"),
        ("faster", "slower"),
        ("richer", "poorer"),
        ("stronger", "weaker"),
        ("happier", "sadder"),
    ),
    chains=(
        Chain("animal", (("dog", ("poodle", "beagle", "terrier")), ("bird", ("parrot", "sparrow", "crow", "pigeon")))),
        Chain("plant", (("flower", ("tulip", "rose", "daisy", "lily")), ("tree", ("pine", "birch", "willow")))),
        Chain("vehicle", (("truck", ("pickup", "tanker")), ("ship", ("ferry", "yacht", "frigate")))),
        Chain("building", (("house", ("cottage", "villa", "bungalow")), ("church", ("cathedral", "chapel")))),
        Chain("weapon", (("gun", ("rifle", "pistol", "shotgun")), ("blade", ("sword", "dagger")))),
    ),
    templates=_TRAIN_TEMPLATES,
)

TEST = Lexicon(
    names=tuple(
        "Adam Beth Chris Diana Eric Fiona George Helen Isaac Jane Kevin Linda Martin Nora Oscar Paula Robert Susan "
        "Thomas Wendy".split()
    ),
    people=tuple(
        "dancer actor judge priest hunter clerk butcher miner surgeon poet barber carpenter tourist scientist".split()
    ),
    places=tuple("beach market airport theatre".split()),
    goods=tuple("laptop necklace tent violin bottle map horse ladder wallet drum".split()),
    events=tuple("festival earthquake ceremony debate flood race banquet auction conference rehearsal strike".split()),
    actions=tuple("attacked rescued praised ignored insulted kicked admired interviewed photographed defeated".split()),
    verbs=(
        Verb("deliver", "delivered", ("package", "newspaper", "mail")),
        Verb("close", "closed", ("curtain", "drawer", "lid")),
        Verb("copy", "copied", ("report", "key", "file")),
        Verb("polish", "polished", ("silver", "statue", "trophy")),
        Verb("return", "returned", ("wallet", "scarf", "umbrella")),
        Verb("record", "recorded", ("song", "video", "message")),
    ),
    predicates=(
        Predicate("buy a newspaper", "bought a newspaper"),
        Predicate("climb the hill", "climbed the hill"),
        Predicate("catch a cold", "caught a cold"),
        Predicate("speak loudly", "spoke loudly"),
        Predicate("sing a song", "sang a song"),
        Predicate("fall asleep", "fell asleep"),
        Predicate("pay in cash", "paid in cash"),
        Predicate("read the report", "read the report"),
    ),
    qualities=(
        Quality("safe", "dangerous", ("street", "forest", "airplane", "mountain")),
        Quality("easy", "difficult", ("exam", "puzzle", "recipe", "language")),
        Quality("interesting", "boring", ("article", "play", "podcast", "story")),
        Quality("beautiful", "ugly", ("painting", "valley", "castle", "city")),
    ),
    comparatives=(
        ("louder", "quieter"),
        ("smarter", "dumber"),
        ("thinner", "fatter"),
        ("calmer", "angrier"),
        ("braver", "more cowardly"),
        ("busier", "lazier"),
    ),
    chains=(
        Chain("tool", (("saw", ("hacksaw", "chainsaw")), ("hammer", ("mallet", "sledgehammer")))),
        Chain("insect", (("beetle", ("ladybug", "weevil")), ("fly", ("mosquito", "midge")))),
        Chain("instrument", (("trumpet", ("cornet", "bugle")), ("keyboard", ("piano", "harpsichord")))),
        Chain("garment", (("shoe", ("sandal", "sneaker")), ("hat", ("beret", "bonnet")))),
    ),
    templates=_TEST_TEMPLATES,
)
