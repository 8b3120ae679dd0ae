"""`rocoft bench`: what is counted, what is recorded, and what a second call leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from rocoft_bench.config import config_root, read_settings
from rocoft_bench.efficiency.bench_run import measure, only_bench_in
from rocoft_bench.efficiency.bench_settings import BenchSettings, benches_of
from rocoft_bench.efficiency.bench_subject import BenchSubject, random_model
from rocoft_bench.efficiency.reference_methods import Rebuilt
from rocoft_bench.efficiency.step_counts import count_step
from rocoft_bench.errors import UserError
from rocoft_bench.runs import EfficiencyRecord
from tests.conftest import Outcome

CPU = torch.device("cpu")
ROBERTA = {
    "name": "roberta-base",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 60,
}
LLAMA = {
    "name": "llama-2-7b",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 60,
}
METHODS: list[dict[str, Any]] = [
    {"name": "frozen"},
    {"name": "full"},
    {"name": "rocoft"},
    {"name": "rocoft", "mode": "column"},
    {"name": "published-rocoft"},
    {"name": "lora"},
    {"name": "shira"},
    {"name": "miss", "rank": 8},
]


def settings(method: dict[str, Any], **changes: Any) -> BenchSettings:
    return BenchSettings(
        **{"model": ROBERTA, "batch_size": 2, "sequence_length": 8, "turns": 1} | changes, method=method
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EfficiencyRecord]:
    made = measure([settings(method) for method in METHODS], tmp_path_factory.mktemp("bench"))
    return {record.label: record for record in made}


def test_every_method_has_a_record(records: dict[str, EfficiencyRecord]) -> None:
    assert [record.error for record in records.values()] == [None] * len(METHODS)
    for label, record in records.items():
        assert record.seconds_per_step
        assert record.seconds_beside_frozen
        assert record.peak_memory_mib
        assert (record.adapter_bytes is None) == (label == "frozen")
    assert records["FT"].merge_seconds is not None


def test_counts(records: dict[str, EfficiencyRecord]) -> None:
    frozen, row, column = (records[label] for label in ("frozen", "RoCoFT-3-Row", "RoCoFT-3-Column"))
    published, full = records["published RoCoFT-3-Row"], records["FT"]
    assert frozen.parameters["adapter"] == frozen.parameters["head"] == 0
    assert row.parameters["adapter"] == published.parameters["adapter"] == 2 * 3 * (5 * 48 + 96)
    flops = [record.flops_per_step or 0 for record in (frozen, row, published, full)]
    assert flops[0] < flops[1] < 1.1 * flops[0] < flops[2] == flops[3]
    saved = [record.saved_bytes_per_step or 0 for record in (frozen, row, column, full, published)]
    replaced = 4 * row.parameters["adapter"]
    assert saved[0] + replaced <= saved[1] < saved[2] < 1.1 * saved[0] + replaced < saved[3] < saved[4]
    assert full.optimizer_state_mib == pytest.approx(2 * (full.gradients_mib or 0), rel=0.01)


def test_operations_of_a_layer() -> None:
    """None for a view."""
    layer, x = nn.Linear(4, 3).requires_grad_(False), torch.randn(2, 4, requires_grad=True)
    counts = count_step(layer, lambda: layer(x.view(2, 4)).sum().backward())
    assert counts.operations == 4  # two products, a sum and its gradient
    assert counts.flops == 2 * 2 * 2 * 4 * 3
    assert counts.saved_bytes == 0


def test_a_rebuilt_layer_is_the_layer() -> None:
    linear, x = nn.Linear(5, 7), torch.randn(2, 5)
    for mode in ("row", "column"):
        torch.testing.assert_close(Rebuilt(linear, 2, mode)(x), F.linear(x, linear.weight, linear.bias))


def test_steps_of_one_method_leave_the_others_alone() -> None:
    base = random_model(settings({"name": "full"}), CPU)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    subject = BenchSubject(settings({"name": "full"}), base)
    subject.step()
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    frozen = BenchSubject(settings({"name": "frozen"}), base)
    shared = {p.data_ptr() for p in base.parameters()}
    assert {p.data_ptr() for p in frozen.model.parameters()} == shared
    assert shared.isdisjoint(p.data_ptr() for p in subject.model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": True},
        {"gradient_accumulation": 3},
        {"precision": "bf16"},
        {"dtype": "bfloat16"},
        {"model": LLAMA, "task_kind": "causal_lm", "decode_tokens": 3},
    ],
    ids=str,
)
def test_other_ways_to_train(changes: dict[str, Any], tmp_path: Path) -> None:
    frozen, row = measure(
        [settings(method, **changes) for method in ({"name": "frozen"}, {"name": "rocoft"})], tmp_path
    )
    assert (row.status, row.error) == ("ok", None)
    assert (row.flops_per_step or 0) < 1.1 * (frozen.flops_per_step or 0)
    assert (row.merged_decode_seconds is not None) == ("decode_tokens" in changes)


def test_a_method_that_fails_costs_no_other_one(tmp_path: Path) -> None:
    methods = ({"name": "frozen"}, {"name": "bitfit"}, {"name": "rocoft"})
    of_llama: dict[str, Any] = {"model": LLAMA, "task_kind": "causal_lm"}
    statuses = [record.status for record in measure([settings(m, **of_llama) for m in methods], tmp_path)]
    assert statuses == ["ok", "failed", "ok"]


def test_one_layer_alone(tmp_path: Path) -> None:
    """What Table 3's formulas count, and that nothing beside the layer is computed or trained."""
    target, d_in, d_out, tokens = {"target_modules": ["ffn_in"], "rank": 2}, 12, 20, 2 * 8
    of_layer: dict[str, Any] = {"model": {"name": "linear", "d_in": d_in, "d_out": d_out}}
    methods = [{"name": "frozen"}, {"name": "full"}, {"name": "lora", **target}, {"name": "rocoft", **target}]
    methods += [{"name": "published-rocoft", "rank": 2}]
    records = measure([settings(method, **of_layer) for method in methods], tmp_path)
    assert [record.error for record in records] == [None] * len(methods)
    frozen, full, lora, row, published = records
    assert frozen.model == {"name": "linear", "kind": "layer", "d_in": d_in, "d_out": d_out}
    counts = [record.parameters for record in records]
    assert [own["adapter"] for own in counts] == [0, (d_in + 1) * d_out, 2 * (d_in + d_out), 2 * d_in, 2 * d_in]
    assert [own["additional"] for own in counts] == [0, 0, 2 * (d_in + d_out), 2 * d_in, 0]
    product = 2 * tokens * d_in * d_out
    assert [frozen.flops_per_step, full.flops_per_step] == [2 * product, 3 * product]
    assert row.flops_per_step == 2 * product + 2 * tokens * 2 * d_in
    assert published.flops_per_step == 3 * product
    assert (lora.flops_per_step or 0) > row.flops_per_step


def test_what_trains_nothing_of_a_layer_is_no_result(tmp_path: Path) -> None:
    of_layer: dict[str, Any] = {"model": {"name": "linear", "d_in": 12, "d_out": 20}}
    frozen, lora = measure([settings({"name": name}, **of_layer) for name in ("frozen", "lora")], tmp_path)
    assert (frozen.status, lora.status) == ("ok", "failed")
    assert "LoRA trains nothing of the layer" in (lora.error or "")


def test_a_layer_of_no_size(tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    file.write_text(yaml.safe_dump({"bench": {"models": [{"name": "linear", "d_inn": 3}]}}))
    with pytest.raises(UserError, match="d_in"):
        benches_of(read_settings(file))


@pytest.fixture
def bench_file(tmp_path: Path) -> Path:
    file = tmp_path / "bench.yaml"
    content = {"models": [ROBERTA], "methods": ["rocoft"], "shapes": [[2, 8]], "turns": 1}
    file.write_text(yaml.safe_dump({"bench": content}))
    return file


def test_the_command(rocoft: Callable[..., Outcome], bench_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert "to do" in rocoft("bench", bench_file, "--output", output, "--dry-run").out
    assert not output.exists()
    outcome = rocoft("bench", bench_file, "--output", output)
    assert outcome.code == 0, outcome.err
    assert "RoCoFT-3-Row" in outcome.out
    files = sorted(output.rglob("efficiency.json"))
    assert [json.loads(file.read_text())["label"] for file in files] == ["frozen", "RoCoFT-3-Row"]
    assert all((file.parent / "provenance.json").is_file() for file in files)
    times = [file.stat().st_mtime_ns for file in files]
    assert rocoft("bench", bench_file, "--output", output).code == 0
    assert [file.stat().st_mtime_ns for file in files] == times
    assert rocoft("bench", bench_file, "--output", output, "--force").code == 0
    assert all(file.stat().st_mtime_ns > time for file, time in zip(files, times, strict=True))
    report = rocoft("report", output, "--output", tmp_path / "report")
    assert report.code == 0, report.err
    assert "Figure 2" in report.out


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("modles=[roberta-base]", 'did you mean "models"'),
        ("models=[{name: roberta-base, hidden_size: 17}]", "is not a multiple of the number of attention heads"),
        ("task_kind=seq2seq_lm", "no seq2seq_lm model can be built"),
        ("models=[roberta]", 'did you mean "roberta-base"'),
        ("models=[{name: roberta-base, layers: 3}]", "layers is nothing that its configuration has"),
        ("models=[{name: roberta-base, num_hidden_layers: many}]", "must be of type int"),
        ("methods=[]", "must be a list"),
        ("methods=[lroa]", 'did you mean "lora"'),
        ("methods=[{name: lora, rnak: 2}]", 'did you mean "rank"'),
        ("methods=[{}]", "method.name is missing"),
        ("shapes=[8]", "must be [rows, tokens]"),
        ("turns=0", "greater than"),
        ("model=roberta-large", "name them all in a list, bench.models"),
        ("batch_size=4", "name them all in a list, bench.shapes"),
        ("variants=[{sequence_length: 4}]", "name them all in a list, bench.shapes"),
        ("task_kind=tagging", "task_kind"),
    ],
)
def test_wrong_settings(
    rocoft: Callable[..., Outcome], bench_file: Path, tmp_path: Path, assignment: str, problem: str
) -> None:
    outcome = rocoft("bench", bench_file, "--set", assignment, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert problem in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("file", sorted(config_root().glob("bench_*.yaml")), ids=lambda file: file.stem)
def test_shipped_files(file: Path) -> None:
    groups = benches_of(read_settings(file))
    names = [bench.folder_name for group in groups for bench in group]
    assert len(set(names)) == len(names)
    assert all(group[0].method["name"] == "frozen" for group in groups)


def test_other_commands_know_the_files(rocoft: Callable[..., Outcome], bench_file: Path) -> None:
    shown = rocoft("validate", bench_file)
    assert shown.code == 0, shown.err
    assert "2 benches, of frozen, rocoft" in shown.out
    assert "rocoft bench" in rocoft("sweep", bench_file).err


def test_a_file_of_something_else() -> None:
    with pytest.raises(UserError, match=r"table1_roberta_base\.yaml: .* is not a setting of benches"):
        benches_of(read_settings(config_root() / "table1_roberta_base.yaml"))


def test_two_benches_in_one_folder(tmp_path: Path) -> None:
    output = tmp_path / "new"
    busy = pytest.raises(UserError, match="another `rocoft bench` is at work there")
    with only_bench_in(output), busy, only_bench_in(output):
        pass
    with only_bench_in(output):
        pass
    assert not list(output.iterdir())


def test_products_of_single_entries_are_counted() -> None:
    pattern = torch.eye(4).to_sparse_csr()
    g, x = torch.randn(4, 5), torch.randn(5, 4)
    layer = nn.Identity()
    assert count_step(layer, lambda: [torch.sparse.sampled_addmm(pattern, g, x)].clear()).flops == 2 * 4 * 5
