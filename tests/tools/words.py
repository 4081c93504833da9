"""The words of the nodes: the English locale from the node classes, and an overview of what each node has.

python -m tests.tools.words --write    writes locales/en, and says what to translate anew
python -m tests.tools.words --table    nodes × (tooltips, help, locales, workflows) as Markdown
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


def page(node: str) -> str:
    return (DOCS / f"{node}.md").read_text(encoding="utf-8")


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


def main() -> None:
    from .help_pictures import load_pack

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
