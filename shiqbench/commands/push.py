"""``shiqbench export CELL --format hf --push-to-hub NAME``: shows what would be uploaded; with ``--yes`` it uploads.

Everything is uploaded in one commit: the hub has all of it, or nothing. No message contains the token.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.commands.export import MODEL, export

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

NAME = re.compile(r"[\w.-]+/[\w.-]+")
OPTION = "--push-to-hub"
GIVEN = {".gitattributes"}  # what the hub itself puts into a new repository


@dataclass(frozen=True)
class Upload:
    """What is uploaded, or would be.

    Attributes:
        repository: Address of the repository.
        private: Whether the repository is private.
        files: Path in the repository -> bytes.
        commit: Address of the commit; None if nothing was uploaded.
    """

    repository: str
    private: bool
    files: dict[str, int]
    commit: str | None = None

    def lines(self) -> Iterator[str]:
        """Describe it in lines."""
        kind = "private" if self.private else "PUBLIC"
        done = "uploaded" if self.commit else "would upload"
        total = sum(self.files.values())
        yield f"{done} {len(self.files)} files, {total / 1e6:.1f} MB, to {self.repository} ({kind}):"
        yield from (f"  {size:>14,}  {name}" for name, size in self.files.items())
        yield self.commit or "nothing was uploaded; --yes does it"

    def as_json(self) -> dict[str, Any]:
        """Return a value that JSON can represent."""
        return dict(self.__dict__)


def push(
    cell: str, repository: str, *, name: str | None, private: bool, upload: bool, results: Path = Path("results")
) -> Upload:
    """Export a cell's weights into a temporary folder, and upload it.

    Args:
        cell: Folder or digest of the cell.
        repository: ``OWNER/NAME`` on the hub.
        name: Name of the model in its card; if left out, the name of the repository.
        private: Whether the repository is private.
        upload: Whether to upload; else it is only said what would be uploaded, and the hub is not asked.
        results: Results folder.

    Raises:
        ConfigError: The name, the token or the repository cannot be used; nothing was uploaded.
        RunError: The upload failed; nothing of it is in the repository.
    """
    if not NAME.fullmatch(repository):
        raise ConfigError(f"{repository!r} is no repository", where=OPTION, do="write OWNER/NAME")
    api = _hub() if upload else None
    with tempfile.TemporaryDirectory(prefix=".hf-", dir=Path.cwd()) as place:
        folder = Path(place) / "model"
        exported = export(cell, MODEL, output=folder, name=name or repository.partition("/")[2], results=results)
        files = {file: (folder / file).stat().st_size for file in exported.files}
        found = Upload(f"{_endpoint()}/{repository}", private, files)
        return found if api is None else replace(found, commit=_upload(api, folder, repository, private=private))


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _hub() -> HfApi:
    """The hub with the user's token; refused without one, and offline."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise ConfigError("the hub is not asked while HF_HUB_OFFLINE is set", where=OPTION, do="unset it")
    if not (token := get_token()):
        raise ConfigError("there is no token for the hub", where=OPTION, do="run `hf auth login`, or set HF_TOKEN")
    return HfApi(endpoint=_endpoint(), token=token)


def _upload(api: HfApi, folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder into a new or empty repository; return the address of the commit."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        try:
            there = api.model_info(repository)
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:
                raise
            api.create_repo(repository, private=private)
        else:
            held = sorted({s.rfilename for s in there.siblings or ()} - GIVEN)
            _check_repository(repository, held, is_private=bool(there.private), private=private)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=_MESSAGE).commit_url)
    except ConfigError:
        raise
    except Exception as error:
        _refuse(error, repository, api.token)


def _check_repository(repository: str, held: list[str], *, is_private: bool, private: bool) -> None:
    """Refuse a repository that holds files, or whose visibility is not the one that was asked for."""
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise ConfigError(
            f"the repository exists and holds {held[0]}{more}; nothing is overwritten",
            where=f"{OPTION} {repository}",
            do="give another name, or delete it on the hub",
        )
    if is_private != private:
        kinds = ("public", "private")
        raise ConfigError(
            f"the repository exists and is {kinds[is_private]}, not {kinds[private]}",
            where=f"{OPTION} {repository}",
            do="change it on the hub, or give another name" if private else "leave --public out, or change it",
        )


def _refuse(error: Exception, repository: str, token: str | bool | None) -> NoReturn:
    """Say in one line why the hub did not take it."""
    where, response = f"{OPTION} {repository}", getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 401:
        raise ConfigError("the hub refuses the token", where=where, do="run `hf auth login`, or set HF_TOKEN") from None
    if status == 403:
        do = "use a token that may write to this owner's repositories"
        raise ConfigError("the token may not write there", where=where, do=do) from None
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(token, str):
        said = said.replace(token, "***")
    raise RunError(f"the upload failed: {said}", where=where, do="nothing of it is there; try again") from None


_MESSAGE = "Upload from shiqbench"
