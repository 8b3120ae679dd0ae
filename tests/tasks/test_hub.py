"""The hub: rows at the pinned commit, the cache without a network, and quick, clear failures."""

import socket
import time

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.models import hub as hub_module


def test_rows_come_from_the_hub_and_then_from_the_cache(hub, python) -> None:
    load = "loaded = get('glue', 'stsb').load('validation')\nshow([loaded.examples.to_list(), loaded.origin])\n"
    rows, origin = python(load, hub.url)
    assert rows == [
        {"sentence1": "A b.", "sentence2": "E f.", "label": 3.8},
        {"sentence1": "C d.", "sentence2": "G h.", "label": 5.0},
    ]
    sha256 = origin.pop("sha256")
    assert len(sha256) == 64
    assert origin == {
        "kind": "hub",
        "id": "nyu-mll/glue",
        "path": None,
        "config": "stsb",
        "revision": hub.revision,
        "split": "validation",
        "num_rows": 2,
    }
    hub.close()
    again = """
import dataclasses, time
task = get('glue', 'stsb')
loaded = task.load('validation')
start = time.monotonic()
other_commit = dataclasses.replace(task, hub=dataclasses.replace(task.hub, revision='f' * 40))
show([loaded.examples.to_list(), loaded.origin, failure(lambda: other_commit.load('validation')),
      failure(lambda: get('glue', 'rte').load('train')), time.monotonic() - start])
"""
    cached_rows, cached_origin, other_commit, not_cached, seconds = python(again, hub.url)
    assert cached_rows == rows
    assert cached_origin == {**origin, "sha256": sha256}
    assert f"commit {'f' * 40}: it is not in the local cache" in other_commit
    assert "dataset nyu-mll/glue, config rte, split train, commit" in not_cached
    assert f"{hub.url} cannot be reached" in not_cached
    assert seconds < 10


def test_what_the_hub_refuses_is_said_in_one_line(hub, python) -> None:
    hub.refusals = {"made/gated": (403, "GatedRepo"), "made/missing": (404, "RepoNotFound")}
    hub.repos["made/script"] = {"README.md": b"", "script.py": b"raise SystemExit('this must not run')"}
    hub.repos["made/unlabelled"] = {
        "README.md": b"---\nconfigs:\n- config_name: rte\n  data_files: [{split: train, path: train.jsonl}]\n---\n",
        "train.jsonl": b'{"sentence1": "A", "sentence2": "B", "label": -1}\n',
    }
    code = """
import dataclasses
def load(id, split='train'):
    task = get('glue', 'rte')
    return failure(lambda: dataclasses.replace(task, hub=dataclasses.replace(task.hub, id=id)).load(split))
show([load('made/gated'), load('made/missing'), load('made/script'), load('made/unlabelled'),
      load('nyu-mll/glue', 'training')])
"""
    gated, missing, script, unlabelled, split = messages = python(code, hub.url)
    assert all("\n" not in message for message in messages)
    assert "made/gated" in gated
    assert "hf auth login" in gated
    assert "made/missing" in missing
    assert "doesn't exist" in missing
    assert "scripts are no longer supported" in script
    assert "made/unlabelled, config rte, split train, row 1: label -1 means unlabelled" in unlabelled
    assert 'Unknown split "training"' in split


def test_a_connection_that_hangs_is_given_up_soon_with_the_ways_out(python) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        message = python(
            "from rocoft_bench.models import hub\n"
            "hub.PROBE_SECONDS = 0.5\n"
            "show(failure(lambda: get('glue', 'rte').load('train')))",
            f"http://127.0.0.1:{silent.getsockname()[1]}",
        )
        assert time.monotonic() - start < 15
    assert hub_module.PROBE_SECONDS <= 5
    assert "\n" not in message
    assert "within 0.5 s" in message
    for way_out in ("--data-dir DIR", "--model DIR", "HF_HOME", "rocoft demo"):
        assert way_out in message


def test_offline_mode_asks_nobody(monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_module, "_probe", lambda _: pytest.fail("asked the hub in offline mode"))
    with pytest.raises(UserError, match=r"cannot get model m: it is not in the local cache and offline mode is on"):
        hub_module.ensure_reachable("model m")


@pytest.mark.parametrize(("status", "trouble"), [(200, ""), (404, ""), (407, "status 407"), (503, "status 503")])
def test_a_hub_that_is_down_counts_as_unreachable(hub, monkeypatch, status, trouble) -> None:
    monkeypatch.setattr(hub, "answer", lambda *_: (status, {}, b""))
    assert trouble in hub_module._probe(hub.url)
    assert bool(hub_module._probe(hub.url)) == bool(trouble)


def test_no_network_is_undone_even_after_an_error() -> None:
    import datasets.config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    inside = []

    def fail() -> None:
        with hub_module.no_network():
            inside.extend([constants.is_offline_mode(), datasets.config.HF_HUB_OFFLINE])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == [True, True]
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)


def test_the_cache_is_asked_first_and_the_hub_only_if_it_answers(monkeypatch) -> None:
    from huggingface_hub import constants

    calls: list[str] = []

    def load() -> str:
        calls.append("cache" if constants.is_offline_mode() else "hub")
        if calls == ["cache"]:
            raise FileNotFoundError
        return "rows"

    monkeypatch.setattr(hub_module, "ensure_reachable", lambda _: calls.append("probe"))
    assert hub_module.from_cache_or_hub("it", load) == "rows"
    assert calls == ["cache", "probe", "hub"]


def test_a_dataset_of_the_hub_is_own_data_at_the_commit_of_now(hub, python) -> None:
    names = (
        "dataset_info:\n  features:\n  - {name: said, dtype: string}\n  - name: mood\n    dtype:\n      class_label:\n"
    )
    names += "        names: {'0': sad, '1': glad}\n"
    config = "configs:\n- {config_name: default, data_files: [{split: train, path: train.jsonl}]}\n"
    rows = "".join(f'{{"said": "text {n}", "mood": {n % 2}}}\n' for n in range(20))
    hub.repos["made/moods"] = {"README.md": f"---\n{names}{config}---\n".encode(), "train.jsonl": rows.encode()}
    code = """
from rocoft_bench.config import Settings
from rocoft_bench.experiment.resolve import resolve
task = {'family': 'classification', 'dataset': 'made/moods', 'text_column': 'said', 'label_column': 'mood'}
found = resolve(Settings({'task': task}))
train, held_out = found.task.load('train'), found.task.load('held-out')
rows = list(zip(train.examples['text'], train.examples['label']))
wrong = Settings({'task': {**task, 'text_column': 'sad'}})
show([found.task.name, found.config.task.labels, found.config.task.dataset_revision, len(rows), rows,
      held_out.origin['kind'], failure(lambda: resolve(wrong))])
"""
    found = python(code, hub.url)
    assert found[:4] == ["moods", ["glad", "sad"], hub.revision, 18]
    assert {found[1][code] for text, code in found[4] if int(text.split()[1]) % 2} == {"glad"}
    assert found[5] == "hub"
    assert 'split train: no column "sad"; columns found: said, mood; did you mean "said"?' in found[6]
    hub.close()
    assert python(code, hub.url)[:-1] == found[:-1]
