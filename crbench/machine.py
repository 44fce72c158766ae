"""Where a number was made: versions, hardware, command. No torch, no numpy at import."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import resource
import shlex
import sys
from pathlib import Path

PACKAGES = ("crbench", "torch", "timm", "numpy", "h5py", "scikit-learn", "faiss-gpu", "faiss-cpu")


def versions() -> dict[str, str]:
    """Python's version and those of the installed packages that numbers depend on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> dict[str, str | int]:
    """Processor, cores that this process may use, memory in GiB and system."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def peak_rss_gib() -> float:
    """Largest resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def command() -> str:
    """The command line of this process, with the program's name instead of its path."""
    return shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def now_utc() -> str:
    """The time now, e.g. ``2026-11-21T01:32:52Z``."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
