"""Building: the same cache whatever happened on the way, and nothing lost when it fails."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache import blocks, build
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import Block, open_source
from crbench.errors import UserError
from crbench.files import read_jsonl, sha256_file

SIZES = [
    f"source.splits.{name}={size}" for name, size in (("train", 700), ("val", 90), ("test", 90))
]
CARD = f"load_dataset('ben-14k-twin', overrides={SIZES})"


def small_card(*overrides: str) -> DatasetCard:
    sizes = ["source.splits.train=20", "source.splits.val=5", "source.splits.test=9"]
    return load_dataset("ben-14k-twin", overrides=[*sizes, *overrides])


def with_source(monkeypatch: pytest.MonkeyPatch, **changes: object) -> DatasetCard:
    """Let the build read the small twin with some of its parts changed, in blocks of 8 rows."""
    card = small_card()
    source = dataclasses.replace(open_source(card), **{"rows_per_block": 8, **changes})
    monkeypatch.setattr(build, "open_source", lambda *_: source)
    return card


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    head = "import sys; from pathlib import Path; from crbench.cards import load_dataset\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )


def test_cache_holds_what_the_source_gave(tmp_path: Path) -> None:
    card = small_card()
    source = open_source(card)
    cache = open_cache(build_cache(card, tmp_path / "c.h5", quiet=True), card)
    block = source.read(0, 34)
    np.testing.assert_array_equal(cache.images("a"), block.a)
    np.testing.assert_array_equal(cache.images("b"), block.b)
    np.testing.assert_array_equal(cache.labels, block.labels)
    assert cache.ids.tolist() == source.ids
    assert cache.split.tolist() == source.split
    assert cache.card == card
    assert verify_cache(cache.path, quiet=True)[0] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.h5"]


def test_statistics_are_those_of_the_train_split(tmp_path: Path) -> None:
    cache = open_cache(build_cache(small_card(), tmp_path / "c.h5", quiet=True))
    for which in ("a", "b"):
        train = cache.images(which)[cache.rows(["train"])].astype(np.float64)
        stats = cache.stats(which)
        np.testing.assert_allclose(stats["mean"], train.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(stats["std"], train.std((0, 2, 3)), rtol=1e-10)


def test_block_size_does_not_change_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = open_cache(build_cache(small_card(), tmp_path / "one.h5", quiet=True))
    card = with_source(monkeypatch, rows_per_block=7)
    other = open_cache(build_cache(card, tmp_path / "two.h5", quiet=True))
    assert plain.digest == other.digest


def test_a_finished_cache_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_cache(small_card(), tmp_path / "c.h5", quiet=True)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    build_cache(small_card(), path, quiet=True)
    with pytest.raises(UserError, match="another card"):
        build_cache(small_card("source.seed=5"), path, quiet=True)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    build_cache(small_card("source.seed=5"), path, quiet=True, force=True)
    assert path.read_bytes() != before[0]


@pytest.mark.soak
def test_killed_build_goes_on_to_the_same_cache(tmp_path: Path, kill_build: Any) -> None:
    code = (
        "from crbench.data.cache.build import build_cache\n"
        f"build_cache({CARD}, sys.argv[1], force=True)"
    )
    out = tmp_path / "killed.h5"
    log, part = out.with_name("killed.h5.part.log"), out.with_name("killed.h5.part")
    finished = kill_build(python(code, out), out, 1)
    assert part.is_file()
    assert 1 <= finished < 4
    with open(part, "r+b") as handle:  # the first block also loses bytes: it is made again
        offset = build.layout.spans(part)["b"][0]
        handle.seek(offset + 100)
        handle.write(b"lost")
    second = python(code, out)
    message = second.communicate()[1]
    assert second.returncode == 0, message
    assert "going on" in message
    fresh = tmp_path / "fresh.h5"
    assert python(code, fresh).wait() == 0
    assert sha256_file(out) == sha256_file(fresh)
    assert not part.exists()
    assert not log.exists()


def test_kill_while_sealing_goes_on(tmp_path: Path) -> None:
    code = (
        "import os, signal; from crbench.data.cache import layout\n"
        "from crbench.data.cache.build import build_cache\n"
        "layout.header_digest = lambda file: (file.flush(), os.kill(os.getpid(), signal.SIGKILL))\n"
        f"build_cache({CARD}, sys.argv[1], quiet=True)"
    )
    out = tmp_path / "c.h5"
    process = python(code, out)
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(UserError, match="not finished"):
        open_cache(out)
    with pytest.raises(UserError, match="end mark"):
        open_cache(out.with_name("c.h5.part"))
    build_cache(load_dataset("ben-14k-twin", overrides=SIZES), out, quiet=True)
    assert verify_cache(out, quiet=True)[0] == []


def test_part_of_another_card_is_not_continued(tmp_path: Path) -> None:
    card, other = small_card(), small_card("source.seed=9")
    build_cache(other, tmp_path / "other.h5", quiet=True)
    os.replace(tmp_path / "other.h5", tmp_path / "c.h5.part")
    (tmp_path / "c.h5.part.log").write_text('{"card": "another"}\n{"start": 0, "sha256": "x"}\n')
    path = build_cache(card, tmp_path / "c.h5", quiet=True)
    np.testing.assert_array_equal(open_cache(path).images("a")[:], open_source(card).read(0, 34).a)


def test_full_disk_in_the_middle_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = with_source(monkeypatch)
    write, written = blocks.write_block, []

    def fill_up(*arguments: object) -> str:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(1)
        return write(*arguments)

    out = tmp_path / "c.h5"
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "write_block", fill_up)
        with pytest.raises(UserError, match="no space left"):
            build_cache(card, out, quiet=True)
    assert not out.exists()
    assert len(read_jsonl(tmp_path / "c.h5.part.log")) == 1 + 3
    resumed = open_cache(build_cache(card, out, quiet=True))
    fresh = open_cache(build_cache(card, tmp_path / "fresh.h5", quiet=True))
    assert resumed.digest == fresh.digest


def test_limit_on_file_sizes_is_one_message(tmp_path: Path) -> None:
    code = (
        "import resource; from crbench.errors import UserError\n"
        "from crbench.data.cache.build import build_cache\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "try:\n"
        f"    build_cache({CARD}, sys.argv[1], quiet=True)\n"
        "except UserError as error:\n"
        "    sys.exit(str(error))"
    )
    old = build_cache(small_card(), tmp_path / "c.h5", quiet=True).read_bytes()
    process = python(code.replace("quiet=True", "quiet=True, force=True"), tmp_path / "c.h5")
    message = process.communicate()[1]
    assert process.returncode == 1
    assert "file size" in message
    assert "Traceback" not in message
    assert (tmp_path / "c.h5").read_bytes() == old


def test_too_small_a_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = build.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"0\.00 GB are free"):
        build_cache(small_card(), tmp_path / "c.h5", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        build_cache(small_card(), tmp_path / "file" / "c.h5", quiet=True)
    with pytest.raises(UserError, match="folder"):
        build_cache(small_card(), tmp_path, quiet=True)


def test_two_builds_of_one_cache_exclude_each_other(tmp_path: Path) -> None:
    with build._locked(tmp_path / "c.h5"), pytest.raises(UserError, match="another process"):
        build_cache(small_card(), tmp_path / "c.h5", quiet=True)
    build_cache(small_card(), tmp_path / "c.h5", quiet=True)


def test_groups_are_stored_and_leave_the_digest_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = open_cache(build_cache(small_card(), tmp_path / "plain.h5", quiet=True))
    assert plain.groups is None
    groups = [f"34TCR/2017080{k % 4}" for k in range(34)]
    card = with_source(monkeypatch, groups=groups)
    cache = open_cache(build_cache(card, tmp_path / "groups.h5", quiet=True))
    assert cache.groups is not None and cache.groups.tolist() == groups
    assert cache.digest == plain.digest
    assert set(cache.array_digests) == {"a", "b", "ids", "split", "labels", "groups"}
    assert verify_cache(cache.path, quiet=True)[0] == []
    with open(cache.path, "r+b") as handle:
        handle.seek(build.layout.spans(cache.path)["groups"][0] + 14 * 3)
        handle.write(b"X")
    (problem,) = verify_cache(cache.path, quiet=True)[0]
    assert "groups" in problem and "(row 3)" in problem


def test_full_disk_while_sealing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, out = small_card(), tmp_path / "c.h5"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(build.layout, "seal", full)
        with pytest.raises(UserError, match="no space left"):
            build_cache(card, out, quiet=True)
    assert not out.exists()
    read = []
    source = open_source(card)

    def counted(start: int, stop: int) -> Block:
        read.append(start)
        return source.read(start, stop)

    counting = dataclasses.replace(source, read=counted)
    monkeypatch.setattr(build, "open_source", lambda *_: counting)
    build_cache(card, out, quiet=True)
    assert read == []  # every block was kept
    assert verify_cache(out, quiet=True)[0] == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that even root cannot fill")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write /proc/.*c\.h5"):
        build_cache(small_card(), "/proc/caches/c.h5", quiet=True)
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(UserError, match="permission denied"):
            build_cache(small_card(), tmp_path / "c.h5", quiet=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": lambda x: [x[0], *x[:-1]]}, "'ben-14k-twin-00' repeats"),
        ({"split": lambda x: ["train"] * len(x)}, "no pair is in split 'test'"),
        ({"split": lambda x: x[:-1]}, "33 splits for 34 pairs"),
        ({"groups": lambda _: ["34TCR/20170803"] * 33}, "33 groups for 34 pairs"),
        ({"read": lambda read: lambda start, stop: Block(*3 * [np.zeros(1)])}, "the card says"),
    ],
)
def test_bad_sources_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    source = open_source(small_card())
    parts = {name: of(getattr(source, name)) for name, of in change.items()}
    card = with_source(monkeypatch, **parts)
    with pytest.raises(UserError, match=message):
        build_cache(card, tmp_path / "c.h5", quiet=True)
    assert not (tmp_path / "c.h5").exists()
