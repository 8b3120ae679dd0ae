"""Files of a GitHub repository at a pinned commit: fetched once, then read from the cache of the Hugging Face hub."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rocoft_bench.errors import UserError, reason
from rocoft_bench.models.hub import ensure_reachable
from rocoft_bench.runs.atomic_files import replace_atomically
from rocoft_bench.tasks.readers import RawRows, read_rows

_SECONDS = 30.0
"""Longest silence in a download."""


@dataclass(frozen=True)
class GitHubFiles:
    """The files of `repo` (owner/name) at `commit`, a full hash.

    They are kept in HF_HOME/rocoft/<repo>/<commit>/, where they can also be put by hand.
    """

    repo: str
    commit: str
    endpoint: str = "https://raw.githubusercontent.com"

    def read(self, path: str, wanted: Sequence[str]) -> RawRows:
        """The columns `wanted` of a file with rows, unchecked.

        Raises: UserError where the file can be had neither from the cache nor from GitHub, or is not such a file.
        """
        file = self.fetch(path)
        return replace(
            read_rows(file, wanted), origin={"kind": "github", "id": self.repo, "path": path, "revision": self.commit}
        )

    def fetch(self, path: str) -> Path:
        """The file in the cache, fetched if it is not there yet.

        Raises: UserError where that is not possible.
        """
        cached = self.cached(path)
        if not cached.is_file():
            content = self._download(path, cached)
            try:
                cached.parent.mkdir(parents=True, exist_ok=True)
                replace_atomically(cached, lambda made: made.write_bytes(content))
            except OSError as error:
                raise UserError(f"{cached}: cannot be written ({reason(error)}); set HF_HOME") from error
        return cached

    def cached(self, path: str) -> Path:
        """Where the file is in the cache once it has been fetched."""
        from huggingface_hub import constants

        return Path(constants.HF_HOME) / "rocoft" / self.repo / self.commit / path

    def _download(self, path: str, cached: Path) -> bytes:
        from huggingface_hub import get_session
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported for this use, at run time only

        what = f"{path} of GitHub's {self.repo}, commit {self.commit}"
        ensure_reachable(what, self.endpoint)
        try:
            response = get_session().get(f"{self.endpoint}/{self.repo}/{self.commit}/{path}", timeout=_SECONDS)
            response.raise_for_status()
        except (OSError, httpx.HTTPError) as error:
            raise UserError(f"cannot get {what}: {reason(error)}; or put the file at {cached}") from error
        return response.content
