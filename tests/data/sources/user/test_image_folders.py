"""Which folder is which modality, and files by key: by name, by the card, by content."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from crbench.cards import DatasetCard
from crbench.data.sources.user.image_folders import files_by_key, formats, modality_folders
from crbench.errors import UserError

UNNAMED = {"a": "", "b": ""}


@pytest.fixture(scope="module")
def made(data: ModuleType) -> list[Any]:
    return list(data.pairs(1))


def touched(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize("names", [("a", "b"), ("rgb", "SAR"), ("A", "Sar"), ("RGB", "B")])
def test_folders_are_known_by_name(
    cbrsir: DatasetCard, tmp_path: Path, names: tuple[str, str]
) -> None:
    for name in (*names, ".hidden", "__MACOSX", "other"):
        (tmp_path / name).mkdir()
    folders = modality_folders(tmp_path, cbrsir, UNNAMED)
    assert folders == {"a": tmp_path / names[0], "b": tmp_path / names[1]}


def test_the_card_names_folders_inside_the_source(cbrsir: DatasetCard, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "raw" / "SAR").mkdir(parents=True)
    folders = modality_folders(tmp_path, cbrsir, {"a": "", "b": "raw/SAR"})
    assert folders == {"a": tmp_path / "a", "b": tmp_path / "raw" / "SAR"}
    with pytest.raises(UserError, match="no folder of modality b") as caught:
        modality_folders(tmp_path, cbrsir, {"a": "", "b": "raw/sar2"})
    assert '[source] b = "FOLDER"' in str(caught.value)


def test_folders_around_a_folder_are_walked_through_up_to_the_classes(
    cbrsir: DatasetCard, tmp_path: Path
) -> None:
    touched(tmp_path, "a/ds/images/Forest/1.png", "b/River/1.png")
    folders = modality_folders(tmp_path, cbrsir, UNNAMED)
    assert folders == {"a": tmp_path / "a/ds/images", "b": tmp_path / "b"}
    touched(tmp_path, "a/ds/0.png")
    assert modality_folders(tmp_path, cbrsir, UNNAMED)["a"] == tmp_path / "a/ds"


def test_folders_are_told_apart_by_content(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    data.class_folders(tmp_path, made, {"a": "zz/only/images", "b": "first"})
    both = {"a": tmp_path / "zz/only/images", "b": tmp_path / "first"}
    assert modality_folders(tmp_path, cbrsir, UNNAMED) == both
    data.write_image(tmp_path / "third" / "x.png", made[0].pixels["a"])
    with pytest.raises(UserError, match=r"no folder of modality a \(RGB, 3×16×16\)") as caught:
        modality_folders(tmp_path, cbrsir, UNNAMED)
    assert "third (images)" in str(caught.value)
    assert '[source] a = "FOLDER"' in str(caught.value)
    assert modality_folders(tmp_path, cbrsir, {"a": "zz", "b": "first"}) == both


def test_a_folder_of_three_grey_bands_may_be_one_of_one_band(
    data: ModuleType, cbrsir: DatasetCard, tmp_path: Path
) -> None:
    grey = np.repeat(np.arange(16, dtype=np.uint8).reshape(1, 4, 4), 3, axis=0)
    data.write_image(tmp_path / "x" / "1.png", grey)
    data.write_image(tmp_path / "y" / "1.png", np.zeros((3, 16, 16), np.uint8))
    assert modality_folders(tmp_path, cbrsir, UNNAMED) == {"a": tmp_path / "y", "b": tmp_path / "x"}
    grey[0, 0, 0] += 1
    data.write_image(tmp_path / "x" / "1.png", grey)
    with pytest.raises(UserError, match="no folder of modality a"):
        modality_folders(tmp_path, cbrsir, UNNAMED)


def test_keys_are_paths_without_ending_prefix_and_suffix(tmp_path: Path) -> None:
    touched(
        tmp_path, "River/s1_2_sar.png", "River/s1_10_sar.TIF", "s1_1_sar.npy", "s1_1_rgb.png",
        "1_sar.png", "s2_11_sar.png", "s1_sar.png", "s1__sar.png", ".s1_7_sar.png",
        "__MACOSX/s1_8_sar.png", "s1_9_sar.txt", "deep/er/s1_x_sar.jpeg",
    )  # fmt: skip
    files = files_by_key(tmp_path, "s1_", "_sar")
    assert list(files) == ["1", "River/10", "River/2", "deep/er/x"]
    assert files["River/10"] == tmp_path / "River" / "s1_10_sar.TIF"
    assert formats(files) == "1 jpeg, 1 npy, 1 png, 1 tif"
    everything = files_by_key(tmp_path, "", "")
    assert "s2_11_sar" in everything and not [key for key in everything if key.startswith(".")]


def test_two_files_of_one_key_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "River/2.jpg", "River/2.png")
    with pytest.raises(UserError, match=r"'River/2' is there twice: 2\.jpg and 2\.png"):
        files_by_key(tmp_path, "", "")
