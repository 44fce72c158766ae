"""``crbench hub``: a finished run as a folder of plain files, here or on the Hugging Face Hub.

::

    README.md                 model card, made from the rest
    run.json  metrics.jsonl   as training wrote them, without the place of the cache
    card.toml                 the method card: `crbench train card.toml DATASET --scale SCALE`
    weights*.safetensors      the last weights, and the best ones where they were kept
    record*.json              scores

What else lies there is left. The Hub checks what it sends by digests of its own, safetensors
checks its structure, and ``run.json`` says which weights training wrote. Nothing that is pulled is
executed: JSON, TOML and safetensors, no checkpoint, and a method that is registered here.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from crbench.cards import MethodCard
from crbench.errors import UserError, needs
from crbench.files import atomic_path, disk_error, write_json, write_text
from crbench.records import read_record
from crbench.run.folder import RunFolder, RunInfo

_SHARED = re.compile(
    r"run\.json|metrics\.jsonl|card\.toml|README\.md|weights(-best)?\.safetensors"
    r"|record(-[\w-]+)?\.json"
)
_NEEDED = ("run.json", "weights.safetensors")
_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def repository(place: str) -> str | None:
    """``owner/name`` where ``place`` is on the hub; None where it is a folder of this machine.

    ``hf://owner/name`` always is on the hub; a bare ``owner/name`` is where there is neither such
    a folder here nor a folder ``owner``. ``file:`` and every other path is a folder.
    """
    if place.startswith("hf://"):
        name = place.removeprefix("hf://")
        if not _REPOSITORY.fullmatch(name):
            raise UserError("no repository of the hub", where=place, fix="write hf://owner/name")
        return name
    if not _REPOSITORY.fullmatch(place) or Path(place).parent.exists():
        return None
    return place


def local_folder(place: str) -> Path:
    """The folder meant by a path or by ``file:PATH``."""
    return Path(re.sub(r"^file:(//)?", "", place)).expanduser()


def push_run(run_path: str | Path, place: str, readme: str, *, public: bool = False) -> str:
    """Put a finished run at ``place``, a folder or a repository of the hub; where it is then.

    A repository that does not exist is made, private unless ``public``.
    """
    name = repository(place)
    if name is None:
        return str(_pack(run_path, local_folder(place), readme))
    with tempfile.TemporaryDirectory() as temporary:
        packed = _pack(run_path, Path(temporary) / "run", readme)
        with _hub(place) as library:
            api = library.HfApi()
            api.create_repo(name, private=not public, exist_ok=True)
            return str(api.upload_folder(repo_id=name, folder_path=packed))


def pull_run(place: str, run_path: str | Path) -> Path:
    """Fetch a run from a folder or a repository into the new run folder ``run_path``.

    Everything is checked before anything appears there.
    """
    run, name = Path(run_path), repository(place)
    _check_free(run)
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{run.name}.", dir=run.parent) as temporary:
            source = local_folder(place)
            if name is not None:
                source = Path(temporary)
                wanted = ["*.json", "*.jsonl", "*.toml", "*.md", "*.safetensors"]
                with _hub(place) as library:
                    library.snapshot_download(name, local_dir=source, allow_patterns=wanted)
            if missing := [name for name in _NEEDED if not (source / name).is_file()]:
                raise UserError(
                    f"no shared run is here: {', '.join(missing)} is missing",
                    where=source,
                    fix="name what `crbench hub push` wrote",
                )
            fetched = Path(temporary) / "run"
            fetched.mkdir()
            _copy(source, fetched)
            _check_foreign(RunFolder(fetched), source)
            if run.exists():  # empty, as was checked
                run.rmdir()
            fetched.rename(run)
    except OSError as error:
        raise disk_error(error, run) from error
    return run


def _pack(run_path: str | Path, out: Path, readme: str) -> Path:
    """Write the files of a finished, sound run into the new folder ``out``."""
    run = RunFolder(Path(run_path))
    info = run.finished()
    _check_files(run, info, run.path)
    _check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    clean = info.model_copy(update={"cache": f"caches/{Path(info.cache).name}"})
    write_json(out / "run.json", clean.model_dump(mode="json"))
    write_text(out / "card.toml", _card_toml(info.method_card))
    write_text(out / "README.md", readme)
    _copy(run.path, out)
    return out


def _copy(source: Path, out: Path) -> None:
    """Copy the files that are shared, but for those that ``out`` has already."""
    for path in sorted(source.iterdir()):
        copy = out / path.name
        if _SHARED.fullmatch(path.name) and path.is_file() and not copy.exists():
            with atomic_path(copy) as temporary:
                shutil.copyfile(path, temporary)


def _check_foreign(run: RunFolder, source: Path) -> None:
    """Whether weights and records are those of run.json, and its method is one of ours."""
    from crbench.models.registry import check_class
    from crbench.run.opened import read_statement

    info = run.finished()
    check_class(info.method_card, source / "run.json")
    for which in run.digests():
        weights = RunFolder(run.path, which).weights
        if read_statement(weights).get("method") != info.method:
            raise UserError(
                "these weights are of another card than run.json", where=source / weights.name
            )
    _check_files(run, info, source)


def _check_files(run: RunFolder, info: RunInfo, source: Path) -> None:
    for which, digest in run.digests().items():
        if info.digests.get(which, digest) != digest:
            raise UserError(
                "the weights are damaged: they are not those that training wrote",
                where=source / RunFolder(run.path, which).weights.name,
                fix="train the run again, or fetch it again",
            )
    for path in run.path.glob("record*.json"):
        record = read_record(path)
        seed = record.training.seed if record.training else None
        if (record.method.card, seed) != (info.method, info.seed):
            raise UserError(
                "this record is of another run",
                where=source / path.name,
                fix="run `crbench evaluate` on this run again, or move the record away",
            )


def _check_free(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            "something is there already", where=path, fix="choose another place, or remove it"
        )


@contextlib.contextmanager
def _hub(place: str) -> Iterator[Any]:
    """The hub's library; what it raises (no rights, no network, no such name), as a UserError."""
    with needs("hub", "the hub", where="crbench hub", otherwise="; a folder needs nothing"):
        import huggingface_hub
    try:
        yield huggingface_hub
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the hub refused: {first}",
            where=place,
            fix="check the name, the network and `hf auth login`; a folder (./name) needs none "
            "of them",
        ) from error


def _card_toml(card: MethodCard) -> str:
    """The resolved card as TOML; at its scale it resolves to the same card and digest."""
    table = card.to_dict()
    scale = table.pop("scale")
    head = f"# train it again: crbench train card.toml DATASET --scale {scale}\n"
    if scale != "paper":
        table["scale"] = {scale: {}}  # everything above is at this scale
    return head + tomli_w.dumps(table)
