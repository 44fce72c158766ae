"""``crbench hub``: a finished run as a folder of plain files, here or on the Hugging Face Hub.

::

    manifest.json             SHA-256 of every other file
    README.md                 model card, made from the rest
    run.json  metrics.jsonl   as training wrote them, without the place of the cache
    card.toml                 the method card: `crbench train card.toml DATASET --scale SCALE`
    weights*.safetensors      the last weights, and the best ones where they were kept
    record*.json              scores

Nothing that is pulled is executed: JSON, TOML and safetensors, no checkpoint, and a method of
this package.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from crbench.cards import MethodCard
from crbench.errors import UserError
from crbench.files import atomic_path, disk_error, read_json, sha256_file, write_json, write_text
from crbench.records import read_record
from crbench.run.folder import RunFolder, RunInfo

MANIFEST = "manifest.json"
FORMAT = 1
SHARED = re.compile(
    r"run\.json|metrics\.jsonl|card\.toml|README\.md|weights(-best)?\.safetensors"
    r"|record(-[\w-]+)?\.json"
)
NEEDED = {"run.json", "weights.safetensors"}
REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def repository(place: str) -> str | None:
    """``owner/name`` where ``place`` is on the hub; None where it is a folder of this machine.

    ``hf://owner/name`` always is on the hub; a bare ``owner/name`` is where there is neither such
    a folder here nor a folder ``owner``. ``file:`` and every other path is a folder.
    """
    if place.startswith("hf://"):
        name = place.removeprefix("hf://")
        if not REPOSITORY.fullmatch(name):
            raise UserError("no repository of the hub", where=place, fix="write hf://owner/name")
        return name
    if not REPOSITORY.fullmatch(place) or Path(place).parent.exists():
        return None
    return place


def folder(place: str) -> Path:
    """The folder meant by a path or by ``file:PATH``."""
    return Path(re.sub(r"^file:(//)?", "", place)).expanduser()


def pack(run_path: str | Path, out: Path, readme: str) -> Path:
    """Write the files of a finished, sound run into the new folder ``out``."""
    run = RunFolder(Path(run_path))
    info = run.finished()
    for which, digest in run.digests().items():
        if info.digests.get(which, digest) != digest:
            raise UserError(
                "the weights are damaged: they are not those that training wrote",
                where=RunFolder(run.path, which).weights,
                fix="train the run again",
            )
    records = sorted(run.path.glob("record*.json"))
    for record in records:
        _check_record(record, info)
    _check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    clean = info.model_copy(update={"cache": f"caches/{Path(info.cache).name}"})
    write_json(out / "run.json", clean.model_dump(mode="json"))
    write_text(out / "card.toml", card_toml(info.method_card))
    write_text(out / "README.md", readme)
    plain = [path for path in (run.metrics, *records) if path.is_file()]
    for path in [*plain, *run.path.glob("weights*.safetensors")]:
        if SHARED.fullmatch(path.name):
            with atomic_path(out / path.name) as temporary:
                shutil.copyfile(path, temporary)
    files = {path.name: sha256_file(path) for path in sorted(out.iterdir())}
    write_json(out / MANIFEST, {"format": FORMAT, "files": files})
    return out


def push(run_path: str | Path, place: str, readme: str, *, public: bool = False) -> str:
    """Put a finished run at ``place``, a folder or a repository of the hub; where it is then.

    A repository that does not exist is made, private unless ``public``.
    """
    name = repository(place)
    if name is None:
        return str(pack(run_path, folder(place), readme))
    library = _library()
    with tempfile.TemporaryDirectory() as temporary:
        packed = pack(run_path, Path(temporary) / "run", readme)
        try:
            api = library.HfApi()
            api.create_repo(name, private=not public, exist_ok=True)
            found = api.upload_folder(repo_id=name, folder_path=packed)
        except Exception as error:  # its errors are many: no rights, no network, no such name
            raise _refused(error, place) from error
    return str(found)


def pull(place: str, run_path: str | Path) -> Path:
    """Fetch a run from a folder or a repository into the new run folder ``run_path``.

    Every file is checked against the manifest before anything appears there.
    """
    run = Path(run_path)
    _check_free(run)
    name = repository(place)
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{run.name}.", dir=run.parent) as temporary:
            source = folder(place) if name is None else _download(name, place, Path(temporary))
            fetched = Path(temporary) / "run"
            _take(source, fetched)
            if run.exists():  # empty, as was checked
                run.rmdir()
            fetched.rename(run)
    except OSError as error:
        raise disk_error(error, run) from error
    return run


def _take(source: Path, out: Path) -> None:
    """Copy what the manifest of ``source`` names into ``out`` and check it."""
    if not (source / MANIFEST).is_file():
        raise UserError(
            "no pushed run is here: manifest.json is missing",
            where=source,
            fix="name what `crbench hub push` wrote",
        )
    manifest = read_json(source / MANIFEST)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or manifest.get("format") != FORMAT:
        raise UserError("not a manifest of this version", where=source / MANIFEST)
    strange = sorted(str(name) for name in files if not SHARED.fullmatch(str(name)))
    if strange:
        raise UserError(
            f"the manifest names files that no run has: {', '.join(strange)}",
            where=source / MANIFEST,
            fix="take the run from who trained it",
        )
    if missing := sorted(NEEDED - files.keys()):
        raise UserError(f"the manifest lacks {', '.join(missing)}", where=source / MANIFEST)
    out.mkdir()
    for name, digest in files.items():
        if not (source / name).is_file():
            raise UserError("a file of the manifest is missing", where=source / name)
        shutil.copyfile(source / name, out / name)
        if sha256_file(out / name) != digest:
            raise UserError(
                "this file is damaged: its digest is not that of the manifest",
                where=source / name,
                fix="push or fetch it again",
            )
    _check_run(RunFolder(out), source)


def _check_run(run: RunFolder, source: Path) -> None:
    from crbench.models.registry import check_class
    from crbench.run.weights import whole_about

    info = run.finished()
    check_class(info.method_card, source / "run.json")
    for which, digest in run.digests().items():
        weights = RunFolder(run.path, which).weights
        if whole_about(weights)["method"] != info.method:
            raise UserError(
                "these weights are of another card than run.json", where=source / weights.name
            )
        if info.digests.get(which, digest) != digest:
            raise UserError(
                "these weights are not those that training wrote", where=source / weights.name
            )
    for record in run.path.glob("record*.json"):
        _check_record(record, info)


def _check_record(path: Path, info: RunInfo) -> None:
    record = read_record(path)
    seed = record.training.seed if record.training else None
    if (record.method.card, seed) != (info.method, info.seed):
        raise UserError(
            "this record is of another run",
            where=path,
            fix="run `crbench evaluate` on this run again, or move the record away",
        )


def _check_free(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            "something is there already", where=path, fix="choose another place, or remove it"
        )


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"the hub needs huggingface_hub: {error}",
            where="crbench hub",
            fix="pip install 'crbench[hub]'; a folder needs nothing",
        ) from None
    return huggingface_hub


def _download(name: str, place: str, folder: Path) -> Path:
    library = _library()
    wanted = ["*.json", "*.jsonl", "*.toml", "*.md", "*.safetensors"]
    try:
        library.snapshot_download(name, local_dir=folder / "hub", allow_patterns=wanted)
    except Exception as error:
        raise _refused(error, place) from error
    return folder / "hub"


def _refused(error: Exception, place: str) -> UserError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(
        f"the hub refused: {first}",
        where=place,
        fix="check the name, the network and `hf auth login`; a folder (./name) needs none of them",
    )


def card_toml(card: MethodCard) -> str:
    """The resolved card as TOML; at its scale it resolves to the same card and digest."""
    table = card.to_dict()
    scale = table.pop("scale")
    lines = [f"# train it again: crbench train card.toml DATASET --scale {scale}"]
    lines += _toml(table, "")
    if scale != "paper":
        lines += ["", f"[scale.{json.dumps(scale)}]  # everything above is at this scale"]
    return "\n".join(lines) + "\n"


def _toml(table: dict[str, Any], path: str) -> list[str]:
    """Lines of a table: its values first, then its tables."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in plain.items()
        if value is not None
    ]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{path}{key}]", *_toml(value, f"{path}{key}.")]
    return lines
