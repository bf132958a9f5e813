"""A package of somebody else adds a policy, a family, a metric, an estimator and a panel, without a
line of ours touched; docs/extending.md walks through it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from diffengine.analysis.results import load_analysis
from diffengine.engine.models.bundled import BUNDLED
from diffengine.engine.store import open_run

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "plugin" / "diffengine_example"
NAME = "diffengine-example"
ENTRY_POINTS = """
[diffengine.policies]
entropy-first = diffengine_example.policy:EntropyPolicy
[diffengine.families]
ExampleModel = diffengine_example.family:EXAMPLE
[diffengine.metrics]
margin/tightest = diffengine_example.metric:TIGHTEST
[diffengine.estimators]
linear = diffengine_example.estimator:LINEAR
[diffengine.panels]
tightest = diffengine_example.panel:PANEL
"""
SHORT = ["--steps", "12", "--gen-length", "12"]


def wheel(folder: Path, *, name: str = NAME, entry_points: str = ENTRY_POINTS) -> Path:
    """The package as pip installs it: a wheel is a zip file of modules and five lines of metadata."""
    stem = f"{name.replace('-', '_')}-1.2"
    path = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    files = {f"{name.replace('-', '_')}/{f.name}": f.read_text() for f in SOURCE.glob("*.py")}
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = entry_points
    listed = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    files[f"{info}/RECORD"] = listed
    with zipfile.ZipFile(path, "w") as archive:
        for name_in_wheel, text in files.items():
            archive.writestr(name_in_wheel, text)
    return path


def install(package: Path, site: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(package)], check=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package."""
    folder = tmp_path_factory.mktemp("plugin")
    install(wheel(folder), folder / "site")
    return folder / "site"


def diffengine(site: Path, *arguments: str, code: int = 0) -> str:
    """What a command says where the package is installed."""
    path = os.pathsep.join([str(site), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "diffengine", *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def stored(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run decoded by the package's policy, and analysed."""
    out = tmp_path_factory.mktemp("plugin") / "run"
    how = ["--policy", "entropy-first", *SHORT]
    diffengine(site, "run", "--problems", "generated:120", "--out", str(out), *how)
    diffengine(site, "analyze", str(out), "--no-tsne")
    return out


def test_list_says_what_is_there_and_where_it_comes_from(site: Path) -> None:
    tables = json.loads(diffengine(site, "list", "--json"))
    ours = json.loads(diffengine(site / "nothing", "list", "--json"))
    plugins = tables.pop("plugins")
    assert ours.pop("plugins") == []
    added = {name for kind in tables for name in tables[kind] if name not in ours[kind]}
    assert {"entropy-first", "ExampleModel", "margin/tightest", "linear", "tightest"} <= added
    assert {plugin["package"] for plugin in plugins} == {NAME}
    assert {plugin["version"] for plugin in plugins} == {"1.2"}
    assert f"{NAME} 1.2" in diffengine(site, "list")


def test_the_policy_commits_what_has_the_least_entropy(stored: Path) -> None:
    run = open_run(stored)
    entropy = run["entropy"][...]
    committed = run["committed"][...] == 1
    assert len(run) == 120
    for problem in range(len(run)):
        masked = np.ones(entropy.shape[2], bool)
        for step in range(entropy.shape[1]):
            surest = np.where(masked, entropy[problem, step], np.inf).argmin()
            assert committed[problem, step].nonzero()[0].tolist() == [surest]
            masked[surest] = False


def test_the_run_says_whose_policy_it_was(stored: Path, site: Path) -> None:
    info = json.loads((stored / "run.json").read_text())
    assert info["config"]["policy"] == "entropy-first"
    assert info["config"]["score"] == "entropy"
    assert info["plugins"] == [
        {
            "kind": "policy",
            "name": "entropy-first",
            "target": "diffengine_example.policy:EntropyPolicy",
            "package": NAME,
            "version": "1.2",
        }
    ]
    diffengine(site, "verify", str(stored))


def test_metric_estimator_and_panel_are_part_of_the_analysis(stored: Path) -> None:
    analysis = load_analysis(stored / "analysis.h5")
    run = open_run(stored)
    margin = np.asarray(run["margin"][...], np.float64)
    committed = run["committed"][...] == 1
    masked = committed[:, ::-1].cumsum(1)[:, ::-1] > 0  # still to be committed at this step
    expected = np.where(masked, margin, np.inf).min(axis=2).mean(axis=0)
    np.testing.assert_allclose(analysis["margin/tightest"].values, expected, rtol=1e-6)
    assert analysis["margin/tightest"].units == "nats"
    assert analysis["mi/linear"].status == "ok"
    assert np.isfinite(analysis["mi/linear"].values).any()
    named = {(p["kind"], p["name"], p["version"]) for p in analysis.info["plugins"]}
    assert {("metric", "margin/tightest", "1.2"), ("estimator", "linear", "1.2")} <= named
    assert "margin/tightest" in (stored / "analysis_summary.txt").read_text()


def test_the_panel_is_on_the_dashboard(stored: Path, site: Path, tmp_path: Path) -> None:
    """Our own panels leave room in their last row: a panel more either stands there or makes the
    picture taller."""
    picture = stored / "comprehensive_dashboard.png"
    alone = tmp_path / "run"
    shutil.copytree(stored, alone)
    diffengine(site / "nothing", "analyze", str(alone), "--no-tsne", "--no-mi")
    of_ours = _free_corner(alone / picture.name)
    assert len(of_ours) == 1, "ours fill the last row: compare the heights of the pictures instead"
    assert len(_free_corner(picture)) > 10


def test_without_the_package_the_run_still_opens_and_says_what_is_missing(
    stored: Path, site: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(stored, copy)
    diffengine(site / "nothing", "verify", str(copy))
    again = ["run", "--problems", "generated:120", "--out", str(copy), "--policy", "entropy-first"]
    said = diffengine(site / "nothing", *again, *SHORT, code=2)
    assert "no policy is called 'entropy-first'" in said


def test_options_of_the_policy_are_checked_before_anything_is_written(
    site: Path, tmp_path: Path
) -> None:
    run = ["run", "--problems", "samples", "--limit", "2", *SHORT, "--policy", "entropy-first"]
    for more, what in (
        (["--option", "score=luck"], "score is 'luck'; use one of entropy, margin"),
        (["--option", "scor=margin"], "Did you mean 'score'?"),
        (["--remasking", "random"], "remasking"),
    ):
        said = diffengine(site, *run, "--out", str(tmp_path / "r"), *more, code=2)
        assert what in said
        assert not (tmp_path / "r").exists()
    diffengine(site, *run, "--out", str(tmp_path / "r"), "--option", "score=margin")
    config = json.loads((tmp_path / "r" / "run.json").read_text())["config"]
    assert config["score"] == "margin"


def test_things_are_named_outright_too(site: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "r")
    policy = ["--policy", "diffengine_example.policy:EntropyPolicy"]
    diffengine(site, "run", "--problems", "samples", "--limit", "2", "--out", out, *policy, *SHORT)
    metric = "diffengine_example.metric:TIGHTEST"
    diffengine(site, "analyze", out, "--no-tsne", "--no-mi", "--metric", metric)
    analysis = load_analysis(tmp_path / "r" / "analysis.h5")
    assert np.array_equal(
        analysis[metric].values, analysis["margin/tightest"].values, equal_nan=True
    )


def test_a_checkpoint_of_the_packages_family_decodes(site: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    out = tmp_path / "run"
    what = ["--problems", "samples", "--limit", "2", "--model", str(checkpoint)]
    diffengine(site, "run", *what, "--out", str(out), *SHORT)
    info = json.loads((out / "run.json").read_text())
    assert info["model"]["architecture"] == "ExampleModel"
    assert [p["name"] for p in info["plugins"]] == ["ExampleModel"]
    said = diffengine(site / "nothing", "run", *what, "--out", str(tmp_path / "x"), code=1)
    assert "ExampleModel" in said


def write_checkpoint(folder: Path) -> Path:
    """A tiny random checkpoint of the family, with the bundled model's tokenizer."""
    folder.mkdir()
    bundled = json.loads((BUNDLED / "config.json").read_text())
    config = {
        "architectures": ["ExampleModel"],
        "vocab_size": bundled["vocab_size"],
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "mask_token_id": bundled["mask_token_id"],
        "eos_token_id": bundled["eos_token_id"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED / name, folder / name)
    kept = {k: v for k, v in config.items() if k not in ("architectures", "mask_token_id")}
    torch.manual_seed(0)
    network = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**kept))
    save_file(dict(network.state_dict()), folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("group", "entry", "command", "what"),
    [
        ("policies", "llada = diffengine_other.policy:X", ["list"], "two packages name a policy"),
        (
            "policies",
            "other = diffengine_other.gone:X",
            ["--policy", "other"],
            "cannot be imported",
        ),
        (
            "policies",
            "other = diffengine_other.policy:Gone",
            ["--policy", "other"],
            "has no 'Gone'",
        ),
        ("policies", "other = diffengine_other.metric:TIGHTEST", ["--policy", "other"], "expected"),
    ],
    ids=["taken name", "no module", "no attribute", "no policy"],
)
def test_a_package_that_is_wrong_is_one_sentence(
    tmp_path: Path, group: str, entry: str, command: list[str], what: str
) -> None:
    points = f"[diffengine.{group}]\n{entry}\n"
    install(wheel(tmp_path, name="diffengine-other", entry_points=points), tmp_path / "site")
    if command[0].startswith("--"):
        command = ["run", "--problems", "samples", "--out", str(tmp_path / "r"), *command]
    said = diffengine(tmp_path / "site", *command, code=2)
    assert what in said
    assert "diffengine-other" in said or "diffengine_other" in said or "other" in said
    assert not (tmp_path / "r").exists()


def test_extending_md_shows_the_package_as_it_is() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    shown = re.findall(r"<!-- (\w+\.py) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(shown) >= 3
    for name, code in shown:
        assert code in (SOURCE / name).read_text(), name


def _free_corner(picture: Path) -> set[bytes]:
    """The colours in the last tenth of a picture, right of its first column."""
    from matplotlib.image import imread

    image = (imread(picture)[..., :3] * 255).astype("uint8")
    height, width, _ = image.shape
    corner = image[-height // 10 :, width // 3 :].reshape(-1, 3)
    return {pixel.tobytes() for pixel in corner}
