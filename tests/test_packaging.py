"""The repository as others meet it: ComfyUI's loader, the registry's scanner, pip, a reader of the README."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it on 3.10

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IGNORED = [
    line.strip()
    for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]


def published() -> list[Path]:
    """Files of the repository that .comfyignore lets through, relative to the root."""
    skipped = {"out", "runs", "__pycache__", "build", "node_modules"}
    files = []
    for folder, folders, names in os.walk(ROOT):
        relative = Path(folder).relative_to(ROOT)
        folders[:] = [f for f in folders if not f.startswith(".") and f not in skipped and not f.endswith(".egg-info")]
        # A virtual environment, whatever its name.
        folders[:] = [f for f in folders if not (Path(folder) / f / "pyvenv.cfg").exists()]
        files += [relative / name for name in names]
    return [path for path in files if not any(_matches(path, pattern) for pattern in IGNORED)]


def _matches(path: Path, pattern: str) -> bool:
    """As git reads a pattern, and comfy-cli with it: one without a slash before its end holds in every folder."""
    places = [parent.as_posix() for parent in path.parents if parent.name]
    if not pattern.endswith("/"):
        places.append(path.as_posix())
    if "/" not in pattern[:-1]:
        places = [place.rpartition("/")[2] for place in places]
    return any(fnmatch.fnmatchcase(place, pattern.strip("/")) for place in places)


PUBLISHED = published()
SOURCES = [path for path in PUBLISHED if path.suffix == ".py"]


# --------------------------------------------------------------------------------------------------------- dependencies


def requirements(path: str) -> list[str]:
    lines = (line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_requirements_are_the_dependencies_and_leave_torch_alone() -> None:
    assert requirements("requirements.txt") == PROJECT["dependencies"]
    assert not {"torch", "torchvision", "torchaudio"} & {name_of(r) for r in PROJECT["dependencies"]}


def test_everything_that_the_makefile_installs_is_pinned() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tools = re.search(r"^TOOLS := (.*)$", makefile, re.MULTILINE)[1].split()
    assert sorted(tools) == sorted(PROJECT["optional-dependencies"]["test"])
    torch = re.search(r"^TORCH := (\S+)$", makefile, re.MULTILINE)[1]
    assert torch == "torch==2.13.0" and torch in requirements("constraints.txt")
    pinned = {name_of(r) for r in requirements("constraints.txt") if "==" in r}
    assert {name_of(r) for r in [*PROJECT["dependencies"], *tools]} <= pinned


def test_pins_do_not_contradict_each_other() -> None:
    seen: dict[str, list[str]] = {}
    for line in requirements("constraints.txt"):
        seen.setdefault(name_of(line), []).append(line)
    for lines in seen.values():
        markers = sorted(line.partition("; ")[2] for line in lines)
        assert len(lines) == 1 or markers == ['python_version < "3.11"', 'python_version >= "3.11"'], lines


# What a package is imported as, where it is not its name.
_IMPORTED_AS = {
    "pillow": "PIL", "opencv-python": "cv2", "scikit-image": "skimage", "pyyaml": "yaml", "pytorch-fid": "pytorch_fid",
"fast-simplification": "fast_simplification", "pillow-heif": "pillow_heif",
}  # fmt: skip
# ComfyUI and what it brings; the last is for people who have it.
_OF_COMFYUI = set("torch comfy comfy_api comfy_extras folder_paths nodes server aiohttp tensorboard".split())


def imported(path: Path) -> set[str]:
    """Packages that a file imports, or asks for with `errors.require` and `find_spec`."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("require", "find_spec")) and node.args:
            found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    return {name.split(".")[0] for name in found}


def test_every_dependency_is_used_and_every_used_one_is_declared() -> None:
    used = set().union(*map(imported, SOURCES)) - set(sys.stdlib_module_names) - _OF_COMFYUI - {"dualenc_core"}
    extra = [r for key, extra in PROJECT["optional-dependencies"].items() if key != "test" for r in extra]
    always, extras = (
        {_IMPORTED_AS.get(name_of(r), name_of(r)) for r in given} for given in (PROJECT["dependencies"], extra)
    )
    assert always - used == set()
    assert used - always - extras == set()


def test_the_version_is_said_once() -> None:
    import dualenc_core

    assert dualenc_core.__version__ == PROJECT["version"]


# --------------------------------------------------------------------------------------------------------------- import


def test_importing_the_library_loads_no_heavy_package() -> None:
    heavy = ["torch", "numpy", "PIL", "cv2", "kornia", "lpips", "torchvision", "av", "scipy", "skimage", "matplotlib"]
    code = f"import sys, dualenc_core; print([name for name in {heavy} if name in sys.modules])"
    assert _python(code, ROOT) == "[]"


def test_public_names_are_there() -> None:
    import dualenc_core

    for name in dualenc_core.__all__:
        assert getattr(dualenc_core, name) is not None, name
    assert set(dualenc_core.__all__) <= set(dir(dualenc_core))
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = dualenc_core.no_such_thing


def test_no_optional_package_is_imported_at_module_level() -> None:
    optional = {
        "cv2",
        "kornia",
        "lpips",
        "matplotlib",
        "av",
        "skimage",
        "scipy",
        "trimesh",
        "accelerate",
        "tqdm",
        "ray",
    } | {
        "fast_simplification",
        "pytorch_fid",
        "yaml",
        "tensorboard",
    }
    found = []
    for path in SOURCES:
        for node in _module_level(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{path}: {name}" for name in names if name.split(".")[0] in optional]
    assert found == []


def _module_level(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0):
            yield node


def test_type_checkers_are_told_that_the_library_has_types() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert Path("dualenc_core/py.typed") in PUBLISHED
    assert pyproject["tool"]["setuptools"]["package-data"] == {"dualenc_core": ["py.typed"]}


def load_as_comfyui_does(folder: Path, name: str = "some-pack"):
    """A package from a folder of any name, with nothing on sys.path."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return module
    finally:
        for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[key]


@pytest.fixture
def pack(tmp_path) -> Path:
    """The published Python files in a folder whose name is no Python name."""
    folder = tmp_path / "ComfyUI-DualEnc-1.0"
    for path in SOURCES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return folder


def test_the_pack_loads_from_a_folder_with_a_dash(pack) -> None:
    module = load_as_comfyui_does(pack)
    assert isinstance(module.NODE_CLASS_MAPPINGS, dict)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert all(node_id.startswith("DualEnc") for node_id in module.NODE_CLASS_MAPPINGS)
    assert module.WEB_DIRECTORY == "./nodes/web"


def test_broken_nodes_do_not_stop_comfyui(pack, caplog) -> None:
    (pack / "nodes" / "__init__.py").write_text("raise RuntimeError('a broken node')", encoding="utf-8")
    module = load_as_comfyui_does(pack)
    assert module.NODE_CLASS_MAPPINGS == {} and module.NODE_DISPLAY_NAME_MAPPINGS == {}
    assert "a broken node" in caplog.text


def test_the_published_files_are_enough_for_the_command_line(pack) -> None:
    assert _python("from dualenc_core.cli import main; print(main(['--version']))", pack).endswith("0")
    help_of_all = "from dualenc_core.cli import VERBS, main; print({main([v, '--help']) for v in VERBS})"
    assert _python(help_of_all, pack).endswith("{0}")


def _python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ------------------------------------------------------------------------------------------------------------- scanners

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {
    "subprocess", "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "ctypes", "pip", "pty",
    "socket", "ssl", "http", "urllib", "ftplib", "smtplib", "telnetlib", "requests", "httpx", "aiohttp", "websocket",
    "huggingface_hub", "gdown", "torch.hub",
}  # fmt: skip
FORBIDDEN_ATTRIBUTES = {"os.system", "os.popen", "os.execv", "os.spawnv", "torch.hub", "sys.path"}


def findings(path: Path) -> list[str]:
    """What a registry reviewer would stop at."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if _forbidden(a.name)]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _forbidden(node.module or ""):
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            if name in FORBIDDEN_CALLS or (name == "torch.load" and not safe):
                found.append(name)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
            found.append(ast.unparse(node))
    return found


def _forbidden(module: str) -> bool:
    return module in FORBIDDEN_MODULES or module.split(".")[0] in FORBIDDEN_MODULES


def test_nothing_published_executes_or_downloads() -> None:
    assert {str(path): found for path in SOURCES if (found := findings(path))} == {}


def test_the_scanner_finds_what_it_looks_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for source in (
        "eval('1')",
        "import pickle",
        "from urllib import request",
        "import os\nos.system('x')",
        "torch.load(f)",
    ):
        (tmp_path / "a.py").write_text(source, encoding="utf-8")
        assert findings(Path("a.py")), source
    (tmp_path / "a.py").write_text("model.eval()\ntorch.load(f, weights_only=True)", encoding="utf-8")
    assert findings(Path("a.py")) == []


def test_the_registry_metadata_is_complete() -> None:
    comfy = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["comfy"]
    assert {"PublisherId", "DisplayName", "Icon", "requires-comfyui"} <= comfy.keys()
    assert "comfyui" not in PROJECT["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])


def test_tests_and_build_files_stay_out_of_the_archive() -> None:
    assert not [p for p in PUBLISHED if p.parts[0] in ("tests", ".ci")]
    # Documents are small, and README links to them.
    assert {Path("docs/concepts.md"), Path("nodes/web/docs/DualEncRender.md")} <= set(PUBLISHED)
    names = {p.as_posix() for p in PUBLISHED}
    assert {"__init__.py", "nodes/__init__.py", "dualenc_core/__init__.py", "requirements.txt", "LICENSE"} <= names
    assert "Makefile" not in names


# -------------------------------------------------------------------------------------------------------------- reading


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text and len(text) > 11_000
    assert PROJECT["license"]["text"] == "Apache-2.0"


DOCUMENTS = [path for path in PUBLISHED if path.suffix == ".md"]


def links(text: str) -> list[str]:
    """What Markdown and HTML in it link to or show, without addresses on the web and places in the same document."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.as_posix())
def test_links_and_pictures_of_published_documents_are_published(path) -> None:
    known = {p.as_posix() for p in PUBLISHED} | {p.as_posix() for file in PUBLISHED for p in file.parents}
    found = links((ROOT / path).read_text(encoding="utf-8"))
    assert [target for target in found if os.path.normpath(path.parent / target) not in known] == []


def test_the_readme_has_pictures_that_are_small() -> None:
    pictures = [ROOT / link for link in links((ROOT / "README.md").read_text(encoding="utf-8")) if "preview" in link]
    assert pictures and sum(picture.stat().st_size for picture in pictures) < 500_000


def test_every_command_of_the_readme_is_understood() -> None:
    """The parser accepts each line; nothing runs."""
    from dualenc_core.cli import build_parser

    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^\s*python -m dualenc_core (.+)$", text, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = command.split("#")[0].split()
        build_parser(words).parse_args(words)


def test_the_catalog_is_json() -> None:
    catalog = json.loads((ROOT / "weights" / "catalog.json").read_text(encoding="utf-8"))
    assert {"demo", "demo-e1", "demo-e2"} <= {entry.get("alias") for entry in catalog["entries"]}
