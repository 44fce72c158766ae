"""Atomic writes leave the old file or the new one, whatever happens in between."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crbench import files
from crbench.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_no_sibling(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed here")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_one_message_that_names_the_path(tmp_path: Path, code: int) -> None:
    target = tmp_path / "weights.bin"
    with pytest.raises(UserError) as caught, files.atomic_path(target) as temporary:
        temporary.write_bytes(b"some")
        raise OSError(code, "injected")
    assert "weights.bin" in str(caught.value)
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        files.write_text(tmp_path / "file" / "record.json", "x")


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"x": 1})
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(target, {"x": float("nan")})
    assert json.loads(target.read_text()) == {"x": 1}


def test_a_torn_line_is_skipped_and_the_next_line_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    files.append_jsonl(log, {"epoch": 1})
    with log.open("a") as handle:
        handle.write('{"epoch": 2, "lo')
    files.append_jsonl(log, {"epoch": 3})
    assert files.read_jsonl(log) == [{"epoch": 1}, {"epoch": 3}]


def test_digest_does_not_depend_on_key_order() -> None:
    assert files.sha256_json({"a": 1, "b": 2}) == files.sha256_json({"b": 2, "a": 1})
    assert files.sha256_json({"a": 1}) != files.sha256_json({"a": 2})


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    code = "import sys, time; from crbench.files import held\n"
    code += "with held(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process"), files.held(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with files.held(tmp_path):
        pass
