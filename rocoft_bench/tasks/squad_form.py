"""SQuAD's own files: {"data": [{"paragraphs": [{"context": …, "qas": [{"question": …, "answers": […]}]}]}]}."""

from collections.abc import Iterator
from typing import Any

from rocoft_bench.errors import UserError, shortened


def is_squad_form(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("data"), list)


def squad_questions(path: str, squad: Any) -> Iterator[tuple[object, dict[str, Any]]]:
    """Each question with all that is said of it and of its paragraph, by its id, or by its number where it has none.

    Raises: UserError that says which part of the file has another form.
    """
    number = 0
    for article_place, article in _parts(path, "", squad, "data"):
        for paragraph_place, paragraph in _parts(path, article_place, article, "paragraphs"):
            for place, question in _parts(path, paragraph_place, paragraph, "qas"):
                number += 1
                if not isinstance(question, dict):
                    raise UserError(f"{path}, {place}: is not an object")
                if question.get("is_impossible") is True and question.get("answers"):
                    raise UserError(f"{path}, {place}: is_impossible is true, but there are answers")
                identity = question.get("id")
                name = shortened(identity) if isinstance(identity, str) and identity else number
                yield name, {**paragraph, **question}


def _parts(path: str, place: str, whole: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The entries of the list `whole[key]`, and where they are in the file."""
    if not isinstance(whole, dict) or not isinstance(whole.get(key), list):
        raise UserError(f'{path}, {place}: is not an object with a list "{key}", as in SQuAD\'s own files')
    here = f"{place}.{key}" if place else key
    return ((f"{here}[{index}]", part) for index, part in enumerate(whole[key]))
