"""The shapes that ship with the package are those of the models."""

from __future__ import annotations

import pytest
import transformers

from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models import AUTO_CLASSES, KNOWN_MODELS, KnownModel, paper_model, shipped_shapes
from rocoft_bench.models.architectures import on_meta
from rocoft_bench.models.shape_reading import shapes_of
from rocoft_bench.models.shapes import ModelShapes, pack, unpack


def shapes_of_model(known: KnownModel, kind: str) -> ModelShapes:
    """Raises: ValueError if transformers has no such class of the model."""
    if known.embedded is None:
        return shapes_of(paper_model(known.alias, AUTO_CLASSES[kind]), kind in TASKS_WITH_HEAD)
    folder = known.embedded.path()
    if folder is None:
        pytest.skip(f"needs the {known.embedded.extra} extra")
    config = transformers.AutoConfig.from_pretrained(str(folder))
    return shapes_of(on_meta(config, AUTO_CLASSES[kind]), kind in TASKS_WITH_HEAD)


@pytest.mark.parametrize("kind", AUTO_CLASSES)
@pytest.mark.parametrize("known", KNOWN_MODELS, ids=lambda known: known.alias)
def test_shipped_shapes_are_those_of_the_model(known: KnownModel, kind: str) -> None:
    """If not: python scripts/make_shapes.py."""
    try:
        expected = shapes_of_model(known, kind)
    except ValueError:
        assert shipped_shapes(known.alias, kind) is None
        return
    assert shipped_shapes(known.alias, kind) == shipped_shapes(known.hub_id, kind) == expected


def test_packing_loses_nothing() -> None:
    shapes = shipped_shapes("bart-large", "seq2seq_lm")
    assert shapes is not None
    assert unpack(pack(shapes)) == shapes


def test_unknown_models_have_none() -> None:
    assert shipped_shapes("someone/some-model", "causal_lm") is None
    assert shipped_shapes("roberta-base", "seq2seq_lm") is None
