"""What holds for every file: the import direction, 400 lines, a docstring, annotations, no print;
and clean imports.

The direction, from DESIGN: kernels import nothing of ours; the engine imports kernels, and its
command line reaches the analyses inside functions; analyses import kernels and what reads a run;
bench imports anything, nothing imports it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("kernels", "engine", "analysis", "bench")
PACKAGED = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
OWN = [*PACKAGED, *sorted((ROOT / ".src" / "diffengine").glob("*.py"))]
EVERY = [*OWN, *sorted((ROOT / "tests").rglob("*.py")), ROOT / "setup.py"]
MAY_PRINT = {"engine/cli/command_line.py", "engine/cli/progress.py"}
# What a part may import besides itself: (anywhere in its files, only inside functions of the
# command line).
ALLOWED = {
    "kernels": ((), ()),
    "engine": (("kernels",), ("analysis", "bench")),
    "analysis": (
        (
            "kernels",
            "engine.store",
            "engine.problems",
            "engine.answers.classes",
            "engine.answers.grade",
            "engine.branching.interventions",
            "engine.registry",
            "engine.optional_parts",
        ),
        (),
    ),
    "bench": (PARTS, ()),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def own_imports(path: Path, within: ast.AST) -> Iterator[str]:
    """The modules of ours that a piece of a file imports, as `engine.store.schema`, relative
    imports resolved."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(within):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join(
                (*(("diffengine",) if node.level else ()), *above, *filter(None, [node.module]))
            )
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            name.removeprefix("diffengine.") for name in names if name.startswith("diffengine.")
        )


def in_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def forbidden_imports(path: Path) -> list[str]:
    part, tree = path.relative_to(ROOT).parts[0], tree_of(path)
    anywhere, in_functions = ALLOWED[part]
    is_command_line = name_of(path).startswith("engine/cli/")
    everything = set(own_imports(path, tree))
    at_once = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef) and not in_type_checking(node)
    ]
    loaded_at_once = {name for statement in at_once for name in own_imports(path, statement)}
    permitted = (part, "__version__", *anywhere, *(in_functions if is_command_line else ()))
    late = {name for name in loaded_at_once if is_command_line and under(name, in_functions)}
    return sorted({name for name in everything if not under(name, permitted)} | late)


def offences(paths: list[Path], find: Callable[[Path], object]) -> dict[str, object]:
    """What `find` objects to, by file; the whole list at once, so that one run shows all there is
    to mend."""
    return {name_of(path): found for path in paths if (found := find(path))}


def test_import_direction():
    assert len(PACKAGED) > 20
    assert offences(PACKAGED, forbidden_imports) == {}


@pytest.mark.parametrize(
    "name, code, found",
    [
        ("kernels/x.py", "from ..engine import cli", ["engine.cli"]),
        ("kernels/x.py", "from .gumbel import g\nimport torch", []),
        ("engine/x.py", "def f():\n    from ..analysis import cka", ["analysis.cka"]),
        ("engine/cli/command_line.py", "def f():\n    from ...analysis.cka import cka", []),
        ("engine/cli/command_line.py", "from ...analysis.cka import cka", ["analysis.cka.cka"]),
        ("engine/store/x.py", "from ...bench import speed", ["bench.speed"]),
        ("engine/store/x.py", "import diffengine.analysis", ["analysis"]),
        (
            "analysis/x.py",
            "from ..engine.store import open_run\nfrom ..engine.problems import Problem",
            [],
        ),
        ("analysis/plots/x.py", "from ...engine.runner import run", ["engine.runner.run"]),
        ("analysis/x.py", "from ..engine import models", ["engine.models"]),
        ("bench/x.py", "from ..engine.runner import run", []),
    ],
)
def test_the_check_of_imports_sees_what_it_should(tmp_path, monkeypatch, name, code, found):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert forbidden_imports(path) == found


def test_at_most_400_lines():
    def surplus(path: Path) -> int:
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 400)

    assert offences(EVERY, surplus) == {}


def test_every_file_opens_with_a_docstring():
    assert offences(EVERY, lambda path: not ast.get_docstring(tree_of(path))) == {}


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name == "__init__"
        ):
            # Triton's compiler gives annotations its own meaning.
            if not any(ast.unparse(one).startswith("triton.jit") for one in node.decorator_list):
                yield node


def unannotated(path: Path) -> list[str]:
    bare = []
    for function in public_functions(tree_of(path).body):
        arguments = function.args
        every = [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]
        missing = [
            one.arg
            for one in every
            if one and one.annotation is None and one.arg not in ("self", "cls")
        ]
        bare += [f"{function.name}({one})" for one in missing]
        bare += [f"{function.name} -> ?"] if function.returns is None else []
    return bare


def test_public_functions_are_annotated():
    assert offences(OWN, unannotated) == {}


def prints(path: Path) -> list[str]:
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]


def test_no_print_outside_the_console():
    assert offences([path for path in OWN if name_of(path) not in MAY_PRINT], prints) == {}


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_path_that_the_documents_name_exists(page):
    named = re.findall(
        r"`((?:engine|kernels|analysis|bench|tests|docs|\.src)/[^`<>\s]*)`",
        (ROOT / page).read_text(),
    )
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "module",
    [f"engine.{one}" for one in ("problems.read", "answers.grade", "answers.span", "store", "cli")],
)
def test_imports_without_torch_or_other_weights(module):
    code = (
        f"import diffengine, diffengine.{module}, sys; "
        "print(sorted({'torch', 'transformers', 'matplotlib', 'xarray', 'pandas'} & "
        "set(sys.modules)))"
    )
    assert run_from_root("-c", code) == "[]"


def test_the_package_offers_these_names_and_no_others():
    import diffengine

    assert diffengine.__all__ == [
        "branch",
        "load_model",
        "open_run",
        "read_problems",
        "run",
        "sweep",
    ]
    assert all(
        callable(getattr(diffengine, name)) and name in dir(diffengine)
        for name in diffengine.__all__
    )
    with pytest.raises(AttributeError, match="it offers branch, load_model"):
        _ = diffengine.runs


def test_our_kernels_never_stand_in_for_the_package_of_that_name(tmp_path):
    """Where the distribution `kernels` is installed, transformers imports it, and must not find our
    folder instead."""
    planted = tmp_path / "kernels-0.99.0.dist-info"
    planted.mkdir()
    (planted / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.99.0\n")
    code = (
        f"import runpy, sys; sys.path.append({str(tmp_path)!r}); sys.argv = ['diffengine', "
        "'--help']\n"
        "try: runpy.run_module('diffengine', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as over: assert not over.code, over.code\n"
        "from transformers import LlamaForCausalLM\n"
        "assert 'kernels' not in sys.modules, sys.modules['kernels']\n"
        "print('imported', LlamaForCausalLM.__name__)"
    )
    assert run_from_root("-c", code).endswith("imported LlamaForCausalLM")


def run_from_root(*arguments: str) -> str:
    """What a fresh interpreter says, started in the root of the checkout, which is the hardest
    place to start from."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
