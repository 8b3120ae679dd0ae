"""What packages and programs add to a registry, and what is said where they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.methods import METHODS, InModelMethod, NoSettings
from rocoft_bench.plugins import Registry, left_out, used


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """installed(name, entries, code): as pip leaves a package of one module."""

    def install(package: str, entries: str, code: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rocoft.words]\n{entries}\n")
        (tmp_path / f"{package}.py").write_text(code)

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


def words() -> Registry[str]:
    def problem_of(word: object) -> str | None:
        return None if isinstance(word, str) else "a str is wanted"

    return Registry("word", "rocoft.words", str, ["own", "other"], problem_of)


def test_installed_packages_add_theirs_after_the_own_ones(installed) -> None:
    installed("pack_a", "w = pack_a:WORD", "WORD = 'more'")
    registry = words()
    assert list(registry) == ["own", "other", "more"]
    assert registry.find("more") == "more"
    assert str(registry.origin("more")) == "pack_a 1.0"
    assert registry.origin("own") is None
    assert used({"word": ["own", "more"]}) == [{"word": "more", "plugin": "pack_a", "version": "1.0", "sha256": None}]


def test_one_that_fails_takes_nothing_else_with_it(installed) -> None:
    installed("pack_b", "w = pack_b:WORD\nv = pack_b:OTHER", "raise ImportError('no such\\nlibrary')")
    installed("pack_c", "w = pack_c:WORD\nv = pack_c:NUMBER", "WORD, NUMBER = 'fine', 5")
    registry = words()
    assert list(registry) == ["own", "other", "fine"]
    failures = [line for line in left_out() if "pack_" in line]
    assert failures == [
        "pack_b 1.0: its word v cannot be loaded (ImportError: no such library)",
        "pack_b 1.0: its word w cannot be loaded (ImportError: no such library)",
        "pack_c 1.0: 5 is no word: a str is wanted",
    ]
    with pytest.raises(UserError, match=r"unknown word 'w'; .*\npack_b 1\.0: its word v cannot be loaded"):
        registry.find("w")


def test_two_packages_with_one_name_are_told_and_neither_is_taken_for_the_other(installed) -> None:
    installed("pack_d", "w = pack_d:WORD", "WORD = 'shared'")
    installed("pack_e", "w = pack_e:WORD\nv = pack_e:OWN", "WORD, OWN = str(b'shared', 'ascii'), str(b'own', 'ascii')")
    registry = words()
    assert registry.find("other") == "other"
    with pytest.raises(
        UserError, match=r"word shared: both pack_d 1\.0 and pack_e 1\.0 have one; rename or remove one"
    ):
        registry.find("shared")
    with pytest.raises(UserError, match=r"word own: both rocoft-bench and pack_e 1\.0 have one"):
        registry.find("own")


class Mine(InModelMethod):
    name, label = "mine", "Mine"
    trains, reference, mergeable = "nothing", "-", True
    learning_rate, weight_decay = 1e-3, 0.0
    Settings = NoSettings

    def attach(self, model) -> None:
        pass

    def adapter_parameters(self, shapes) -> int:
        return 0


def test_a_program_adds_its_own_and_may_do_so_again() -> None:
    METHODS.add(Mine)
    again = type("Mine", (Mine,), {})  # as when the cell of a notebook is run twice
    METHODS.add(again)
    assert METHODS.find("mine") is again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "lora"}, "method lora: both rocoft-bench and this program have one"),
        ({"name": "my method!"}, r"'my method!': letters, digits, _ \. and - make a name"),
        ({"label": "LoRA"}, 'its label "LoRA" is that of lora, and tables would take them for one'),
        ({"attach": None, "__abstractmethods__": frozenset({"attach"})}, "it lacks attach"),
    ],
)
def test_a_method_that_cannot_be_one_is_refused(changes: dict[str, object], message: str) -> None:
    wrong = type("Mine", (Mine,), {})
    for key, value in changes.items():
        setattr(wrong, key, value)
    with pytest.raises(UserError, match=message):
        METHODS.add(wrong)


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(UserError, match="this program: 5 is no method: a subclass of Method is wanted"):
        METHODS.add(5)  # type: ignore[arg-type]
