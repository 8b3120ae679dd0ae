"""The safetensors weights of a hub model whose commit holds them in another format only.

A bot of the hub converts such models. What it made is offered as a pull request, whose files are at the ref refs/pr/N
of the same repository. Only the weights are taken from there; configuration and tokenizer stay those of the commit.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError
from rocoft_bench.runs import known_hashes
from rocoft_bench.untrusted import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
WEIGHT_FILES = (SINGLE, INDEX, "model-*.safetensors")
BOT = "SFconvertbot"
TITLE = "Adding `safetensors` variant of this model"


@dataclass(frozen=True)
class Conversion:
    """Converted weights in the cache: their folder, the ref (refs/pr/N) and the commit that they come from."""

    ref: str
    revision: str
    folder: Path


def conversion(hub_id: str, revision: str) -> Conversion | None:
    """The weights that stand for those of a commit, fetched if need be; None if it has safetensors weights itself.

    Raises: UserError if there is no conversion; OSError or an HTTP error of the hub's library if the hub cannot tell.
    """
    if _has_safetensors(hub_id, revision):
        return None
    return _cached(hub_id) or _fetched(hub_id, find_on_hub(hub_id, revision))


def find_on_hub(hub_id: str, revision: str) -> str:
    """The ref of the bot's conversion of the very files that a commit holds; it may have been asked for at another one.

    Raises: as `conversion`.
    """
    from huggingface_hub import HfApi

    wanted = _convertible(hub_id, revision)
    for pull in HfApi().get_repo_discussions(hub_id, author=BOT, discussion_type="pull_request"):
        made_by_bot = (pull.author, pull.title) == (BOT, TITLE) and pull.status in ("open", "merged")
        if made_by_bot and wanted and _convertible(hub_id, str(pull.git_reference)) == wanted:
            return str(pull.git_reference)
    copy = f'from_pretrained("{hub_id}", revision="{revision}").save_pretrained("DIR")'
    raise UserError(
        f"model {hub_id} @ {revision[:10]}: its weights are not in safetensors, the only format that is loaded, and "
        f"{BOT} has not converted them; take another --set model.revision=COMMIT, or --model DIR with a copy that you "
        "convert (a model that writes text with AutoModelForCausalLM in place of AutoModel): "
        f"from transformers import AutoModel, AutoTokenizer; AutoModel.{copy}; AutoTokenizer.{copy}"
    )


def weights_sha256(folder: Path, unless_known: bool = False) -> str:
    """Of all safetensors files of a folder. unless_known: read them only if they have changed since that was done."""
    files = sorted(folder.glob("*.safetensors"))
    if unless_known and (known := known_hashes.recall("weights", files)):
        return known
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    known_hashes.remember("weights", files, digest.hexdigest())
    return digest.hexdigest()


def missing_files(folder: Path) -> list[str]:
    """The safetensors files that should be in a folder and are not.

    Raises: UserError if the list of them is damaged.
    """
    index = folder / INDEX
    parts = read_json(index)["weight_map"].values() if index.is_file() else []
    return [name for name in sorted(set(parts) or {SINGLE}) if not (folder / name).is_file()]


def _has_safetensors(hub_id: str, revision: str) -> bool:
    """Fetches the file if there is one; the cache remembers those that are not there."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    cached = {name: try_to_load_from_cache(hub_id, name, revision=revision) for name in (SINGLE, INDEX)}
    if any(isinstance(path, str) for path in cached.values()):
        return True
    for name in (name for name, path in cached.items() if path is not _CACHED_NO_EXIST):
        with suppress(RemoteEntryNotFoundError):
            hf_hub_download(hub_id, name, revision=revision)
            return True
    return False


def _cached(hub_id: str) -> Conversion | None:
    """The conversion in the cache; None also where it holds several, of which the hub knows the right one."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=hub_id, repo_type="model"))
    found = []
    for file in cache.glob("refs/refs/pr/*"):
        commit = file.read_text(encoding="utf-8")
        folder = cache / "snapshots" / commit
        if not missing_files(folder):
            found.append(Conversion(f"refs/pr/{file.name}", commit, folder))
    return found[0] if len(found) == 1 else None


def _fetched(hub_id: str, ref: str) -> Conversion:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(hub_id, revision=ref, allow_patterns=list(WEIGHT_FILES), ignore_patterns=["*/*"]))
    missing = missing_files(folder)
    if missing:
        raise FileNotFoundError(f"{ref}: there is no {', no '.join(missing)}")
    return Conversion(ref, folder.name, folder)


def _convertible(hub_id: str, revision: str) -> dict[str, Any]:
    """The hashes of the files that the bot converts."""
    from huggingface_hub import HfApi

    files = HfApi().model_info(hub_id, revision=revision, files_metadata=True).siblings or []
    return {file.rfilename: file.blob_id for file in files if fnmatch(file.rfilename, "pytorch_model*.bin")}
