"""Kills a run, an evaluation, an export and a report before each of their file operations, and starts each again.

    python scripts/kill_points.py model.name=demo-roberta task.family=glue task.name=rte task.data_dir=DIR [--every N]

After each kill, and after each point from which the disk was full, the next start must end with the same bytes as an
undisturbed one, with nothing left over. Every N: only each N-th operation. What goes wrong is printed, and the exit
code is 1 then.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from rocoft_bench.config import Settings, parse_assignment
from rocoft_bench.engine.warning_filters import silence_library_warnings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import Experiment, resolve

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate"}
"""Audit events of Python, raised before the operation, beside that of opening a file for writing."""

NEED_ROOM = {"open", "os.mkdir"}

DIFFERS = {"finished_at", "train_seconds", "eval_seconds", "peak_memory_mib"}
"""Fields of a record that no two runs share."""
TIME = re.compile(rb"<time.*?</time>")
"""When a page was made."""

FAILED = 3
"""Exit code of a child that ended in an error that it should not have ended in."""

Action = Callable[[], object]
OnOperation = Callable[[str, int], None]
"""Called with the event and its number, from 1."""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    silence_library_warnings()
    _import_all(arguments.settings)
    with tempfile.TemporaryDirectory(prefix="kill-points-") as folder:
        wrong = list(_all_points(Path(folder).resolve(), arguments.settings, arguments.every))
    print("\n".join(wrong) or "nothing went wrong")
    return 1 if wrong else 0


def _all_points(scratch: Path, assignments: list[str], every: int) -> Iterator[str]:
    """What went wrong, in a line each."""
    root = scratch / "root"
    run = root / "run"
    steps = {"train": partial(_train, assignments, run), "evaluate": partial(_evaluate, run),
             "export": partial(_export, run, root / "merged"), "report": partial(_report, root)}  # fmt: skip
    root.mkdir()
    for name, step in steps.items():
        before = scratch / f"before-{name}"
        shutil.copytree(root, before)
        operations, code = _in_child(step, root, lambda event, number: None)
        if code:
            yield f"{name}: fails undisturbed"
            return
        expected = _contents(root)
        print(f"{name}: {operations} file operations", flush=True)
        for disturbed in (_kill, _full_disk):
            for at in range(1, operations + 1, every):
                shutil.rmtree(root)
                shutil.copytree(before, root)
                _, code = _in_child(step, root, partial(disturbed, at))
                where = f"{name}, {disturbed.__name__.strip('_')} at operation {at} of {operations}"
                if code not in (0, -signal.SIGKILL):
                    yield f"{where}: ended in an unexpected error"
                _, code = _in_child(step, root, lambda event, number: None)
                if code or (found := _contents(root)) != expected:
                    yield f"{where}: {'the next start failed' if code else _first_difference(expected, found)}"


def _import_all(assignments: list[str]) -> None:
    """Once, before all forks, what a run needs. Nothing is trained here: after that, a fork could not train."""
    import torch

    from rocoft_bench.engine import trainer  # noqa: F401
    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.experiment import evaluate, predict, run  # noqa: F401
    from rocoft_bench.experiment.build import build
    from rocoft_bench.metrics import compute
    from rocoft_bench.report import figures  # noqa: F401

    torch.set_num_threads(1)
    build(_experiment(assignments), Observer())
    compute(["accuracy"], [0, 1], [0, 1])  # importing what it needs takes longer than the rest of a run
    gc.freeze()  # collecting garbage in a fork would copy the memory that it shares


def _experiment(assignments: list[str]) -> Experiment:
    settings = Settings()
    for assignment in assignments:
        settings.update(parse_assignment(assignment), assignment)
    return resolve(settings)


def _train(assignments: list[str], folder: Path) -> None:
    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.experiment.run import run
    from rocoft_bench.runs import MAKE_ROOM

    record, _ = run(_experiment(assignments), folder, Observer())
    if record.status != "ok" and record.hint != MAKE_ROOM:
        raise AssertionError(f"{record.status}: {record.error}")


def _evaluate(folder: Path) -> None:
    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.experiment.evaluate import evaluate
    from rocoft_bench.runs import RunDirectory

    evaluate(RunDirectory(folder), Settings({"training": {"eval_batch_size": 3}}), Observer())


def _export(folder: Path, target: Path) -> None:
    from rocoft_bench.experiment.predict import export
    from rocoft_bench.runs import RunDirectory

    there = target.exists()
    try:
        export(RunDirectory(folder), target)
    except UserError:
        if not there:
            raise


def _report(root: Path) -> None:
    from rocoft_bench.report import all_tables, read_results, write_report

    results = read_results(root)
    write_report(results, all_tables(results), root / "report", "results")


def _kill(at: int, event: str, number: int) -> None:
    if number == at:
        os.kill(os.getpid(), signal.SIGKILL)


def _full_disk(at: int, event: str, number: int) -> None:
    if number >= at and event in NEED_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _in_child(action: Action, root: Path, on_operation: OnOperation) -> tuple[int, int]:
    """Do it in a fork of this process: how many file operations it had, if it came to its end, and its exit code."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(action, str(root), on_operation, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        operations = int(told.read() or 0)
    return operations, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_child(action: Action, root: str, on_operation: OnOperation, writing: int) -> NoReturn:
    operations = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal operations
        if _is_operation(event, arguments, root):
            operations += 1
            on_operation(event, operations)

    sys.addaudithook(count)
    code = 0
    try:
        action()
    except BaseException as error:
        is_full = isinstance(error, UserError | OSError) and os.strerror(errno.ENOSPC) in str(error)
        code = 0 if is_full else FAILED
        if code:
            traceback.print_exc()
    os.write(writing, str(operations).encode())
    sys.stderr.flush()
    os._exit(code)


def _is_operation(event: str, arguments: tuple[Any, ...], root: str) -> bool:
    """Whether an audit event is that of a change below a folder, or relative to a descriptor (as rmtree has them)."""
    if event == "open":
        path, _, flags = arguments
        return isinstance(path, str) and path.startswith(root) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in CHANGES and (str(arguments[0]).startswith(root) or arguments[-1] != -1)


def _contents(root: Path) -> dict[str, Any]:
    """All that is in a folder, by path; of records, cards and pages without what no two share."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir() or path.name == "README.md":
            found[name] = None
        elif path.name == "record.json":
            record = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: value for key, value in record.items() if key not in DIFFERS}
        else:
            found[name] = TIME.sub(b"", path.read_bytes())
    return found


def _first_difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is left over"
        if expected[name] != found[name]:
            return f"{name} differs"
    return "nothing differs"


if __name__ == "__main__":
    sys.exit(main())
