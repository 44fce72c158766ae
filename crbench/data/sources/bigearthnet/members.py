"""Which patches a cache takes: the members of BEN-14K that ship with the project, or others.

Ids are the Sentinel-2 names of BigEarthNet v1 in every layout, with six digits of time.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crbench.cards import DatasetCard, card_folder
from crbench.data.sources.raw import damage_named, split_by_hash
from crbench.errors import UserError
from crbench.files import sha256_file

SHIPPED = "ben-14k"
_MAY_MISS = ("ben14k", "cbrsir-vs", "folders")  # kinds of source that can go on without some pairs
_OTHER_SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}  # of patches that no list puts in a split
S2_NAME = re.compile(r"(S2[AB]_MSIL2A_\d{8}T)(\d{5,6})(_\d+_\d+)")
S1_NAME = re.compile(r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d{6}_(?P<tile>\d\d[A-Z]{3})_\d+_\d+")


@dataclass(frozen=True)
class Wanted:
    """Patches to take, in the cache's order. ``split`` and ``s1`` by id, where they are known."""

    title: str
    ids: list[str]
    split: Mapping[str, str]
    s1: Mapping[str, str]


def canonical(name: str) -> str:
    """A Sentinel-2 name of v1 with the leading zero of the hour, which some lack; any other name
    as it is. ``S2B_MSIL2A_20170924T93020_69_24`` → ``S2B_MSIL2A_20170924T093020_69_24``."""
    match = S2_NAME.fullmatch(name)
    return f"{match[1]}{match[2]:>06}{match[3]}" if match else name


def position(name: str) -> str:
    """Column and row of a patch in its tile, the last two fields of either sensor's name."""
    return "_".join(name.rsplit("_", 2)[1:])


def ground(s2: str, s1: str) -> str:
    """Tile and day of a pair, ``"34TCR/20170803"``: the tile stands in Sentinel-1 names alone."""
    match = S1_NAME.fullmatch(s1)
    return f"{match['tile'] if match else 'unknown'}/{s2.split('_')[2][:8]}"


def shipped() -> Wanted:
    """The 14,832 members of BEN-14K with their splits and partners, sorted by name."""
    with gzip.open(
        card_folder("datasets") / "ben-14k" / "members.csv.gz", "rt", newline=""
    ) as file:
        rows = list(csv.DictReader(file))
    return Wanted(
        "BEN-14K",
        [row["s2_name"] for row in rows],
        {row["s2_name"]: row["split"] for row in rows},
        {row["s2_name"]: row["s1_name"] for row in rows},
    )


def listed(path: Path) -> Wanted:
    """The patches of a file: lines ``id`` or ``id,split``, or a CSV whose header names ``s2_name``
    and perhaps ``s1_name`` and ``split``. What it leaves open comes from the members of BEN-14K.

    A line that is no name, a name that repeats and a file that is not there are a UserError.
    """
    what, fix = "cannot read the list of members", "--members FILE or all"
    with damage_named(what, path, OSError, UnicodeDecodeError, fix=fix):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    header = [cell.strip() for row in csv.reader(lines[:1], skipinitialspace=True) for cell in row]
    if "s2_name" in header:
        lines[0] = ""  # an empty row keeps the count of lines right
    else:
        header = ["s2_name", "split"]
    rows = csv.DictReader(lines, header, restval="", skipinitialspace=True)
    known = shipped()
    ids: dict[str, None] = {}
    split, s1 = dict(known.split), dict(known.s1)
    for row in rows:
        name = canonical(row["s2_name"].strip())
        if row[header[0]].startswith("#") or not any(row.values()):
            continue
        if not S2_NAME.fullmatch(name) or name in ids:
            what = "comes twice" if name in ids else "is no Sentinel-2 name of BigEarthNet v1"
            raise UserError(
                f"line {rows.line_num}: '{name}' {what}",
                where=path,
                fix="one name a line, like S2A_MSIL2A_20170803T094031_26_19, or name,split",
            )
        ids[name] = None
        for column, values in (("split", split), ("s1_name", s1)):
            if value := row.get(column, "").strip():
                values[name] = value
    return Wanted(f"the list {path.name}", list(ids), split, s1)


def wanted(members: str, sha256: str | None = None) -> Wanted | None:
    """What ``members`` asks for: "ben-14k", a file, or None for "all", everything that is found.

    ``sha256``: the digest that the file had when the card was made; another one is refused.
    """
    if members == "all":
        return None
    if members == SHIPPED:
        return shipped()
    choice = listed(Path(members))
    if sha256 is not None and sha256_file(members) != sha256:
        raise UserError("the list of members has changed", where=members, fix="give it again")
    return choice


def splits(ids: list[str], known: Mapping[str, str], seed: int) -> list[str]:
    """The split of each id: the one that a list gives, else by hash of the id, in
    ``_OTHER_SHARES``, seeded."""
    drawn = split_by_hash([name for name in ids if name not in known], _OTHER_SHARES, seed)
    return [known.get(name) or drawn[name] for name in ids]


def with_members(
    card: DatasetCard, members: str | None = None, allow_missing: bool = False
) -> DatasetCard:
    """``card`` asking for other patches than BEN-14K's ("all" or a file), or content with less.

    The choice becomes part of the card, and of its note, so that a board cannot show other
    patches as BEN-14K. A card to whose source an option means nothing is a UserError.
    """
    if members is None and not allow_missing:
        return card
    kind = card.source.get("kind")
    if kind != "ben14k" and (members is not None or kind not in _MAY_MISS):
        option = "--allow-missing" if members is None else "--members"
        raise UserError(
            f"{option} means nothing to this dataset",
            where=f"{card.name}, source.kind = '{kind}'",
            fix="leave it out",
        )
    source = {**card.source, "allow_missing": allow_missing}
    notes = [card.note] if card.note else []
    if members is not None and members != SHIPPED:
        source["members"] = members
        if members != "all":
            listed(Path(members))
            source["members_sha256"] = sha256_file(members)
        notes.append(f"other members: {Path(members).name}")
    if allow_missing:
        notes.append("members may be missing" if kind == "ben14k" else "pairs may be missing")
    return card.model_copy(update={"source": source, "note": ", ".join(notes)})
