"""Archives: read once, forwards, resumable after a kill, and refused where they are not sound."""

import errno
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crbench.cards import DatasetCard
from crbench.data.cache import build
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.sources.bigearthnet import archives
from crbench.errors import UserError
from crbench.files import read_jsonl, sha256_file

ROOTS = ("BigEarthNet-v1.0", "BigEarthNet-S1-v1.0")  # Sentinel-1 sorts first and is read first

BUILD = """
import json, os, signal, sys
from crbench.cards import DatasetCard
from crbench.data.cache import blocks
from crbench.data.cache import build
from crbench.data.cache.build import build_cache
from crbench.data.sources.bigearthnet import archives
card, raw, out, where, name, calls = sys.argv[1:]
left = [int(calls)]
module = {"archives": archives, "build": build, "blocks": blocks}[where]
original = getattr(module, name)
def once_too_often(*arguments):
    left[0] -= 1
    if left[0] == -1:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(module, name, once_too_often)
card = DatasetCard.model_validate(json.load(open(card)))
build_cache(card, out, source_dir=raw, quiet=True)
"""


LATE = ("blocks", "write_block", 99)  # never: there are fewer blocks


@pytest.fixture
def raw(made: list[Any], data: ModuleType, tmp_path: Path) -> Path:
    found: Path = data.write_archives(tmp_path / "raw", made)
    return found


def process(card: DatasetCard, raw: Path, out: Path, *how: object) -> "subprocess.Popen[bytes]":
    """A build in a process of its own that kills itself at a chosen call."""
    path = out.with_name("card.json")
    path.write_text(card.model_dump_json(by_alias=True))
    words = [path, raw, out, *how]
    return subprocess.Popen([sys.executable, "-c", BUILD, *map(str, words)])


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def stop_before_pixels(card: DatasetCard, raw: Path, out: Path) -> None:
    """A build that ends when all archives are read, before any pixel is written."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build, "_create", interrupt)
        build_cache(card, out, source_dir=raw, quiet=True)


def unpacked(raw: Path) -> list[Path]:
    """The files of patches in the folder that a build keeps beside its cache."""
    return sorted(path for path in raw.glob("*/*/*") if path.is_file())


def test_killed_builds_end_in_the_same_cache(card: DatasetCard, raw: Path, tmp_path: Path) -> None:
    """Killed while it reads the first archive, then the second."""
    out, kept = tmp_path / "killed.h5", tmp_path / "killed.h5.part.raw"
    counts = []
    for how in (("archives", "_write_whole", 20), ("archives", "_write_whole", 60)):
        assert process(card, raw, out, *how).wait() == -signal.SIGKILL
        assert not out.exists()
        counts.append(len(unpacked(kept)))
    assert counts == [20, 80], "a file that was whole was written again"
    finished = [line["finished"] for line in read_jsonl(kept / "log.jsonl")[1:]]
    assert finished == [f"{ROOTS[1]}.tar.gz"]
    build_cache(card, out, source_dir=raw, quiet=True)
    whole = build_cache(card, tmp_path / "whole.h5", source_dir=raw, quiet=True)
    assert sha256_file(out) == sha256_file(whole)
    assert not kept.exists()


def test_a_finished_archive_is_not_read_again(card: DatasetCard, raw: Path, tmp_path: Path) -> None:
    """The archives turn into noise of the same size: a build that goes on does not see it; one
    whose folder has lost a file does."""
    out, kept = tmp_path / "c.h5", tmp_path / "c.h5.part.raw"
    stop_before_pixels(card, raw, out)
    before = open_cache(build_cache(card, tmp_path / "whole.h5", source_dir=raw, quiet=True))
    for root in ROOTS:
        rewritten(
            raw / f"{root}.tar.gz",
            lambda content: b"noise" * (len(content) // 5) + content[: len(content) % 5],
        )
    shutil.copytree(kept, tmp_path / "again.h5.part.raw")
    assert open_cache(build_cache(card, out, source_dir=raw, quiet=True)).digest == before.digest
    unpacked(tmp_path / "again.h5.part.raw")[5].unlink()
    with pytest.raises(UserError, match="damaged or cut"):
        build_cache(card, tmp_path / "again.h5", source_dir=raw, quiet=True)


def test_files_that_were_lost_or_cut_are_read_again(
    card: DatasetCard, raw: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.h5"
    stop_before_pixels(card, raw, out)
    files = unpacked(tmp_path / "c.h5.part.raw")
    rewritten(files[7], lambda content: content[:-1])
    files[-7].unlink()
    whole = build_cache(card, tmp_path / "whole.h5", source_dir=raw, quiet=True)
    build_cache(card, out, source_dir=raw, quiet=True)
    assert sha256_file(out) == sha256_file(whole)


def test_other_archives_or_members_start_anew(
    card: DatasetCard, raw: Path, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "c.h5"
    stop_before_pixels(card, raw, out)
    other = data.patches([(patch.s2, patch.s1) for patch in made][::-1])
    data.write_archives(
        raw,
        [
            *other,
            *data.patches(
                [
                    (
                        "S2B_MSIL2A_20170924T93020_69_24",
                        "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24",
                    )
                ]
            ),
        ],
    )
    build_cache(card, out, source_dir=raw, quiet=True)
    fresh = build_cache(card, tmp_path / "fresh.h5", source_dir=raw, quiet=True)
    assert sha256_file(out) == sha256_file(fresh)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_cut_archive_is_refused(
    share: float, packed: bool, card: DatasetCard, raw: Path, tmp_path: Path
) -> None:
    path = raw / "BigEarthNet-S1-v1.0.tar.gz"
    if not packed:
        path.with_name("BigEarthNet-S1-v1.0.tar").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
        path = path.with_name("BigEarthNet-S1-v1.0.tar")
        whole = path.read_bytes()
        path.write_bytes(whole.rstrip(b"\0") if share == 0.999 else whole)
        share = min(share, 0.7) if share != 0.999 else 1
    rewritten(path, lambda content: content[: int(share * len(content))])
    with pytest.raises(UserError, match="damaged or cut") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert str(path) in str(caught.value.where)
    assert not (tmp_path / "c.h5").exists()


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_that_ends_between_two_files_is_refused(
    packed: bool, card: DatasetCard, raw: Path, tmp_path: Path
) -> None:
    """Cut where a file ends, an archive looks whole to ``tarfile``; it lacks its end mark."""
    path = raw / "BigEarthNet-S1-v1.0.tar.gz"
    content = gzip.decompress(path.read_bytes())
    with tarfile.open(path) as archive:
        content = content[: archive.getmembers()[-4].offset]
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match="its end is missing") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert str(path) in str(caught.value.where)


def test_an_uncompressed_archive_does_as_well(card: DatasetCard, raw: Path, tmp_path: Path) -> None:
    before = open_cache(build_cache(card, tmp_path / "gz.h5", source_dir=raw, quiet=True))
    for path in sorted(raw.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    after = open_cache(build_cache(card, tmp_path / "tar.h5", source_dir=raw, quiet=True))
    assert before.digest == after.digest


def test_flipped_bytes_are_found_wherever_they_are(
    card: DatasetCard, raw: Path, tmp_path: Path
) -> None:
    """A packed archive carries a sum: a flipped byte is a message, or hits a part without
    meaning (a name or time in the header of gzip), and never another cache."""
    path = raw / "BigEarthNet-v1.0.tar.gz"
    whole = path.read_bytes()
    digest = open_cache(build_cache(card, tmp_path / "0.h5", source_dir=raw, quiet=True)).digest
    chance, refused = random.Random(1), 0
    for number in range(12):
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        out = tmp_path / f"{number + 1}.h5"
        try:
            found = open_cache(build_cache(card, out, source_dir=raw, quiet=True))
        except UserError as error:
            refused += 1
            assert "BigEarthNet-v1.0.tar.gz" in str(error)
        else:
            assert found.digest == digest
    assert refused >= 10


def test_a_damaged_header_is_no_end(card: DatasetCard, raw: Path, tmp_path: Path) -> None:
    path = raw / "BigEarthNet-v1.0.tar.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    with tarfile.open(path) as archive:
        member = archive.getmembers()[30]
    content[member.offset + 148 : member.offset + 156] = b"not octl"  # its own checksum
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(UserError, match="a header is damaged"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)


def _add(path: Path, *members: tarfile.TarInfo) -> None:
    """Put members at the beginning of a packed archive."""
    old = gzip.decompress(path.read_bytes())
    head = b"".join(member.tobuf() for member in members)
    path.write_bytes(gzip.compress(head + old))


@pytest.mark.parametrize("kind", ["..", "absolute", "symlink", "hardlink", "fifo", "sparse"])
def test_path_tricks_are_refused_and_nothing_is_extracted(
    kind: str, card: DatasetCard, raw: Path, made: list[Any], tmp_path: Path
) -> None:
    name = f"{made[0].s1}/{made[0].s1}_VV.tif"
    member = tarfile.TarInfo(f"BigEarthNet-S1-v1.0/{name}")
    if kind == "..":
        member.name = f"BigEarthNet-S1-v1.0/../../{name}"
    elif kind == "absolute":
        member.name = f"/tmp/{name}"
    else:
        types = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
        member.type = {**types, "sparse": tarfile.GNUTYPE_SPARSE}[kind]
        member.linkname = "../../../etc/passwd" if kind.endswith("link") else ""
    path = raw / "BigEarthNet-S1-v1.0.tar.gz"
    _add(path, member)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="plain files alone") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert name in caught.value.what and str(path) == caught.value.where
    kept = tmp_path / "c.h5.part.raw"
    left = {path for path in tmp_path.rglob("*") if path not in before}
    assert left == {kept, kept / "0", kept / "log.jsonl"}


def test_a_file_that_comes_twice_or_is_too_large(
    card: DatasetCard, raw: Path, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    path = raw / "BigEarthNet-S1-v1.0.tar.gz"
    whole = path.read_bytes()
    _add(path, tarfile.TarInfo(f"BigEarthNet-S1-v1.0/{made[0].s1}/{made[0].s1}_VV.tif"))
    with pytest.raises(UserError, match=r"_VV\.tif' is in this archive twice"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    with tarfile.open(path, "w:gz") as archive:
        name = f"BigEarthNet-S1-v1.0/{made[0].s1}/{made[0].s1}_VV.tif"
        data.add_file(archive, name, bytes(2**20 + 1))
    with pytest.raises(UserError, match="more than a band"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    path.write_bytes(b"no archive at all")
    with pytest.raises(UserError, match="damaged or cut, at or after its beginning"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    path.write_bytes(whole)
    build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)


def test_damage_inside_a_member_names_member_and_archive(
    card: DatasetCard, raw: Path, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    """An archive that is sound around an image that is not."""
    path = raw / "BigEarthNet-S1-v1.0.tar.gz"
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    bad = next(name for name in files if name.endswith(f"{made[2].s1}_VH.tif"))
    files[bad] = files[bad][:100]
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data.add_file(archive, name, content)
    with pytest.raises(UserError, match="not a readable GeoTIFF") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert "BigEarthNet-S1-v1.0.tar.gz" in str(caught.value.where)
    assert f"{made[2].s1}_VH.tif" in str(caught.value.where)


def test_a_full_disk_while_streaming_loses_nothing(
    card: DatasetCard, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills at the 31st file; with space again, the build goes on to the same cache."""
    out, kept = tmp_path / "c.h5", tmp_path / "c.h5.part.raw"
    write = archives._write_whole

    def fill_up(path: Path, content: bytes) -> None:
        if len(unpacked(kept)) == 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_write_whole", fill_up)
        with pytest.raises(UserError, match="no space left"):
            build_cache(card, out, source_dir=raw, quiet=True)
    assert not out.exists()
    assert len(unpacked(kept)) == 30
    build_cache(card, out, source_dir=raw, quiet=True)
    whole = build_cache(card, tmp_path / "whole.h5", source_dir=raw, quiet=True)
    assert sha256_file(out) == sha256_file(whole)


def test_a_patch_may_lie_in_two_archives(card: DatasetCard, raw: Path, tmp_path: Path) -> None:
    """Its files are taken from the first that has them; the rest from the other one."""
    before = open_cache(build_cache(card, tmp_path / "one.h5", source_dir=raw, quiet=True))
    path = raw / "BigEarthNet-v1.0.tar.gz"
    content = gzip.decompress(path.read_bytes())
    with tarfile.open(path) as archive:
        middle = archive.getmembers()[20].offset
    part = content[:middle] + bytes(2 * tarfile.BLOCKSIZE)
    (raw / "BigEarthNet-part.tar.gz").write_bytes(gzip.compress(part))
    after = open_cache(build_cache(card, tmp_path / "two.h5", source_dir=raw, quiet=True))
    assert after.digest == before.digest


def test_a_missing_sensor_keeps_what_was_read(card: DatasetCard, raw: Path, tmp_path: Path) -> None:
    """With one archive all patches are missing; the build goes on when the other one comes."""
    path = raw / "BigEarthNet-v1.0.tar.gz"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match="15 of 15 patches are missing"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    path.write_bytes(whole)
    build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_kills_at_random_moments(
    card: DatasetCard, names: list[tuple[str, str]], data: ModuleType, tmp_path: Path
) -> None:
    card = card.model_copy(
        update={
            "a": card.a.model_copy(update={"size": (120, 120)}),
            "b": card.b.model_copy(update={"size": (120, 120)}),
        }
    )
    raw = data.write_archives(tmp_path / "raw", data.patches(names, side=120))
    whole, begun = tmp_path / "whole.h5", time.monotonic()
    assert process(card, raw, whole, *LATE).wait() == 0
    takes = time.monotonic() - begun
    out, kept = tmp_path / "killed.h5", tmp_path / "killed.h5.part.raw"
    chance, seen = random.Random(0), set()
    for kill in range(10):
        # Reading is a small share of the time: the first kills are drawn by file, not by clock.
        by_file = kill < 5
        where = ("archives", "_write_whole", chance.randrange(2, 40)) if by_file else LATE
        build = process(card, raw, out, *where)
        try:
            build.wait(timeout=None if by_file else takes * chance.uniform(0.1, 0.9))
        except subprocess.TimeoutExpired:
            os.kill(build.pid, signal.SIGKILL)
            build.wait()
        if out.exists():  # it was faster than the kill
            assert sha256_file(out) == sha256_file(whole)
            out.unlink()
        seen.add(len(unpacked(kept)))
    assert len(seen) >= 5, "too many kills came at one moment"
    assert process(card, raw, out, *LATE).wait() == 0
    assert sha256_file(out) == sha256_file(whole)
    assert [path.name for path in tmp_path.glob("killed*")] == ["killed.h5"]
