"""Cards: the choices of a method or a dataset, as plain TOML.

A card has no logic: at most one ``extends``, overlays under ``[scale.NAME]`` and nothing else
that acts. It is looked for in the installed package, then in the checkout beside it, then taken
as a path. Every key a user may set stands in the card, so an unknown key is an error that names
the nearest known one.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crbench.errors import UserError, unknown
from crbench.files import sha256_json

PACKAGE = Path(__file__).resolve().parent
# folder: word
_CARD_WORDS = {"methods": "method", "datasets": "dataset", "methods/studies": "study"}
_T = TypeVar("_T", bound=BaseModel)


class Strict(BaseModel):
    """A table whose keys are all known: anything else is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def later(before: Any, **rules: Any) -> Any:
    """The Field of a key that came after files of its table were written; ``before`` is what held
    until it could be set. At that value it is left out of what is written, so that digests,
    records and run folders of older files stay what they were."""
    return Field(default=before, exclude_if=lambda value: bool(value == before), **rules)


class Card(Strict):
    """A card with every choice resolved."""

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved card: equal cards train equal models on equal data."""
        return sha256_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The resolved card as plain data, as it stands in records and checkpoints."""
        return self.model_dump(mode="json", by_alias=True)


class TrainTable(Strict):
    """How a method is trained: the ``[train]`` table of its card.

    Learning rates go ``lr_start`` → ``lr`` over ``warmup_epochs``, then by cosine to ``lr_end``;
    weight decay goes by cosine from ``weight_decay`` to ``weight_decay_end`` and spares biases,
    norms and other vectors where ``decay_vectors`` is false. ``clip`` is the gradient norm.

    ``accumulate`` parts of a batch go through the model one after the other and their gradients
    are averaged. Each part is a batch of its own for the losses over a batch: InfoNCE has the
    negatives of the part alone, SIGReg and VICReg its statistics, SIGReg's factor B its size. So
    it is not the same training in less memory; ``checkpointing`` is: activations inside the
    blocks are computed again on the way back. ``compile``: blocks by torch.compile.
    """

    epochs: int = Field(ge=0)
    batch_size: int = Field(gt=1)
    lr_start: float = Field(ge=0)
    lr: float = Field(ge=0)
    lr_end: float = Field(ge=0)
    warmup_epochs: float = Field(ge=0)
    weight_decay: float = Field(ge=0)
    weight_decay_end: float = Field(ge=0)
    decay_vectors: bool = False
    clip: float = Field(gt=0)
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    augment: Literal["none", "dihedral"] = "none"
    eval_batch_size: int = Field(gt=0, default=256)
    accumulate: int = later(1, gt=0)
    checkpointing: bool = later(False)
    compile: bool = later(False)


class MethodCard(Card):
    """A method with every choice resolved. ``model`` and ``loss`` are checked by its class."""

    name: str
    title: str
    cls: str = Field(alias="class")
    kind: Literal["method", "floor"]
    paper: str
    summary: str
    model: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    train: TrainTable
    scale: str = "paper"


class ModalityCard(Strict):
    """One sensor of a pair: bands in their stored order, native size (H, W) in pixels.

    ``use`` names the bands that a model sees, in its order, where they are not all as stored.
    """

    name: str
    sensor: str
    bands: list[str] = Field(min_length=1)
    use: list[str] | None = later(None, min_length=1)
    size: tuple[int, int]
    dtype: str
    units: str
    resolution_m: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    display: list[str] = Field(min_length=1, max_length=3)

    @model_validator(mode="after")
    def _per_band(self) -> ModalityCard:
        for key in ("mean", "std"):
            values = getattr(self, key)
            if values is not None and len(values) != len(self.bands):
                raise ValueError(f"{key} has {len(values)} values for {len(self.bands)} bands")
        for what, names in (("band names", self.bands), ("bands in use", self.used)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} repeat")
        if strange := [band for band in (*self.used, *self.display) if band not in self.bands]:
            raise ValueError(f"there is no band {', '.join(strange)}, only {', '.join(self.bands)}")
        return self

    @property
    def used(self) -> list[str]:
        """The bands that a model sees, in its order."""
        return self.bands if self.use is None else self.use


class LabelsCard(Strict):
    """Relevance: ``multi`` (label sets overlap), ``single`` (same class), ``none`` (pairs) or
    ``place`` (centres within ``radius_m`` metres on the ground)."""

    kind: Literal["multi", "single", "none", "place"]
    classes: list[str] = Field(default_factory=list)
    radius_m: float | None = later(None, gt=0)

    @model_validator(mode="after")
    def _radius(self) -> LabelsCard:
        if (self.kind == "place") != (self.radius_m is not None):
            raise ValueError("radius_m belongs to kind = 'place', which needs it")
        return self


class ProtocolCard(Strict):
    """Which splits are queries and which the gallery; one and the same: leave-one-out.

    What is left out of a query's ranking: the query itself (``self``, in same-modal directions),
    its own ``pair`` across sensors too, or everything from its ``place`` (tile, scene), in all
    directions. ``resample``: what intervals
    draw anew, each ``query`` by itself, or whole places, whose queries are neighbours.
    """

    query: list[str] = Field(min_length=1)
    gallery: list[str] = Field(min_length=1)
    exclude: Literal["self", "pair", "place"] = later("self")
    resample: Literal["query", "place"] = later("query")


class DatasetCard(Card):
    """A paired dataset with every choice resolved."""

    name: str
    title: str
    summary: str
    synthetic: bool = False
    note: str = ""
    a: ModalityCard
    b: ModalityCard
    labels: LabelsCard
    normalise: Literal["cache", "published"] = "cache"
    train_splits: list[str] = Field(min_length=1)
    protocol: str
    protocols: dict[str, ProtocolCard] = Field(min_length=1)
    headline: list[str] = Field(min_length=1)
    source: dict[str, Any] = Field(default_factory=dict)
    licence: str
    citation: str
    where: str
    scale: str = "default"

    @model_validator(mode="after")
    def _default_protocol(self) -> DatasetCard:
        if self.protocol not in self.protocols:
            raise ValueError(f"protocol '{self.protocol}' is not among {sorted(self.protocols)}")
        return self

    @property
    def content(self) -> dict[str, Any]:
        """What a cache is made from: the card without its words and its protocols."""
        keys = {"name", "a", "b", "labels", "train_splits", "source", "scale"}
        unchosen = {"a": {"use"}, "b": {"use"}}  # bands are chosen from what a cache holds
        return self.model_dump(mode="json", by_alias=True, include=keys, exclude=unchosen)

    @property
    def has_ceiling(self) -> bool:
        """Whether the best possible ranking is known, as of a twin whose generator knows it."""
        return self.source.get("kind") == "twin" and self.source.get("generator") == 2

    def modality(self, which: str) -> ModalityCard:
        """The card of modality ``"a"`` or ``"b"``."""
        return {"a": self.a, "b": self.b}[which]

    def with_bands(self, choices: Iterable[str]) -> DatasetCard:
        """This card with the bands in use chosen by ``"a=VH,VV"`` or ``"b=B02,B03"``."""
        table = self.to_dict()
        for choice in choices:
            which, equals, names = choice.partition("=")
            if which not in ("a", "b") or not equals:
                raise UserError(
                    f"'{choice}' names no bands",
                    where="--bands",
                    fix=f"write a={','.join(self.a.bands)} or b={','.join(self.b.bands)}",
                )
            table[which]["use"] = [name.strip() for name in names.split(",")]
        return parse(DatasetCard, table, where="--bands")


def card_folder(kind: str) -> Path:
    """Where cards of ``kind`` (see ``_CARD_WORDS``) lie: in the wheel, else in the checkout."""
    installed = PACKAGE / "_cards" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind


def names(kind: str) -> list[str]:
    """Names of the cards of ``kind`` that ship with the project, sorted."""
    return sorted(path.stem for path in card_folder(kind).glob("*.toml"))


def load_method(
    name: str, *, scale: str | None = None, overrides: Iterable[str] = ()
) -> MethodCard:
    """The card of a method by name or path, at ``scale``, with ``key=value`` overrides.

    A card's ``[later]`` table names keys that came after records of it were written, each with what
    held until it could be set. At that value a key is left out, as with ``later``.
    """
    table = _resolve("methods", name, scale, overrides, default_scale="paper")
    for key, before in table.pop("later", {}).items():
        tables = dict(_tables(table))
        if key in tables and tables[key][key.rpartition(".")[2]] == before:
            del tables[key][key.rpartition(".")[2]]
    return parse(MethodCard, table, where=f"method card '{name}'")


def load_dataset(
    name: str, *, scale: str | None = None, overrides: Iterable[str] = ()
) -> DatasetCard:
    """The card of a dataset by name or path, at ``scale``, with ``key=value`` overrides."""
    table = _resolve("datasets", name, scale, overrides, default_scale="default")
    return parse(DatasetCard, table, where=f"dataset card '{name}'")


def parse(model: type[_T], table: dict[str, Any], *, where: str) -> _T:
    """Validate ``table``; the first problem becomes a UserError with the key that it sits at."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        problems = error.errors()  # a misspelt key explains the required one that is missing
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        key = ".".join(str(part) for part in first["loc"]) or "(card)"
        if first["type"] == "extra_forbidden":
            raise unknown("key", key, _fields(model, first["loc"][:-1]), where=where) from None
        raise UserError(
            f"{key}: {first['msg'].removeprefix('Value error, ')}",
            where=where,
            fix="correct the key in the card or in --set",
        ) from None


def _fields(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Names of the keys a table may hold, at the place ``loc`` inside ``model``."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    prefix = "".join(f"{part}." for part in loc)
    return [prefix + (field.alias or name) for name, field in model.model_fields.items()]


def _resolve(
    kind: str, name: str, scale: str | None, overrides: Iterable[str], default_scale: str
) -> dict[str, Any]:
    """Read a card, apply ``extends``, the scale's overlay and the overrides, in this order."""
    table, place = read_table(kind, name), name if name.endswith(".toml") else f"{kind}/{name}"
    if base := table.pop("extends", None):
        parent = read_table(kind, base)
        if "extends" in parent:
            raise UserError(
                f"card '{base}' extends another card itself",
                where=place,
                fix="a card may extend one card that extends none",
            )
        if table.get("source", {}).get("kind") not in (None, parent.get("source", {}).get("kind")):
            del parent["source"]  # keys of another kind of source mean nothing to this one
        table = merge(parent, table)
    scales = table.pop("scale", {})
    if scale is not None and scale != default_scale:
        if scale not in scales:
            raise unknown("scale", scale, [default_scale, *scales], where=place)
        table = merge(table, scales[scale])
        table["scale"] = scale
    for override in overrides:
        _apply(table, override, where=place)
    return table


def read_table(kind: str, name: str) -> dict[str, Any]:
    """A card's TOML as it stands in the file; ``name`` is a name of ``kind`` or a .toml path."""
    named = not name.endswith(".toml")
    if named and name not in names(kind):
        raise unknown(_CARD_WORDS[kind], name, names(kind))
    path = card_folder(kind) / f"{name}.toml" if named else Path(name)
    if not path.is_file():
        raise UserError("no such card", where=path, fix="check the path")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not a TOML card: {error}", where=path, fix="correct the line") from None


def merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """``overlay`` laid over ``base``, table by table; neither is changed."""
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both else copy.deepcopy(value)
    return result


def _apply(table: dict[str, Any], override: str, *, where: str) -> None:
    """Set one ``key.sub=value`` of a card; only keys that stand in the card may be set."""
    key, equals, text = override.partition("=")
    key, tables = key.strip(), dict(_tables(table))
    if not equals or not key:
        raise UserError(f"'{override}' is no override", where=where, fix="write key=value")
    if key not in tables:
        raise unknown("key", key, tables, where=where)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    tables[key][key.rpartition(".")[2]] = value


def _tables(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dotted key of a card, with the table that it stands in."""
    for key, value in table.items():
        yield prefix + key, table
        if isinstance(value, dict):
            yield from _tables(value, f"{prefix}{key}.")
