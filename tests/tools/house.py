"""The house in figures: rooms, files, lines, lengths, circles, imports that go up, docstrings, what is published.

    python tests/tools/house.py [FOLDER of a checkout]

`tests/test_layers.py` guards the last two. Imports are read from the syntax tree, wherever in a file they stand.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = "dualenc_core"
# From the ground up. A room may import rooms of lower floors only; rooms of one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    (CORE, "errors", "choices"),
    ("devices", "files", "images", "least_squares", "networks", "volumes"),
    ("camera",),
    ("point_weight",),
    ("triplane",),
    ("mattes", "checkpoints", "rendering"),
    ("generator", "procedural", "people", "metrics"),
    ("colours",),
    ("encoders", "portrait", "export"),
    ("inversion",),
    ("editing",),
    ("research.data",),
    ("research.evaluation",),
    ("research.training", "research"),
    ("commands",),
    ("cli",),
    ("__main__",),
)


def modules(root: Path) -> dict[str, Path]:
    """Name → file of everything in the core."""
    found = {}
    for path in sorted((root / CORE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> dict[str, set[str]]:
    """Module → modules of the core that it imports, at its head, in functions or for types only.

    ``from . import x`` is an import of the file x where there is one, else of the package.
    """
    known = modules(root)
    return {name: set(_imported(name, path, known)) - {name} for name, path in known.items()}


def _imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{source}.{alias.name}" in known:
                    yield f"{source}.{alias.name}"
                elif source in known:
                    yield source


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that import each other, in one step or many."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            start = stack.index(name)
            group = stack[start:]
            del stack[start:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def room(module: str) -> str:
    """The longest name of FLOORS that holds a module."""
    parts = [p for p in module.split(".")[1:]] or [CORE]
    names = {name for floor in FLOORS for name in floor}
    return next((n for n in (".".join(parts[:i]) for i in range(len(parts), 0, -1)) if n in names), parts[0])


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports that do not go down, and files that stand on no floor."""
    floor = {name: height for height, floor in enumerate(FLOORS) for name in floor}
    wrong = [f"{name} stands on no floor" for name in graph if room(name) not in floor]
    for name, others in graph.items():
        for other in sorted(others):
            here, there = room(name), room(other)
            if here != there and floor.get(here, 0) <= floor.get(there, 0):
                wrong.append(f"{name} imports {other}")
    return wrong


def lengths(root: Path, paths: Iterable[Path]) -> tuple[list[int], list[int]]:
    """Lines of files, and of functions."""
    files, functions = [], []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        files.append(text.count("\n"))
        nodes = ast.walk(ast.parse(text))
        functions += [n.end_lineno - n.lineno + 1 for n in nodes if isinstance(n, ast.FunctionDef)]
    return files, functions


def public_names(root: Path) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, bool]]:
    """Functions, classes and methods of the library (research and commands left out) without an underscore, and
    whether arrays go in or out. What a network's ``forward`` takes stands at its class."""
    for name, path in modules(root).items():
        if room(name).startswith("research") or room(name) in ("commands", "cli", "__main__"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
        for node in (n for parent in (tree, *classes) for n in parent.body):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith(("_", "forward")):
                yield node, bool(_ARRAY.search(" ".join(map(ast.unparse, _annotations(node)))))


_ARRAY = re.compile(r"\b(Tensor|ndarray)\b")
# As in [N,3,S,S], [count,3] and [25], but not the range [-1,1].
_SHAPE = re.compile(r"\[\d+\]|\[[^\[\]]*[A-Za-z][^\[\]]*\]")


def _annotations(node: ast.FunctionDef | ast.ClassDef) -> Iterator[ast.expr]:
    if isinstance(node, ast.ClassDef):
        yield from (n.annotation for n in node.body if isinstance(n, ast.AnnAssign))
        return
    yield from (a.annotation for a in (*node.args.args, *node.args.kwonlyargs) if a.annotation is not None)
    if node.returns is not None:
        yield node.returns


def archive(root: Path) -> tuple[int, int]:
    """Files and bytes of the zip that the registry makes: what git tracks and .comfyignore lets through."""

    def listed(*options: str) -> set[str]:
        command = ["git", "-C", str(root), "ls-files", "-z", *options]
        return set(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\0")) - {""}

    names = sorted(listed() - listed("-c", "-i", f"--exclude-from={root / '.comfyignore'}"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.write(root / name, name)
    return len(names), content.tell()


def _area(path: Path) -> str:
    return "/".join(path.parts[: 3 if path.parts[1] == "research" else 2][: len(path.parts) - 1])


def _figures(name: str, values: list[int]) -> str:
    high = statistics.quantiles(values, n=20)[-1]
    return f"{name}: median {statistics.median(values):.0f}, 95 % {high:.0f}, longest {max(values)}"


def main(root: Path) -> None:
    """Print the figures of a checkout."""
    folders = (CORE, "nodes", "tests")
    paths = [p.relative_to(root) for folder in folders for p in sorted((root / folder).rglob("*.py"))]
    for folder in folders:
        mine = [p for p in paths if p.parts[0] == folder]
        files, functions = lengths(root, (root / p for p in mine))
        print(f"{folder}: {len(mine)} files, {sum(files)} lines")
        print(f"  {_figures('lines of files', files)}\n  {_figures('lines of functions', functions)}")
    count, lines = Counter(), Counter()
    for path in paths:
        count[_area(path)] += 1
        lines[_area(path)] += (root / path).read_text(encoding="utf-8").count("\n")
    print("\n".join(f"{name:<34} {count[name]:4d} files {lines[name]:6d} lines" for name in sorted(count)))
    graph = imports(root)
    names = [(ast.get_docstring(node) or "", array) for node, array in public_names(root)]
    arrays = [text for text, array in names if array]
    print(f"public names of the library: {len(names)}, {sum(bool(text) for text, _ in names)} with a docstring", end="")
    print(f", {sum('>>>' in text for text, _ in names)} with an example")
    print(f"  {len(arrays)} of them have arrays, {sum(bool(_SHAPE.search(text)) for text in arrays)} say their shapes")
    files, size = archive(root)
    print(f"published: {files} files, a zip of {size / 1e6:.1f} MB")
    print(f"rooms: {len({room(name) for name in graph})} on {len(FLOORS)} floors")
    for title, found in (("circles", circles(graph)), ("upward imports", upward(graph))):
        print(f"{title}: {len(found)}", *found, sep="\n  ")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)
