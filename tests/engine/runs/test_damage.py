"""A flipped bit, a file cut short, lost, emptied, doubled, or of another run: no reader gives
another number.

Each reader of a run either gives what it gave before the damage or refuses with a sentence, and
what makes one refuse `verify` names. The seeded sample here is drawn anew with `--faults-seed N`;
`--faults all` tries ten times as many.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.store import open_run

_spec = importlib.util.spec_from_file_location("damage", Path(__file__).with_name("damage.py"))
assert _spec is not None and _spec.loader is not None
damage: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(damage)

MANIFESTS = "manifest-*.jsonl"


@pytest.fixture(scope="module")
def run_dir(bundled_model: MaskedDiffusionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damage.make_run(tmp_path_factory.mktemp("damage") / "run", bundled_model)


@pytest.fixture(scope="module")
def other_run(
    bundled_model: MaskedDiffusionModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same problems and settings a second time: another run all the same."""
    return damage.make_run(tmp_path_factory.mktemp("other") / "run", bundled_model)


@pytest.fixture(scope="module")
def before(run_dir: Path) -> dict[str, Any]:
    return damage.facts_of(run_dir)


@pytest.fixture(scope="module")
def verifier() -> Any:
    return damage.Verifier()


def assert_nothing_wrong_unsaid(
    run_dir: Path, before: dict[str, Any], verifier: Any, what: str, *, touched: str | None = None
) -> None:
    """The rule of this file; `what` says what was done, for whoever reads the failure."""
    after = damage.facts_of(run_dir, touched=touched)
    assert damage.changed(before, after) == [], f"{what}: another value without a word"
    named = verifier.named(run_dir)
    assert named or not damage.refused(after), (
        f"{what}: {damage.refused(after)} refuse and verify knows nothing"
    )
    assert named or after, f"{what}: nobody but verify reads it, and verify knows nothing"


@contextlib.contextmanager
def kept(path: Path) -> Iterator[bytes]:
    """Whatever is written over a file, afterwards it is as before."""
    content = path.read_bytes()
    try:
        yield content
    finally:
        path.write_bytes(content)


def bits_in(run_dir: Path, names: list[str], count: int, seed: int) -> Iterator[tuple[str, int]]:
    """`count` bits, an equal share of them in each file, however small."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        name = names[number % len(names)]
        size = (run_dir / name).stat().st_size
        if size:
            yield name, int(rng.integers(8 * size))


def test_the_run_is_whole_and_every_kind_of_file_is_there(
    run_dir: Path, before: dict[str, Any], verifier: Any
) -> None:
    assert damage.refused(before) == [] and verifier.named(run_dir) == []
    known = {
        "run.json",
        "problems.jsonl",
        "tokens.json",
        "head.h5",
        "analysis.h5",
        "manifest-0.jsonl",
        "report.html",
    }
    assert known <= set(damage.files_of(run_dir)) and len(list((run_dir / "shards").iterdir())) == 2


@pytest.mark.parametrize("part", range(10))
def test_flipped_bits(
    run_dir: Path,
    before: dict[str, Any],
    verifier: Any,
    faults_seed: int,
    every_fault: bool,
    part: int,
) -> None:
    names = [name for name in damage.files_of(run_dir) if not name.startswith(damage.UNREAD)]
    for name, bit in bits_in(run_dir, names, 1000 if every_fault else 100, 10 * faults_seed + part):
        with kept(run_dir / name):
            damage.flip(run_dir / name, bit)
            assert_nothing_wrong_unsaid(
                run_dir, before, verifier, f"bit {bit} of {name}", touched=name
            )


def test_flipped_bits_of_shards_without_a_manifest(
    run_dir: Path, before: dict[str, Any], verifier: Any, faults_seed: int, every_fault: bool
) -> None:
    """What was adopted as sound before shards were sealed: a bit outside the chunks, and no
    manifest to know it."""
    with damage.restored(run_dir):
        for path in run_dir.glob(MANIFESTS):
            os.truncate(path, 0)
        names = [name for name in damage.files_of(run_dir) if name.startswith("shards/")]
        for name, bit in bits_in(run_dir, names, 2000 if every_fault else 100, faults_seed):
            with kept(run_dir / name):
                damage.flip(run_dir / name, bit)
                what = f"bit {bit} of {name} without a manifest"
                assert any(
                    Path(name).name in each and "manifest" not in each
                    for each in verifier.named(run_dir)
                ), what
                assert_nothing_wrong_unsaid(run_dir, before, verifier, what, touched=name)


def test_files_cut_short(
    run_dir: Path, before: dict[str, Any], verifier: Any, faults_seed: int, every_fault: bool
) -> None:
    names = [name for name in damage.files_of(run_dir) if not name.startswith(damage.UNREAD)]
    for name, bit in bits_in(run_dir, names, 2000 if every_fault else 200, faults_seed):
        with kept(run_dir / name):
            os.truncate(run_dir / name, bit // 8)
            assert_nothing_wrong_unsaid(
                run_dir, before, verifier, f"{name} cut to {bit // 8}", touched=name
            )


def test_every_file_deleted_emptied_doubled_or_of_another_run(
    run_dir: Path, other_run: Path, before: dict[str, Any], verifier: Any
) -> None:
    for name in damage.files_of(run_dir):
        path = run_dir / name
        content = path.read_bytes()
        foreign = next(iter(sorted(other_run.glob(_alike(name)))))
        copy = path.with_name(f"{path.stem} copy{path.suffix}")
        deeds = {
            "deleted": path.unlink,
            "emptied": lambda path=path: os.truncate(path, 0),
            "written twice over": lambda path=path, content=content: path.write_bytes(
                content + content
            ),
            "of another run": lambda path=path, foreign=foreign: shutil.copy(foreign, path),
            "there a second time": lambda path=path, copy=copy: shutil.copy(path, copy),
        }
        for what, do in deeds.items():
            with damage.restored(run_dir):
                do()
                if not _is_history(name):
                    assert_nothing_wrong_unsaid(run_dir, before, verifier, f"{name} {what}")


def _alike(name: str) -> str:
    """The same file of the other run: its shards have other digests in their names."""
    return name.rsplit("-", 1)[0] + "-*.h5" if name.startswith("shards/") else name


def _is_history(name: str) -> bool:
    """Records of commands that ended: gone is gone, and costs nothing."""
    return name in ("progress.json", "sessions.jsonl") or name.startswith(damage.UNREAD)


def test_the_same_command_mends_or_refuses(
    run_dir: Path,
    before: dict[str, Any],
    bundled_model: MaskedDiffusionModel,
    faults_seed: int,
    every_fault: bool,
) -> None:
    names = [
        name
        for name in damage.files_of(run_dir)
        if not _is_history(name) and "analysis" not in name
    ]
    from diffengine.engine.cli.command_line import expected_failure

    for name, bit in bits_in(run_dir, names, len(names) * (20 if every_fault else 2), faults_seed):
        with damage.restored(run_dir):
            damage.flip(run_dir / name, bit)
            what = f"bit {bit} of {name} (seed {faults_seed})"
            try:
                damage.decode(run_dir, bundled_model)
            except Exception as error:
                assert expected_failure(error) is not None, what
                assert name == "run.json", f"{what}: {error}"
                continue
            with open_run(run_dir) as stored:
                assert stored.missing == [], what
            after = damage.facts_of(run_dir)
            assert after["open_run"]["token"] == before["open_run"]["token"], what
            assert after["open_run"]["problems"] == before["open_run"]["problems"], what
            assert after["head"] == before["head"], what
