"""What lies in a job's folder, and what it says of how far the job got.

jobs/NAME/
job.json        what it is: method and settings; written before it starts, so that a later sweep knows whether this is still the same job
train.yaml      the same for `moalign train METHOD --config`
bundle/         the run folder of `moalign train`
trained.json    training is over
log.txt         everything that its processes said
front.json      the bundle as it was measured
result.json     written last: the job is done
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontier.atomic import write_text
from frontier.errors import InputError
from moalign.sweep.jobs import Job

JOBS = "jobs"


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job.

    Args:
        path (`Path`): of the folder.
    """

    path: Path

    @classmethod
    def of(cls, output_dir: str | Path, job: Job) -> "JobFolder":
        """The folder of a job of a sweep."""
        return cls(Path(output_dir) / JOBS / job.name)

    @property
    def bundle(self) -> Path:
        """Where the job trains to."""
        return self.path / "bundle"

    @property
    def config(self) -> Path:
        """The settings of its training, as `moalign train` reads them."""
        return self.path / "train.yaml"

    @property
    def log(self) -> Path:
        """What its processes said."""
        return self.path / "log.txt"

    @property
    def front(self) -> Path:
        """Its bundle as it was measured, in the rewards' own units."""
        return self.path / "front.json"

    # ---- what it is

    def write(self, job: Job, evaluation: dict[str, Any] | None) -> None:
        """Say what the job is, for its process."""
        lines = [f"# moalign train {job.method} --config {self.config.name} --output_dir OUT\n"]
        settings = {"disable_tqdm": True} | job.settings  # a bar in a file is noise
        lines += [f"{name}: {_yaml(value)}\n" for name, value in settings.items()]
        if job.method is not None:
            write_text(self.config, "".join(lines))
        about = {"job": job.identity(), "label": job.label, "axes": job.axes, "evaluation": evaluation}
        write_text(self.path / "job.json", json.dumps(about, indent=2) + "\n")

    def read(self) -> dict[str, Any] | None:
        """What `write` wrote; `None` in a fresh folder."""
        return _read(self.path / "job.json")

    def check_unchanged(self, job: Job) -> None:
        """Refuse a folder in which another job was run.

        Raises:
            InputError: names the first setting that differs, with both values.
        """
        known = self.read()
        if known is None or known["job"] == job.identity():
            return
        old, new = _flat(known["job"]), _flat(job.identity())
        name = next(n for n in [*old, *new] if old.get(n, ...) != new.get(n, ...))
        was, now = (repr(d[name]) if name in d else "not set" for d in (old, new))
        raise InputError(
            f"{self.path} was run with {name} {was}, now it is {now}: name another output_dir, or pass --rerun_changed to remove it and run it again"
        )

    def clear(self) -> None:
        """Remove everything; whatever stayed of another job would be gone on from."""
        shutil.rmtree(self.path)

    # ---- how far it is

    def trained(self, identity: dict[str, Any]) -> bool:
        """Whether training is over."""
        found = _read(self.path / "trained.json")
        return found is not None and found["job"] == identity

    def mark_trained(self, identity: dict[str, Any]) -> None:
        """Training is over."""
        write_text(self.path / "trained.json", json.dumps({"job": identity}) + "\n")

    def finished(self, job: Job, evaluation: dict[str, Any] | None) -> bool:
        """Whether everything is done that is asked for now."""
        found = _read(self.path / "result.json")
        return found is not None and found["job"] == job.identity() and found["evaluation"] == evaluation

    def finish(self, identity: dict[str, Any], evaluation: dict[str, Any] | None, found: dict[str, Any]) -> None:
        """Everything is done."""
        content = {"job": identity, "evaluation": evaluation, **found}
        write_text(self.path / "result.json", json.dumps(content, indent=2) + "\n")

    def last_words(self) -> str:
        """The last line of the log that says something, the message of an error before all others."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 20_000))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        # A process that said nothing left only the line that the sweep wrote before it.
        start = max((i for i, line in enumerate(lines) if line.startswith(ATTEMPT)), default=-1)
        said = lines[start + 1 :]
        errors = [line for line in said if line.startswith("moalign: error: ")]
        return (errors or said or [""])[-1]

    def begin_attempt(self, number: int) -> None:
        """Draw a line in the log."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{ATTEMPT} {number}\n")

    def progress(self) -> dict[str, Any]:
        """The last line of metrics that training wrote; empty before it."""
        files = [self.bundle / "metrics.jsonl", *self.bundle.glob("runs/*/metrics.jsonl")]
        newest = max((f for f in files if f.is_file()), key=lambda f: f.stat().st_mtime, default=None)
        if newest is None:
            return {}
        with newest.open("rb") as file:
            file.seek(max(0, newest.stat().st_size - 20_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
        for line in reversed(lines):
            try:
                found = json.loads(line)
            except ValueError:  # the end of a line that is being written, or the start of one that was cut
                continue
            if isinstance(found, dict) and "step" in found:
                return found
        return {}


ATTEMPT = "---- attempt"


def _yaml(value: Any) -> str:
    """JSON that YAML reads as the same: it does not know the pairs of escapes by which JSON writes an emoji."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda found: f"\\U{ord(found[0]):08x}", text)


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in identity.items() if name != "settings" and value is not None}
    return known | dict(identity["settings"])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}): remove the folder to run the job again") from error
    return content if isinstance(content, dict) else None
