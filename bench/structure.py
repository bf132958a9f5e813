"""How our code reads, in numbers: length, density and packing of every product file.

`python -m diffengine.bench.structure [folder ...]` prints one line a folder; without folders, ours.
The same program measured other people's code for docs/architecture.md, so that the figures can be
compared.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PARTS = ("engine", "kernels", "analysis", "bench")
LONG_LINE = 100

NOT_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)


class FileFigures(NamedTuple):
    """One file. `function_lines` and `parameters` have one number for each function."""

    lines: int
    code_lines: int
    tokens: int
    comments: int
    docstring_lines: int
    function_lines: list[int]
    parameters: list[int]
    packed_assignments: int
    comprehensions: int
    ternaries: int
    long_lines: int


class Figures(NamedTuple):
    """All files of a folder. Per 1000 code lines: `packed_assignments`, `comprehensions`,
    `ternaries`."""

    files: int
    lines: int
    file_median: int
    file_p90: int
    file_longest: int
    function_median: int
    function_p90: int
    function_longest: int
    functions_over_50: int
    parameters_p90: int
    over_5_parameters: int
    comments_per_100: float
    docstring_per_100: float
    tokens_per_line: float
    packed_assignments: float
    comprehensions: float
    ternaries: float
    long_lines: int


def measure_file(text: str) -> FileFigures:
    """The figures of one file's text. Raises SyntaxError for text that is not Python."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    docstrings = set(_docstring_lines(nodes))
    tokens = 0
    comments = 0
    code_lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        comments += token.type == tokenize.COMMENT
        if token.type not in NOT_CODE and token.start[0] not in docstrings:
            tokens += 1
            code_lines.update(range(token.start[0], token.end[0] + 1))
    lines = text.splitlines()
    return FileFigures(
        lines=len(lines),
        code_lines=len(code_lines),
        tokens=tokens,
        comments=comments,
        docstring_lines=len(docstrings),
        function_lines=[(n.end_lineno or n.lineno) - n.lineno + 1 for n in functions],
        parameters=[_parameters(n) for n in functions],
        packed_assignments=sum(map(_is_packed, nodes)),
        comprehensions=sum(isinstance(n, ast.comprehension) for n in nodes),
        ternaries=sum(isinstance(n, ast.IfExp) for n in nodes),
        long_lines=sum(len(lines[i - 1]) > LONG_LINE for i in code_lines),
    )


def measure(paths: Iterable[Path]) -> Figures:
    """The figures of all files at `paths`, of which there must be one at least."""
    files = [measure_file(path.read_text(encoding="utf-8")) for path in paths]
    code = max(1, sum(f.code_lines for f in files))
    lengths = [f.lines for f in files]
    functions = [n for f in files for n in f.function_lines]
    parameters = [n for f in files for n in f.parameters]
    return Figures(
        files=len(files),
        lines=sum(lengths),
        file_median=_at_share(lengths, 0.5),
        file_p90=_at_share(lengths, 0.9),
        file_longest=max(lengths),
        function_median=_at_share(functions, 0.5),
        function_p90=_at_share(functions, 0.9),
        function_longest=max(functions, default=0),
        functions_over_50=sum(n > 50 for n in functions),
        parameters_p90=_at_share(parameters, 0.9),
        over_5_parameters=sum(n > 5 for n in parameters),
        comments_per_100=100 * sum(f.comments for f in files) / code,
        docstring_per_100=100 * sum(f.docstring_lines for f in files) / code,
        tokens_per_line=sum(f.tokens for f in files) / code,
        packed_assignments=1000 * sum(f.packed_assignments for f in files) / code,
        comprehensions=1000 * sum(f.comprehensions for f in files) / code,
        ternaries=1000 * sum(f.ternaries for f in files) / code,
        long_lines=sum(f.long_lines for f in files),
    )


def _docstring_lines(nodes: list[ast.AST]) -> Iterator[int]:
    """Lines of strings that stand alone: docstrings, and the sentences under a constant."""
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    return len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)


def _is_packed(node: ast.AST) -> bool:
    """`a, b = x, y`: two thoughts on one line."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(isinstance(target, ast.Tuple) for target in node.targets)
    )


def _at_share(numbers: list[int], share: float) -> int:
    """The number that `share` of them do not exceed."""
    return sorted(numbers)[int(share * (len(numbers) - 1))] if numbers else 0


def main(folders: list[str]) -> None:
    """Print one block a folder."""
    root = Path(__file__).resolve().parents[1]
    asked = [Path(folder) for folder in folders] or [root / part for part in PARTS]
    groups = {folder.name: sorted(folder.rglob("*.py")) for folder in asked}
    if len(groups) > 1:
        groups["all"] = [path for paths in groups.values() for path in paths]
    for name, paths in groups.items():
        figures = measure(paths)._asdict()
        values = (
            f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
            for key, value in figures.items()
        )
        sys.stdout.write(f"{name}: {', '.join(values)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
