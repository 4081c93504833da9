"""The words of the nodes: tooltips, help pages, translations.

python tests/nodes/test_words.py --write    writes locales/en from the node classes, and says what to translate anew
python tests/nodes/test_words.py --table    nodes × (tooltips, help, locales, workflows) as Markdown
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "nodes" / "web" / "docs"
LOCALES = ROOT / "locales"
FILES = ("nodeDefs.json", "main.json")
TRANSLATIONS = ("zh",)
# What ComfyUI's own files call the widget that it adds below a seed.
AFTER_GENERATE = {"en": "control after generate", "zh": "生成后控制"}
# Names stay as they are in every language.
NAMES = set(
    "DualEnc PanoHead ComfyUI ControlNet ArcFace LPIPS PSNR SSIM PTI W L2 dB GLB PLY z "
    "JSON SPZ models dualenc output safetensors pkl rrggbb".split()
)


def inputs(cls: type) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every input by name, in the order in which ComfyUI shows them."""
    return {name: entry for group in cls.INPUT_TYPES().values() for name, entry in group.items()}


def kind(declared: Any) -> str:
    return "COMBO" if isinstance(declared, list) else declared


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Texts of a nested dictionary with their dotted paths."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}" if path else key)


def load(language: str, file: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / file).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------- English


def english(pack: ModuleType) -> dict[str, dict[str, Any]]:
    """The English locale files, as the node classes and their tooltips say them."""
    nodes, categories, types = {}, set(), set()
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        words = {}
        for name, (declared, options) in inputs(cls).items():
            words[name] = {"name": name, "tooltip": options["tooltip"]}
            if options.get("control_after_generate"):
                words["control_after_generate"] = {"name": AFTER_GENERATE["en"]}
            types.add(kind(declared))
        nodes[node] = {
            "display_name": pack.NODE_DISPLAY_NAME_MAPPINGS[node],
            "description": cls.DESCRIPTION,
            "inputs": words,
            "outputs": {
                str(i): {"name": name, "tooltip": tooltip}
                for i, (name, tooltip) in enumerate(zip(cls.RETURN_NAMES, cls.OUTPUT_TOOLTIPS, strict=True))
            },
        }
        categories.update(cls.CATEGORY.split("/"))
        types.update(cls.RETURN_TYPES)
    own = sorted(name for name in types if name.startswith("DUALENC_"))
    main = {
        "nodeCategories": {name: name for name in sorted(categories)},
        "dataTypes": {name: name for name in own},
    }
    return {"nodeDefs.json": nodes, "main.json": main}


def write(pack: ModuleType) -> None:
    """Write locales/en and name every text whose translation must be looked at."""
    for file, content in english(pack).items():
        path = LOCALES / "en" / file
        before = dict(leaves(json.loads(path.read_text(encoding="utf-8")))) if path.exists() else {}
        after = dict(leaves(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                print(f"{file}: {key}: {before.get(key, '(new)')!r} → {after.get(key, '(gone)')!r}")


# ---------------------------------------------------------------------------------------------------------- the classes


def test_every_node_says_what_it_is(pack) -> None:
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        assert node.startswith("DualEnc"), node
        assert pack.NODE_DISPLAY_NAME_MAPPINGS[node].startswith("DualEnc "), node
        assert cls.CATEGORY.startswith("DualEnc/"), node
        assert sentence(cls.DESCRIPTION), node
        assert cls.SEARCH_ALIASES and all(alias == alias.strip() != "" for alias in cls.SEARCH_ALIASES), node
        assert callable(getattr(cls, cls.FUNCTION)), node


def test_every_output_has_a_name_and_a_tooltip(pack) -> None:
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        assert len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES) == len(cls.OUTPUT_TOOLTIPS), node
        assert len(set(cls.RETURN_NAMES)) == len(cls.RETURN_NAMES), node
        # ComfyUI takes a name that equals the type for a missing one.
        assert not set(cls.RETURN_NAMES) & set(cls.RETURN_TYPES), node
        assert all(sentence(tooltip) for tooltip in cls.OUTPUT_TOOLTIPS), node


def test_every_input_has_a_tooltip(pack) -> None:
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        for name, (_, options) in inputs(cls).items():
            assert sentence(options.get("tooltip", "")), f"{node}.{name}"


def sentence(text: str) -> bool:
    return len(text) > 5 and text == text.strip() and text.endswith((".", ")"))


def test_number_widgets_are_whole(pack) -> None:
    """A FLOAT without step and round behaves differently from frontend to frontend."""
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        for name, (declared, options) in inputs(cls).items():
            where = f"{node}.{name}"
            if declared == "FLOAT":
                assert {"default", "min", "max", "step", "round"} <= options.keys(), where
                assert 0 < options["round"] <= options["step"], where
            if declared in ("FLOAT", "INT"):
                assert options["min"] <= options["default"] <= options["max"], where
            if isinstance(declared, list):
                assert declared and options.get("default", declared[0]) in declared, where
            assert (name == "seed") == bool(options.get("control_after_generate")), where


def test_optional_inputs_come_last(pack) -> None:
    """Saved workflows keep widget values by position, so new ones may only be added at the end."""
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        groups = list(cls.INPUT_TYPES())
        assert groups in (["required"], ["required", "optional"]), node


# ----------------------------------------------------------------------------------------------------------- help pages


def page(node: str) -> str:
    return (DOCS / f"{node}.md").read_text(encoding="utf-8")


def section(node: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page(node), re.MULTILINE | re.DOTALL)
    assert found, f"{node}.md has no section {title!r}"
    return found[1]


def rows(node: str, title: str) -> list[list[str]]:
    """Cells of a section's table, without its head."""
    lines = [line for line in section(node, title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_node_has_a_page_and_every_page_a_node(pack) -> None:
    assert {path.stem for path in DOCS.glob("*.md")} == pack.NODE_CLASS_MAPPINGS.keys()
    for node, name in pack.NODE_DISPLAY_NAME_MAPPINGS.items():
        assert page(node).startswith(f"# {name}\n"), node
        for title in ("Inputs", "Outputs", "What goes wrong", "Tips"):
            assert section(node, title).strip(), f"{node}: {title}"


def test_pages_list_every_input_and_output_with_its_type(pack) -> None:
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        declared = [(f"`{name}`", kind(entry)) for name, (entry, _) in inputs(cls).items()]
        assert [(row[0], row[-1]) for row in rows(node, "Inputs")] == declared, node
        returned = [(f"`{name}`", typed) for name, typed in zip(cls.RETURN_NAMES, cls.RETURN_TYPES, strict=True)]
        assert [(row[0], row[-1]) for row in rows(node, "Outputs")] == returned, node
        for row in (*rows(node, "Inputs"), *rows(node, "Outputs")):
            assert len(row[1]) > 5, f"{node}: {row[0]}"


def test_tables_have_no_ragged_rows(pack) -> None:
    for node in pack.NODE_CLASS_MAPPINGS:
        for title, width in (("Inputs", 4), ("Outputs", 3), ("What goes wrong", 3)):
            assert [row for row in rows(node, title) if len(row) != width] == [], f"{node}: {title}"


def test_pictures_of_the_pages_exist_and_are_small(pack) -> None:
    """Frontends put the address of the docs folder before a relative link, whatever the language."""
    from PIL import Image

    linked = set()
    for node in pack.NODE_CLASS_MAPPINGS:
        links = re.findall(r"!\[([^\]]+)\]\(([^)\s]+)\)", page(node))
        assert links, f"{node}.md shows no picture"
        for _, target in links:
            assert re.fullmatch(r"pictures/\w+\.jpg", target), f"{node}: {target}"
            linked.add(DOCS / target)
    assert linked == set((DOCS / "pictures").iterdir())
    for path in linked:
        assert path.stat().st_size < 40_000, path.name
        with Image.open(path) as image:
            assert image.format == "JPEG" and image.width <= 640, path.name
    assert sum(path.stat().st_size for path in linked) < 30_000 * len(pack.NODE_CLASS_MAPPINGS)


def test_pages_link_only_to_pictures(pack) -> None:
    """The older frontends do not resolve relative links of text."""
    for node in pack.NODE_CLASS_MAPPINGS:
        assert re.findall(r"(?<!!)\[[^\]]*\]\((?!https://)", page(node)) == [], node


def test_pages_name_the_values_of_combos(pack) -> None:
    """All of them, and no others; files depend on the machine, so of these only the bundled ones."""
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        for name, *texts, _ in rows(node, "Inputs"):
            declared = inputs(cls)[name.strip("`")][0]
            quoted = set(re.findall(r"`([^`]+)`", " ".join(texts)))
            if not isinstance(declared, list):
                continue
            if name == "`file`":
                quoted = {text for text in quoted if text != "models/dualenc" and not text.endswith(".safetensors")}
                assert quoted <= set(declared), node
            else:
                assert quoted == set(declared), f"{node}.{name}"


def test_messages_that_pages_quote_are_said_by_the_code(pack) -> None:
    """A quoted symptom is a message of the code, word by word; … stands for what changes."""
    known = messages()
    quotes = {
        (node, quote)
        for node in pack.NODE_CLASS_MAPPINGS
        for row in rows(node, "What goes wrong")
        for quote in re.findall(r"`([^`]+)`", row[0])
        if " " in quote
    }
    assert len(quotes) > 40
    unknown = [(node, quote) for node, quote in sorted(quotes) if not any(quote in text for text in known)]
    assert unknown == []


@cache
def messages() -> frozenset[str]:
    """Every text in the sources of nodes and library, with … for the inserted values."""
    found = set()
    for path in (*(ROOT / "nodes").glob("*.py"), *(ROOT / "dualenc_core").rglob("*.py")):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in item.values)
                found.add("".join(parts))
            elif isinstance(item, ast.Constant) and isinstance(item.value, str):
                found.add(item.value)
    return frozenset(found)


# ----------------------------------------------------------------------------------------------------------- languages


def test_the_english_locale_follows_from_the_nodes(pack) -> None:
    for file, content in english(pack).items():
        assert load("en", file) == content, f"run: python tests/nodes/test_words.py --write ({file})"


@pytest.mark.parametrize("language", ("en", *TRANSLATIONS))
def test_locale_files_are_those_that_comfyui_reads(language) -> None:
    assert {path.name for path in (LOCALES / language).iterdir()} == set(FILES)
    for file in FILES:
        for key, text in leaves(load(language, file)):
            assert isinstance(text, str) and text == text.strip() != "", f"{language}/{file}: {key}"
            # vue-i18n reads these as placeholders, links and plurals.
            assert not re.search(r"[{}@|]", text), f"{language}/{file}: {key}"
            assert len(key.split(".")) <= 5, key


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_translations_have_every_text(language) -> None:
    for file in FILES:
        ours, theirs = dict(leaves(load("en", file))), dict(leaves(load(language, file)))
        assert list(theirs) == list(ours), f"{language}/{file}"


def test_chinese_is_chinese(pack) -> None:
    # Frontends show the values of combos untranslated, so tooltips name them.
    combos = [
        declared
        for cls in pack.NODE_CLASS_MAPPINGS.values()
        for name, (declared, _) in inputs(cls).items()
        if isinstance(declared, list) and name != "file"
    ]
    allowed = NAMES | {word for values in combos for value in values for word in value.split()}
    for file in FILES:
        for key, text in leaves(load("zh", file)):
            latin = re.findall(r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9]*", text)
            assert set(latin) <= allowed, f"{key}: {sorted(set(latin) - allowed)}"
            chinese = re.search(r"[\u4e00-\u9fff]", text)
            assert chinese or set(latin) <= NAMES and not key.endswith(("tooltip", "description")), f"{key}: {text}"
            if key.endswith(("tooltip", "description")):
                assert text.endswith(("。", "）")), f"{key}: {text}"
                assert not re.search(r"[\u4e00-\u9fff] ?[,;:!?]", text), f"{key} has half-width punctuation: {text}"


def test_chinese_keeps_the_numbers() -> None:
    """A changed default or unit in the English text must reach the translation."""
    ours, theirs = dict(leaves(load("en", "nodeDefs.json"))), dict(leaves(load("zh", "nodeDefs.json")))
    for key, text in ours.items():
        numbers = [n.rstrip(".") for n in re.findall(r"(?<![A-Za-z])\d+[\d.]*", text)]
        translated = [n.rstrip(".") for n in re.findall(r"(?<![A-Za-z])\d+[\d.]*", theirs[key])]
        assert set(numbers) <= set(translated), f"{key}: {text!r} and {theirs[key]!r}"


# ------------------------------------------------------------------------------------------------------------ overview


def table(pack: ModuleType) -> str:
    """Markdown: which node has tooltips, a page and translations, and which workflows use it."""
    used: dict[str, list[str]] = {}
    for path in sorted((ROOT / "workflows" / "api").glob("*.json")):
        for item in json.loads(path.read_text(encoding="utf-8")).values():
            used.setdefault(item["class_type"], []).append(path.stem.split("_")[0].split("-")[0])
    texts = {language: dict(leaves(load(language, "nodeDefs.json"))) for language in ("en", *TRANSLATIONS)}
    lines = ["| node | tooltips in + out | help page | locales | workflows |", "|---|---|---|---|---|"]
    for node, cls in pack.NODE_CLASS_MAPPINGS.items():
        entries = inputs(cls)
        tips = sum(bool(options.get("tooltip")) for _, options in entries.values())
        counts = f"{tips}/{len(entries)} + {len(cls.OUTPUT_TOOLTIPS)}/{len(cls.RETURN_TYPES)}"
        pictures = len(re.findall(r"!\[", page(node))) if (DOCS / f"{node}.md").exists() else None
        help_page = "no" if pictures is None else f"yes, {pictures} picture"
        expected = sum(key.startswith(f"{node}.") for key in texts["en"])
        locales = ", ".join(
            f"{language} {sum(key.startswith(f'{node}.') for key in found)}/{expected}"
            for language, found in texts.items()
        )
        flows = ", ".join(dict.fromkeys(used.get(node, []))) or "none"
        lines.append(f"| {node} | {counts} | {help_page} | {locales} | {flows} |")
    return "\n".join(lines)


def test_the_table_has_every_node(pack) -> None:
    text = table(pack)
    assert all(f"| {node} |" in text for node in pack.NODE_CLASS_MAPPINGS)
    assert "| no |" not in text


def main() -> None:
    from pictures import load_pack

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write locales/en")
    parser.add_argument("--table", action="store_true", help="print the overview")
    options = parser.parse_args()
    pack = load_pack()
    if options.write:
        write(pack)
    if options.table:
        print(table(pack))


if __name__ == "__main__":
    main()
