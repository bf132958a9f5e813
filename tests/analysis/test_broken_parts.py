"""`analyze` beside optional packages that are installed and broken, and an analysis that is killed
half way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import diffengine as de
from diffengine.analysis.results import load_analysis, save_analysis, save_unfinished

OPTIONAL = (
    "cuml",
    "faiss",
    "openTSNE",
    "sklearn",
    "threadpoolctl",
    "math_verify",
    "xarray",
    "h5netcdf",
    "ray",
)
ERRORS = (
    "AttributeError(\"module 'numpy' has no attribute 'row_stack'\")",
    "ImportError('libcuml.so: cannot open shared object file')",
    "OSError('libcudart.so.12: cannot open shared object file')",
    "RuntimeError('no CUDA-capable device is detected')",
)
KILLS = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoded") / "run"
    de.run("generated:10", out=path, steps=16, gen_length=16, block_length=16)
    return path


@pytest.fixture
def run(decoded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(decoded, tmp_path / "run"))


def analyze(run: Path, planted: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    """`diffengine analyze RUN` where `planted` packages lie before the installed ones."""
    folder = run.parent / "planted"
    shutil.rmtree(folder, ignore_errors=True)
    for name, source in planted.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(source)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", "diffengine", "analyze", str(run), *more]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_analyze_completes_beside_broken_packages(run: Path) -> None:
    """Every optional package at once, each with one of the four errors that such imports raise."""
    errors = {name: ERRORS[place % 4] for place, name in enumerate(OPTIONAL)}
    done = analyze(run, {name: f"raise {error}" for name, error in errors.items()})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "openTSNE is installed but does not import" in done.stderr
    analysis = load_analysis(run / "analysis.h5")
    kind = errors["openTSNE"].partition("(")[0]
    assert analysis.info["tsne"]["status"].startswith(
        f"insufficient: openTSNE does not import ({kind}"
    )
    assert any(kind in warning for warning in analysis.info["warnings"])
    assert (
        "to_come" not in analysis.info and (run / "comprehensive_dashboard.png").stat().st_size > 0
    )


def test_what_was_computed_outlives_a_kill(run: Path) -> None:
    """The t-SNE tool takes the process down, as a driver may: everything before it is in
    analysis.h5 and says so."""
    done = analyze(run, {"openTSNE": KILLS})
    assert done.returncode == -9
    half = load_analysis(run / "analysis.h5")
    assert half.info["to_come"] == ["the t-SNE map"]
    assert half.info["warnings"][0].startswith("unfinished: the t-SNE map had not been computed")
    assert "mi/ross" in half and "mi_beyond/logistic" in half and "tsne" not in half.info
    assert analyze(run, {}).returncode == 0
    whole = load_analysis(run / "analysis.h5")
    assert "to_come" not in whole.info and "unfinished" not in " ".join(whole.info["warnings"])
    assert whole.info["tsne"]["status"] == "ok"
    for name, quantity in half.quantities.items():
        np.testing.assert_array_equal(quantity.values, whole[name].values, err_msg=name)
    assert sorted(file.name for file in run.glob(".*.tmp")) == []


def test_each_slow_part_is_preceded_by_a_save(run: Path) -> None:
    from diffengine.analysis.analyze import analyze_run

    saved = []
    analysis = analyze_run(de.open_run(run), mutual_information=True, tsne=True, save=saved.append)
    to_come = ["mutual information", "information beyond the first step", "the t-SNE map"]
    assert [part.info["to_come"] for part in saved] == [to_come, to_come[1:], to_come[2:]]
    assert ["mi/ross" in part for part in saved] == [False, True, True]
    assert "to_come" not in analysis.info
    path = run / "half.h5"
    save_unfinished(saved[0], path)
    save_unfinished(saved[1], path)
    assert load_analysis(path).info["to_come"] == to_come[1:]
    save_analysis(analysis, path)
    save_unfinished(saved[2], path)
    assert (
        "to_come" not in load_analysis(path).info
    )  # half an analysis does not take the place of a whole one
    path.write_bytes(b"not an analysis")
    save_unfinished(saved[2], path)
    assert load_analysis(path).info["to_come"] == to_come[2:]
