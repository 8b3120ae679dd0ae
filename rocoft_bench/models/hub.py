"""The Hugging Face hub: use what the local cache holds, and say soon and clearly when the rest is out of reach.

The hub's libraries retry for minutes when a connection hangs; a compute node without internet should hear within
seconds what it can do instead.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rocoft_bench.errors import UserError, reason

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, ModelInfo

PROBE_SECONDS = 5.0
WAYS_OUT = (
    "use local files (--data-dir DIR for rows, --model DIR for a model), set HF_HOME to a cache that holds it, "
    'or run "rocoft demo", which needs no network'
)
TOKEN = re.compile(r"Bearer [^'\"]*|hf_[^\s'\"]+")
"""How a token would stand in a message: an HTTP client quotes a header that it cannot send."""
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN, to a token that may write"
COMMIT = re.compile(r"[0-9a-f]{40}")
T = TypeVar("T")


def from_cache_or_hub(what: str, load: Callable[[], T]) -> T:
    """Call `load` with the network switched off and, where the cache cannot serve it, once more with the hub.

    what: for messages, such as "dataset nyu-mll/glue, config rte".
    load: names a pinned revision, so that what the cache holds cannot be out of date. It fails with OSError, ValueError
        or an HTTP error of the hub's library; the second failure becomes a UserError.

    Raises: UserError where the hub is needed and cannot be used, or does not give out what is asked for.
    """
    try:
        with no_network():
            return load()
    except (OSError, ValueError):
        ensure_reachable(what)
    with _getting(what):
        return load()


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's library fails with where it cannot have something; anything else is made by what it got."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported for this use, at run time only

    return OSError, ValueError, httpx.HTTPError


def ensure_reachable(what: str, endpoint: str | None = None) -> None:
    """Return if the hub (or another `endpoint`) answers within `PROBE_SECONDS`. For what the local cache does not hold.

    Raises: UserError in offline mode (HF_HUB_OFFLINE) and where there is no answer; it says what `what` needs.
    """
    if trouble := out_of_reach(endpoint):
        raise UserError(f"cannot get {what}: it is not in the local cache and {trouble}; {WAYS_OUT}")


def out_of_reach(endpoint: str | None = None) -> str:
    """What keeps the hub (or another `endpoint`) from being used; empty if it answers within `PROBE_SECONDS`."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "offline mode is on (HF_HUB_OFFLINE)"
    return _probe(endpoint or constants.ENDPOINT)


def check_upload(name: str) -> None:
    """See, before any work is done, that a model repository could be written to.

    Raises: UserError where the name is not one, the hub cannot be reached, or there is no token.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported at run time only

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--push-to-hub {name}: {reason(error)}") from None
    if trouble := out_of_reach():
        raise UserError(f"--push-to-hub {name}: {trouble}; uploading needs the hub")
    if get_token() is None:
        raise UserError(f"--push-to-hub {name}: nobody is logged in to the hub; {LOG_IN}")


def open_repository(name: str, private: bool) -> ModelInfo:
    """A model repository of the hub, made if it is not there yet. private: it must be seen by its owner alone.

    Raises: UserError where that may not be done, or a repository that was to be private is public.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _uploading(name):
        url = api.create_repo(name, private=private or None, exist_ok=True)
        info = api.model_info(url.repo_id)
    if private and not info.private:
        raise UserError(f"--private: {url} is there already and public; choose another name or change it on its page")
    return info


def upload(repository: str, files: Mapping[str, Path | bytes], message: str) -> CommitInfo:
    """Put files into a repository, all in one commit or none of them.

    repository: its name with the owner. files: by their names there, a path or the content.

    Raises: UserError where the hub does not take them.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with _uploading(repository):
        additions = [CommitOperationAdd(name, content) for name, content in files.items()]
        return HfApi().create_commit(repository, additions, commit_message=message)


@contextmanager
def _uploading(name: str) -> Iterator[None]:
    """Turns what the hub's library raises into a UserError that says what to do; the token is never in it."""
    raised: tuple[type[Exception], ...] = (RuntimeError, *hub_errors())
    try:
        yield
    except raised as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else None  # which only names the file
        status = getattr(getattr(cause or error, "response", None), "status_code", None)
        said = TOKEN.sub("[token]", reason(cause or error)).rstrip(".")
        ways_out = {401: LOG_IN, 403: f"the token may not write there; choose a name of your own, or {LOG_IN}"}
        raise UserError(f"--push-to-hub {name}: {'; '.join(filter(None, [said, ways_out.get(status or 0)]))}") from None


def newest_commit(dataset: str) -> str:
    """The commit that a dataset of the hub is at now; without the hub, the only one in the local cache.

    Raises: UserError where neither can be told.
    """
    from huggingface_hub import HfApi

    what = f"dataset {dataset}"
    if out_of_reach():
        cached = {folder.name for folder in _processed(dataset).glob("*/*/*") if COMMIT.fullmatch(folder.name)}
        if len(cached) == 1:
            return cached.pop()
    ensure_reachable(what)
    with _getting(what):
        return str(HfApi().dataset_info(dataset, revision="main").sha)


def has_cached(kind: str, name: str) -> bool:
    """Whether the local cache holds anything of a repository of the hub. kind: model or dataset."""
    from huggingface_hub import constants

    places = [Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"]
    places += [_processed(name)] if kind == "dataset" else []
    return any(place.is_dir() for place in places)


def _processed(dataset: str) -> Path:
    """Where `datasets` keeps the rows of a dataset, by configuration, version and commit."""
    from huggingface_hub import constants

    cache = os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets")
    return Path(cache) / dataset.replace("/", "___")


@contextmanager
def no_network() -> Iterator[None]:
    """Inside, huggingface_hub, datasets and transformers look into the local cache only, as with HF_HUB_OFFLINE=1.

    What `datasets` logs then, that the hub was not found and its cache is used, would mislead and is left out.
    """
    import datasets.config
    from huggingface_hub import constants

    logger = logging.getLogger("datasets")
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, logger.level
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, level = before
        logger.setLevel(level)


def _probe(endpoint: str) -> str:
    """What keeps the hub from being used; empty if nothing does.

    The request runs in a thread that is left behind when it is late: looking up a name, going through a proxy and
    a server that sends one byte at a time each escape the timeouts of an HTTP client.
    """
    outcome: list[str] = []
    thread = threading.Thread(target=lambda: outcome.append(_ask(endpoint)), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return outcome[0] if outcome else f"{endpoint} does not answer within {PROBE_SECONDS:g} s"


def _ask(endpoint: str) -> str:
    from huggingface_hub import get_session

    try:
        status = get_session().head(endpoint, timeout=PROBE_SECONDS, follow_redirects=False).status_code
    except Exception as error:  # whatever it is, the hub cannot be used
        return f"{endpoint} cannot be reached ({reason(error)})"
    proxy_or_server_down = status == 407 or status >= 500
    return f"{endpoint} answers with HTTP status {status}" if proxy_or_server_down else ""


@contextmanager
def _getting(what: str) -> Iterator[None]:
    """Says what the hub said instead of giving something, and for a gated or private repository how to get in."""
    try:
        yield
    except hub_errors() as error:
        said = reason(error)
        if any(sign in said for sign in ("gated", "401", "403", "cannot be accessed")):
            way_in = "if it is gated or private, accept its terms there and log in with `hf auth login`"
            said = f"{said.rstrip('.')}; {way_in}"
        raise UserError(f"cannot get {what} from the Hugging Face hub: {said}") from error
