"""The Hugging Face hub: use what the local cache holds, and say soon and clearly when the rest is out of reach.

The hub's libraries retry for minutes when a connection hangs; a compute node without internet should hear within
seconds what it can do instead.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rocoft_bench.errors import UserError

PROBE_SECONDS = 5.0
WAYS_OUT = (
    "use local files (--data-dir DIR for rows, --model DIR for a model), set HF_HOME to a cache that holds it, "
    'or run "rocoft demo", which needs no network'
)
T = TypeVar("T")


def from_cache_or_hub(what: str, load: Callable[[], T]) -> T:
    """Call `load` with the network switched off and, where the cache cannot serve it, once more with the hub.

    what: for messages, such as "dataset nyu-mll/glue, config rte".
    load: names a pinned revision, so that what the cache holds cannot be out of date. It fails with OSError, ValueError
        or an HTTP error of the hub's library; the second failure becomes a UserError.

    Raises: UserError where the hub is needed and cannot be used, or does not give out what is asked for.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported for this use, at run time only

    try:
        with no_network():
            return load()
    except (OSError, ValueError):
        ensure_reachable(what)
    try:
        return load()
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UserError(f"cannot get {what} from the Hugging Face hub: {_explained(error)}") from error


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


def has_cached(kind: str, name: str) -> bool:
    """Whether the local cache holds anything of a repository of the hub. kind: model or dataset."""
    from huggingface_hub import constants

    processed = os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets")
    places = [Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"]
    places += [Path(processed) / name.replace("/", "___")] if kind == "dataset" else []
    return any(place.is_dir() for place in places)


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
        return f"{endpoint} cannot be reached ({_one_line(error)})"
    proxy_or_server_down = status == 407 or status >= 500
    return f"{endpoint} answers with HTTP status {status}" if proxy_or_server_down else ""


def _explained(error: Exception) -> str:
    """What the hub said, and for a gated or private repository how to get in."""
    said = _one_line(error)
    if any(sign in said for sign in ("gated", "401", "403", "cannot be accessed")):
        return f"{said.rstrip('.')}; if it is gated or private, accept its terms there and log in with `hf auth login`"
    return said


def _one_line(error: Exception, limit: int = 300) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
