"""The writer of tiny raw pairs, and small cards for what it writes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from crbench.cards import DatasetCard, load_dataset


@pytest.fixture(scope="session")
def data() -> ModuleType:
    """``user_data.py`` of this folder."""
    path = Path(__file__).with_name("user_data.py")
    spec = importlib.util.spec_from_file_location("user_data", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cbrsir() -> DatasetCard:
    """CBRSIR_VS at 16 and 4 px, whose split rule is for sixty pairs."""
    return load_dataset(
        "cbrsir-vs",
        overrides=[
            "a.size=[16, 16]", "b.size=[4, 4]", "source.split.of=60",
            "source.split.counts.query=10", "source.split.counts.val=6",
        ],
    )  # fmt: skip
