"""Text about the world of `rocoft_bench.demo.world`: sums, stories with numbers, facts, questions, lists to pick from.

Most of such text is left to chance (who has how many of what), and nothing can be learned from it. So the parts that
follow from what was said before are marked with ⟦ and ⟧, and a recipe may count these alone in the loss.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from rocoft_bench.demo.word_problems import Step, result
from rocoft_bench.demo.world import RELATIONS, TEST_CAST, TRAIN_CAST, Relation

INDENT = " " * 16
LINE = "\n"
MARKS = re.compile("[⟦⟧]")

PEOPLE = TRAIN_CAST.people + TEST_CAST.people
THINGS = TRAIN_CAST.things + TEST_CAST.things
GAINS = ("finds", "buys", "picks up", "wins", "collects", "gets", "makes")
LOSSES = ("loses", "sells", "gives away", "drops", "throws away", "hides", "breaks")
OWNS = ("{name} has {a} {things}", "{name} owns {a} {things}", "{name} keeps {a} {things} in a box")
OUTCOMES = ("so {name} has %d {things} now.", "now {name} has %d {things}.", "in the end {name} owns %d {things}.")
ASKS = ("how many {things} is that?", "what number of {things} is that?", "how many {things} are there?")
OPENINGS = ("", "", "at first ", "in the morning ", "one day ", "today ")
HOLDERS = ("bag", "basket", "room", "drawer", "jar")
LABELS = ("Item", "Thing", "Word", "Choice", "Number", "Part")
MORE_LABELS = (*LABELS, "Option", "Reply", "Case", "Line", "Name")
INTROS = ("", "Question: ", "Please choose: ", "Please choose the {label} for this: ", "Name the right {label}: ")
NOTES = ("One of {names}", "Names: {names}", "{label} names: {names}", "Format: {names}")
TELLINGS = (
    "it is {name}.",
    "it is {name}, {right}.",
    "the right {label} is {name}.",
    "the {label} is {name}",
    "{name}",
)
WORDS = sorted({*(name for name, _ in PEOPLE), *THINGS} | {a for r in RELATIONS.values() for a, _ in r.facts})
PROSE = (
    "Below is a list of things that {name} describes.",
    "the {things} and the answer of {name}",
    "Write a short text about the {things}, please.",
    "{name} gives an instruction, and the answer of {other} is correct.",
    "Every question that {name} asks has a good response.",
    "{other} appropriately completes the task that {name} describes.",
    "This is the request of {name}: choose the correct format.",
    "What number of {things} is on the table? {name} and {other} both do not know.",
    "{name} answers the question about the {things} in the evening.",
    "An instruction is a text that says what to do.",
    "The correct response to a request is an answer in the right format.",
    "The word Instruction stands above a task, and the word Response stands below it.",
    "Answer the question, {name}! Please choose the {things} and/or tell {other} the answer/response.",
    "Do {name} and {other} own the {things} now? No, not now.",
    "{other} gives an answer: the {things} are on the table. Answer format: yes/no.",
    "Please answer/ask. Answer {name} and {other} in one word. The answer is in the text/answer/list.",
)


def document(rng: random.Random, weights: Mapping[str, int]) -> str:
    """A few pieces of text, of one sort or mixed, in one of four layouts. weights: of sorts in PIECES."""
    sorts = rng.choices(list(weights), list(weights.values()), k=rng.randint(2, 6))
    if rng.random() < 0.4:
        sorts = [sorts[0]] * len(sorts)
    pieces = [PIECES[sort](rng) for sort in sorts]
    layout = rng.random()
    if layout < 0.4:
        return " ".join(pieces)
    if layout < 0.6:
        return LINE.join(pieces)
    if layout < 0.8:
        return (LINE + INDENT).join(pieces)
    parts = (f"### {sort}:\n{INDENT}{piece}" for sort, piece in zip(sorts, pieces, strict=True))
    return "Below is a text.  \n\n" + f"\n{INDENT}\n".join(INDENT + part for part in parts)


def sums(rng: random.Random) -> str:
    """Equations that have nothing to do with each other."""
    steps = [_step(rng, rng.choice("+-*")) for _ in range(rng.randint(2, 5))]
    return " ".join(equation(step).replace("=", "=⟦") + "⟧" for step in steps)


def equation(step: Step) -> str:
    return f"{step[0]} {step[1]} {step[2]} = {result(step)}."


def story(rng: random.Random) -> str:
    """Someone's things become more or fewer, are compared, or lie in bags; with the sum and perhaps the outcome."""
    name, other, words = _people(rng)
    told, steps, outcome = rng.choice((_changes, _changes, _compared, _packed))(rng)
    tail = " ".join(equation(step) for step in steps)
    asked = f" {rng.choice(ASKS)}" if rng.random() < 0.25 else ""
    ending = f"{tail} {outcome}" if rng.random() < 0.5 else tail
    told, ending = (_sentences(text.format(**words, name=name, other=other)) for text in (told + asked, ending))
    return f"{told}⟦{_gap(rng, 'Sum')}{ending}⟧"


def recall(rng: random.Random) -> str:
    """Who has what, then some of it again."""
    count = rng.randint(2, 4)
    people, things = rng.sample(PEOPLE, count), rng.sample(THINGS, count)
    owned = [f"{name} has⟦ {rng.randint(2, 40)} {thing}.⟧" for (name, _), thing in zip(people, things, strict=True)]
    return " ".join([*(MARKS.sub("", text) for text in owned), "Again:", *rng.sample(owned, count)])


def _changes(rng: random.Random) -> tuple[str, list[Step], str]:
    start = rng.randint(3, 20)
    steps: list[Step] = []
    now, told = start, [rng.choice(OPENINGS) + rng.choice(OWNS).replace("{a}", str(start))]
    for _ in range(rng.choices((1, 2), (3, 2))[0]):
        operator = "+" if now < 4 or rng.random() < 0.5 else "-"
        amount = rng.randint(2, 12 if operator == "+" else min(12, now - 1))
        told.append(_change(rng, operator, amount, bool(steps)))
        steps.append((now, operator, amount))
        now = result(steps[-1])
    return ". ".join(told) + ".", steps, rng.choice(OUTCOMES) % now


def _change(rng: random.Random, operator: str, amount: int, then: bool) -> str:
    more = rng.choice((f"{amount} more", f"{amount} more {{things}}"))
    fewer = rng.choice((f"{amount} of them", f"{amount} {{things}}"))
    if operator == "+":
        change = rng.choice((f"{{they}} {rng.choice(GAINS)} {more}", f"{{other}} gives {{name}} {more}"))
    else:
        change = f"{{they}} {rng.choice(LOSSES)} {fewer}"
    return ("then " if then else "") + change


def _compared(rng: random.Random) -> tuple[str, list[Step], str]:
    operator = rng.choice("+-")
    step = _step(rng, operator)
    owns = rng.choice(OWNS[:2])
    first = owns.replace("{a}", str(step[0]))
    second = owns.replace("{name}", "{other}").replace("{a}", str(step[2]))
    second = rng.choice((second, second.removesuffix(" {things}")))
    told = first + rng.choice((". ", " and ", ", and ")) + second + "."
    together = (
        "they have %d {things} in all.",
        "{name} and {other} have %d {things} together.",
        "both have %d {things}.",
    )
    more = ("{name} has %d more {things} than {other}.", "{other} has %d fewer {things} than {name}.")
    return told, [step], rng.choice(together if operator == "+" else more) % result(step)


def _packed(rng: random.Random) -> tuple[str, list[Step], str]:
    step = _step(rng, "*")
    holder = rng.choice(HOLDERS)
    told = rng.choice(
        (
            f"there are {step[0]} {holder}s. each {holder} holds {step[2]} {{things}}.",
            f"there are {step[0]} {holder}s. in each {holder} there are {step[2]} {{things}}.",
            f"{{name}} has {step[0]} {holder}s with {step[2]} {{things}} in each.",
            f"{{name}} fills {step[0]} {holder}s with {step[2]} {{things}} each.",
        )
    )
    outcome = rng.choice((f"in all the {holder}s there are %d {{things}}.", "that is %d {things} in all."))
    return told, [step], outcome % result(step)


def _step(rng: random.Random, operator: str) -> Step:
    if operator == "*":
        return rng.randint(2, 6), "*", rng.randint(2, 8)
    if operator == "+":
        return rng.randint(1, 28), "+", rng.randint(2, 12)
    left = rng.randint(3, 28)
    return left, "-", rng.randint(2, min(12, left - 1))


def copy(rng: random.Random) -> str:
    """Words and numbers in any order, and the same again."""
    words = [rng.choice(WORDS) if rng.random() < 0.7 else str(rng.randint(1, 40)) for _ in range(rng.randint(4, 14))]
    text = " ".join(words)
    return f"{rng.choice(('Words', 'List', 'Say'))}: {text}. Again:⟦ {text}.⟧"


def facts(rng: random.Random) -> str:
    """A few facts of one relation."""
    relation = _relation(rng)
    said = []
    for a, b in rng.sample(relation.facts, rng.randint(1, 3)):
        head, last, tail = rng.choice(relation.statements).rpartition(" {")
        said.append(f"{head}⟦{last}{tail}⟧".format(a=a, b=b))
    return _sentences(" ".join(said))


def question(rng: random.Random) -> str:
    """A question about a fact, and its answer."""
    asked, right, _ = _asked(_relation(rng), rng)
    return _sentences(f"{asked}⟦ {right}.⟧")


def pick(rng: random.Random) -> str:
    """A question or an order, a list with numbers, and the number that is right."""
    asked, right, wrong = _asked(_relation(rng), rng)
    options = rng.sample(wrong, min(len(wrong), rng.randint(1, 4)))
    options.insert(rng.randint(0, len(options)), right)
    label = rng.choice(LABELS)
    named = {option: f"{label.lower()}{number}" for number, option in enumerate(options, 1)}
    judged = rng.random() < 0.5
    verdicts = {option: f",⟦ {'yes' if option == right else 'no'}⟧" if judged else "" for option in options}
    listed = " ".join(f"{name.capitalize()}: {option}{verdicts[option]}" for option, name in named.items())
    told = rng.choice((f"It is {named[right]}.", f"It is {named[right]}, {right}.", f"It is {right}, {named[right]}."))
    order = asked if rng.random() < 0.75 else f"look for this: {right}."
    again = "".join(f" {option} is⟦ {named[option]}.⟧" for option in rng.sample(options, rng.choice((0, 0, 2))))
    return f"{_sentences(order)}{rng.choice((' ', LINE, LINE * 2))}{listed}⟦{_gap(rng, 'Pick')}{told}⟧{again}"


def lookup(rng: random.Random) -> str:
    """A list with numbers, then the number of each item."""
    options = rng.sample(WORDS, rng.randint(2, 5)) if rng.random() < 0.5 else _items(rng)
    label = rng.choice(LABELS)
    numbered = {option: number for number, option in enumerate(options, 1)}
    listed = " ".join(f"{label}{number}: {option}" for option, number in numbered.items())
    before = rng.choice(("", "", f" is {label.lower()}"))
    order = rng.sample(options, len(options))
    return listed + LINE + " ".join(f"{option}{before}⟦{'' if before else ' '}{numbered[option]}⟧" for option in order)


def _items(rng: random.Random) -> list[str]:
    """Two to five different phrases out of the facts of a relation, in any order."""
    phrases = sorted({rng.choice(fact) for fact in rng.sample(_relation(rng).facts, rng.randint(2, 5))})
    return rng.sample(phrases, len(phrases))


def judge(rng: random.Random) -> str:
    """A question or an order, and of each item of a list whether it answers it; then the one that does, if one does."""
    asked, right, wrong = _wanted(rng)
    count = min(len(right), rng.choice((1, 1, 2, 3)))
    options = dict.fromkeys(rng.sample(right, count), "yes")
    options |= dict.fromkeys(rng.sample(wrong, min(len(wrong), count + rng.randint(0, 1))), "no")
    label = rng.choice(LABELS)
    order = rng.sample(list(options), len(options))
    verdicts = (f"{label}{number}: {option}⟦ {options[option]}⟧" for number, option in enumerate(order, 1))
    found = [option for option in order if options[option] == "yes"]
    told = f"⟦{LINE}It is {label.lower()}{order.index(found[0]) + 1}.⟧" if len(found) == 1 else ""
    return f"{_sentences(asked)}{rng.choice((' ', LINE, LINE * 2))}{' '.join(verdicts)}{told}"


def choose(rng: random.Random) -> str:
    """A question, a list, often the names of its items in one line, and the name of the one that is right."""
    asked, right, wrong = _asked(_relation(rng), rng)
    options = rng.sample(wrong, min(len(wrong), rng.choice((1, 2, 3, 3, 3, 4))))
    options.insert(rng.randint(0, len(options)), right)
    label = rng.choice(MORE_LABELS)
    names = [f"{label.lower()}{number}" for number in range(1, len(options) + 1)]
    listed = " ".join(f"{name.capitalize()}: {option}" for name, option in zip(names, options, strict=True))
    note = rng.choice(("", "", *NOTES)).format(label=label, names="/".join(names))
    told = rng.choice(TELLINGS).format(label=label.lower(), name=names[options.index(right)], right=right)
    gap = rng.choice((" ", LINE, LINE * 2))
    question = rng.choice(INTROS).format(label=label.lower()) + asked[0].upper() + asked[1:]
    return f"{question}{gap}{listed}{gap + note if note else ''}⟦{_gap(rng, 'Pick')}{told}⟧"


def _wanted(rng: random.Random) -> tuple[str, list[str], list[str]]:
    """A question or an order, all that answers it, and what does not."""
    relation = _relation(rng)
    a, b = rng.choice(relation.facts)
    keys, values = [key for key, _ in relation.facts], sorted({value for _, value in relation.facts})
    sort = rng.random()
    if sort < 0.35:
        phrases, chosen = rng.choice(((keys, a), (values, b)))
        return f"look for this: {chosen}.", [chosen], [phrase for phrase in phrases if phrase != chosen]
    if sort < 0.75:
        right = [key for key, value in relation.facts if value == b]
        return rng.choice(relation.asks_a).format(b=b), right, [key for key in keys if key not in right]
    return rng.choice(relation.asks_b).format(a=a), [b], [value for value in values if value != b]


def _gap(rng: random.Random, heading: str) -> str:
    """What stands between a text and what follows from it."""
    return rng.choice((" ", LINE, LINE * 2, LINE + INDENT, f"\n{INDENT}\n{INDENT}### {heading}:\n{INDENT}"))


def prose(rng: random.Random) -> str:
    """A sentence with words that prompts have."""
    name, other, words = _people(rng)
    return f"⟦{rng.choice(PROSE).format(name=name, other=other, **words)}⟧"


def _relation(rng: random.Random) -> Relation:
    return rng.choice(list(RELATIONS.values()))


def _asked(relation: Relation, rng: random.Random) -> tuple[str, str, list[str]]:
    """A question, its answer, and what does not answer it."""
    a, b = rng.choice(relation.facts)
    if rng.random() < 0.5:
        return rng.choice(relation.asks_b).format(a=a), b, sorted({other for _, other in relation.facts} - {b})
    return rng.choice(relation.asks_a).format(b=b), a, sorted(key for key, value in relation.facts if value != b)


def _people(rng: random.Random) -> tuple[str, str, dict[str, str]]:
    (name, pronoun), (other, _) = rng.sample(PEOPLE, 2)
    return name, other, {"they": pronoun, "things": rng.choice(THINGS)}


def _sentences(text: str) -> str:
    """Capital letters where sentences begin."""
    return re.sub(r"(^|[.?][⟦⟧ ]* [⟦⟧ ]*)([a-z])", lambda match: match[1] + match[2].upper(), text)


PIECES: dict[str, Callable[[random.Random], str]] = {
    "Sums": sums,
    "Story": story,
    "Copy": copy,
    "Memory": recall,
    "Facts": facts,
    "Question": question,
    "List": pick,
    "Text": prose,
    "Numbers": lookup,
    "Answers": judge,
    "Choices": choose,
}
"""Sorts of text by the heading that they may have."""
