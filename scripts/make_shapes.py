"""Writes rocoft_bench/models/architectures/shapes.json: the shapes of the paper's and the embedded models.

    python scripts/make_shapes.py

Needed after a change of the catalogue of models or of `ModelShapes`; tests/models/test_shapes.py says when.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers

import rocoft_bench
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models import AUTO_CLASSES, KNOWN_MODELS, KnownModel, paper_model
from rocoft_bench.models.architectures import on_meta
from rocoft_bench.models.shape_reading import shapes_of
from rocoft_bench.models.shapes import ModelShapes, pack

FILE = Path(rocoft_bench.__file__).parent / "models" / "architectures" / "shapes.json"


def shapes_by_kind(known: KnownModel) -> dict[str, ModelShapes]:
    """For each kind of task that transformers has a class of the model for."""
    found = {}
    for kind, auto_class in AUTO_CLASSES.items():
        try:
            model = meta_model(known, auto_class)
        except ValueError:
            continue
        found[kind] = shapes_of(model, kind in TASKS_WITH_HEAD)
    return found


def meta_model(known: KnownModel, auto_class: str) -> Any:
    """Raises: ValueError if transformers has no such class of the model."""
    if known.embedded is None:
        return paper_model(known.alias, auto_class)
    return on_meta(transformers.AutoConfig.from_pretrained(str(known.embedded.path())), auto_class)


def main() -> None:
    lines = []
    for known in KNOWN_MODELS:
        kinds = [f"  {json.dumps(kind)}: {json.dumps(pack(s))}" for kind, s in shapes_by_kind(known).items()]
        lines.append(f"{json.dumps(known.alias)}: {{\n" + ",\n".join(kinds) + "\n}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
