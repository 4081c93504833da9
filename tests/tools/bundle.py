"""Takes new bundled weights into the catalog, after the files have been copied into weights/.

    python -m tests.tools.bundle

checks that the three files belong together and fit what may be published, and writes weights/catalog.json: sizes,
SHA-256, and what each is for, by what the generator's file says that it knows.
"""

from __future__ import annotations

import json
from pathlib import Path

from dualenc_core import load_encoder, load_generator
from dualenc_core.checkpoints import catalog
from dualenc_core.errors import CheckpointError
from dualenc_core.files import read_text, write_text
from dualenc_core.generator import PanoHead

# Of all bundled weights together, in bytes.
MOST = 60_000_000
ALIASES = ("demo", "demo-e1", "demo-e2")


def roles(generator: PanoHead) -> dict[str, str]:
    """What each bundled file is for, by alias."""
    kind, data = ("people", "synthetic people") if "traits" in generator.provenance else ("heads", "procedural heads")
    trained = f"trained by this repository on {data}"
    return {
        "demo": f"small generator of {kind}, {trained}",
        "demo-e1": f"Encoder 1 (fidelity) for the demo generator, {trained}",
        "demo-e2": f"Encoder 2 (realism of occluded parts) for the demo generator, {trained}",
    }


def check(generator: PanoHead, size: int) -> None:
    """Raise CheckpointError unless the bundled encoders were trained for the generator and all are small enough."""
    for alias in ALIASES[1:]:
        if (made_for := load_encoder(alias).config.generator) != generator.fingerprint:
            raise CheckpointError(
                f"{alias} was trained for generator {made_for}, but demo is {generator.fingerprint}; copy all three "
                "files of one training"
            )
    if size > MOST:
        raise CheckpointError(f"the bundled weights have {size:,} bytes, expected at most {MOST:,}")


def bundled_size() -> int:
    """Bytes of all bundled files."""
    found = catalog.status()
    return sum(row.path.stat().st_size for row in found if row.entry.bundled and row.path and row.path.is_file())


def write_roles(path: Path, texts: dict[str, str]) -> None:
    """Into the catalog, by alias."""
    content = json.loads(read_text(path))
    for entry in content["entries"]:
        entry["role"] = texts.get(entry.get("alias"), entry["role"])
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    generator = load_generator("demo")
    check(generator, bundled_size())
    write_roles(catalog.catalog_path(), roles(generator))
    changed = catalog.update()
    print(f"changed: {', '.join(changed) or 'nothing'}; all bundled weights: {bundled_size() / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
