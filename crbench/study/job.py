"""One run of a study in a process of its own: train, evaluate, or say why not.

``python -m crbench.study.job SPEC`` with SPEC a JSON object (see ``job_spec``). A process of its
own means that a run that crashes or is killed for memory takes no other run along.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from crbench.errors import UserError
from crbench.files import HELD
from crbench.study.cards import RUNS, Job, option_words
from crbench.study.shelf import write_failure

_LAST = 1_000_000  # epochs between scores on val: after the last one alone
_SETTINGS = ["method", "dataset", "scale", "overrides", "seed", "device", "threads", "out", "cache"]


def job_spec(
    job: Job,
    *,
    cache: Path,
    device: str = "auto",
    threads: int | None = None,
    root: Path = RUNS,
    parent: int | None = None,
    judge: bool = False,
) -> dict[str, Any]:
    """What the process needs to know, as plain data. ``parent``: stop when this process is gone;
    ``judge``: score the run on ``val`` as its training ends, and on nothing else."""
    return {
        "method": job.method,
        "scale": job.scale,
        "overrides": list(job.overrides),
        "dataset": job.dataset,
        "seed": job.seed,
        "out": str(job.folder(root)),
        "failure": str(job.aside("failures", root)),
        "cache": str(cache),
        "device": device,
        "threads": threads,
        "parent": parent,
        "judge": judge,
    }


def job_command(job: dict[str, Any]) -> list[str]:
    """The command that makes the same run by hand; it stands in the record."""
    keys = {"--scale": "scale", "--set": "overrides", "--seed": "seed", "--threads": "threads"}
    options = option_words({option: job[key] for option, key in keys.items()})
    return ["crbench", "train", job["method"], job["dataset"], *options]


def make_run(job: dict[str, Any]) -> None:
    """Train the run, going on where it stopped, and write its record."""
    from crbench import train
    from crbench.evaluation.evaluate import evaluate
    from crbench.run.folder import Options, RunFolder

    settings = {key: job[key] for key in _SETTINGS}
    resume = RunFolder(Path(job["out"])).exists()
    if job.get("judge"):
        train(**settings, options=Options(eval_every=_LAST), resume=resume, quiet=True)
        return
    train(**settings, resume=resume, quiet=True)
    evaluate(job["out"], cache=job["cache"], device=job["device"], quiet=True)


def run_job(text: str) -> int:
    """Run the job of a JSON spec; what went wrong is kept in its failure file."""
    job = json.loads(text)
    _end_with(job["parent"])
    sys.argv = job_command(job)
    Path(job["failure"]).unlink(missing_ok=True)  # of an earlier try
    try:
        make_run(job)
    except KeyboardInterrupt:  # asked to stop: training has saved, nothing failed
        return 130
    except UserError as error:
        if error.what == HELD:  # another study makes this run at the moment
            print(f"error: {error}", file=sys.stderr)
            return 130
        problem, code = error, 2
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        traceback.print_exc()
        problem, code = UserError(f"{type(error).__name__}: {error}", where=job["out"]), 1
    else:
        return 0
    write_failure(job["failure"], problem, sys.argv)
    return code


def _end_with(parent: int | None) -> None:
    """Ask to be stopped, as by SIGTERM, when the study's process is gone (Linux only)."""
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it went before the request was made
        sys.exit(130)


if __name__ == "__main__":
    sys.exit(run_job(sys.argv[1]))
