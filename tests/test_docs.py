"""The documents: what the code cites is there, and what the documents link to is there too."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
# What a section, an equation and so on is called, and whether the name before it says in which document.
_NAME = r"(?P<name>[a-z][a-z_-]*)\.md"
_SECTIONS = r"§\d+(?:\.\d+)*(?:[-–]\d+(?:\.\d+)*)?(?:(?:,| and) §\d+(?:\.\d+)*(?:[-–]\d+(?:\.\d+)*)?)*"
_CITATION = re.compile(rf"(?:(?:{_NAME}|(?P<word>[A-Za-z]+)) )?(?P<sections>{_SECTIONS})|[(;] ?(?P<whole>[a-z]+)\.md\)")
_PAPER = re.compile(r"\b(?P<kind>Eq\.|Fig\.|Table) (?P<numbers>\d+(?:-\d+)?(?:, \d+)*)")
_HAZARD = re.compile(r"\bhazard (\d+)")


def sources() -> list[Path]:
    return sorted(p for folder in ("dualenc_core", "nodes", "tests") for p in (ROOT / folder).rglob("*.py"))


@cache
def sections(name: str) -> set[str]:
    """Numbers of the headings of a document of reference/."""
    text = (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^#{2,4} (\d+(?:\.\d+)*)\.? ", text, re.MULTILINE))


def citations(text: str) -> list[tuple[str, str]]:
    """(document, section) of everything that a source file cites; section "" = the document as a whole."""
    found = []
    named = "paper"
    text = re.sub(r"\s*\n\s*#?\s*", " ", text)
    for match in _CITATION.finditer(text):
        if match["whole"]:
            named = match["whole"]
            found.append((named, ""))
            continue
        if match["word"] == "README":
            continue
        name = match["name"] or ("paper" if match["word"] == "paper" else named)
        if match["name"]:
            named = name
        found += [(name, number) for part in re.split(r", | and ", match["sections"]) for number in span(part[1:])]
    return found


def span(text: str) -> list[str]:
    """ "2.1-2.3" → 2.1, 2.2, 2.3; "1-3" → 1, 2, 3; "4" → 4."""
    first, _, last = re.sub("–", "-", text).partition("-")
    if not last:
        return [first]
    prefix, dot, low = first.rpartition(".")
    assert last.rpartition(".")[0] == prefix, text
    return [f"{prefix}{dot}{n}" for n in range(int(low), int(last.rpartition(".")[2]) + 1)]


def unresolved(text: str) -> list[str]:
    wrong = []
    for name, section in citations(text):
        if not (REFERENCE / f"{name}.md").is_file():
            wrong.append(f"{name}.md")
        elif section and section not in sections(name):
            wrong.append(f"{name}.md §{section}")
    paper = (REFERENCE / "paper.md").read_text(encoding="utf-8")
    for match in _PAPER.finditer(text):
        numbers = [n for part in match["numbers"].split(", ") for n in span(part)]
        wrong += [f"{match['kind']} {n}" for n in numbers if not re.search(rf"{re.escape(match['kind'])} {n}\b", paper)]
    hazards = re.findall(r"\*\*hazard (\d+)\*\*", (REFERENCE / "panohead.md").read_text(encoding="utf-8"))
    return wrong + [f"hazard {n}" for n in _HAZARD.findall(text) if n not in hazards]


def test_every_citation_of_the_code_resolves() -> None:
    wrong = {str(p.relative_to(ROOT)): u for p in sources() if p != Path(__file__) and (u := unresolved(_read(p)))}
    assert wrong == {}


def test_every_document_is_cited() -> None:
    cited = {name for p in sources() if p != Path(__file__) for name, _ in citations(_read(p))}
    assert cited == {p.stem for p in REFERENCE.glob("*.md")} - {"README"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("(panohead.md §4)", []),
        ("(panohead.md §2.1-2.8) … (§2.13)", []),
        ("(encoders.md §1.1,\n    §1.7)", []),
        ("(paper §5.3, Fig. 10; editing.md §2.3, §3.3) … (§2.4)", []),
        ("(paper Eq. 6, 8, 9) and (paper Table 6) (§6.5 and hazard 6)", ["paper.md §6.5"]),
        ("(demo.md)", []),
        ("(nowhere.md)", ["nowhere.md"]),
        ("(nowhere.md §1)", ["nowhere.md"]),
        ("(panohead.md §2.1-2.99)", [f"panohead.md §2.{n}" for n in range(14, 100)]),
        ("(panohead.md §4) # and so on\n# (§44)", ["panohead.md §44"]),
        ("Eq. 1-3, Fig. 4, Fig. 99, Eq. 77", ["Fig. 99", "Eq. 77"]),
        ("hazard 6, hazard 16, hazard 61", ["hazard 61"]),
        ("writes report.md and `bench.md`; tests/golden (README §1)", []),
    ],
)
def test_the_search_finds_what_is_missing(text: str, wrong: list[str]) -> None:
    assert unresolved(text) == wrong


def test_every_link_of_the_documents_resolves() -> None:
    wrong = []
    for path in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", _read(path)):
            file, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (path.parent / file).resolve() if file else path
            if not there.exists() or (anchor and anchor not in _anchors(there)):
                wrong.append(f"{path.relative_to(ROOT)}: {target}")
    assert wrong == []


def test_every_file_that_the_documents_name_exists() -> None:
    named = {
        f"{page.name}: {path}"
        for page in DOCS.glob("*.md")
        for path in re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", _read(page))
        if path.split("/")[0] in ("dualenc_core", "nodes", "tests", "locales", "workflows", "weights", "docs")
        and not (ROOT / path).exists()
    }
    assert named == set()


def test_every_picture_of_the_documents_is_drawn_small_and_shown() -> None:
    pictures = {path.stem for path in (DOCS / "pictures").iterdir()}
    assert pictures == set(re.findall(r"\]\(pictures/([\w-]+)\.png\)", _read(DOCS / "concepts.md")))
    tree = ast.parse(_read(ROOT / "tests" / "tools" / "draw_concepts.py"))
    drawn = next(n.value for n in tree.body if isinstance(n, ast.AnnAssign) and n.target.id == "PICTURES")
    assert pictures == {key.value for key in drawn.keys}
    assert max(path.stat().st_size for path in (DOCS / "pictures").iterdir()) < 60_000


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _read(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
