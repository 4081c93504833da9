"""Nodes in folders as people have them: models that are not there, servers that share an output, marks in prefixes."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import sys
import types
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runtime(pack):
    return sys.modules[pack.__name__ + ".nodes.runtime"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Without ComfyUI the folders input, output and temp are in the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -------------------------------------------------------------------------------------------------------------- models


class Comfy(types.ModuleType):
    """As much of ComfyUI's folder_paths as the pack uses, on folders that may be broken."""

    def __init__(self, root: Path) -> None:
        super().__init__("folder_paths")
        self.models_dir, self.root = str(root / "models"), root
        self.folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}

    def add_model_folder_path(self, key: str, path: str, is_default: bool = False) -> None:
        self.folder_names_and_paths.setdefault(key, ([], set()))[0].append(path)

    def get_folder_paths(self, key: str) -> list[str]:
        return self.folder_names_and_paths[key][0]

    def get_filename_list(self, key: str) -> list[str]:
        paths = [Path(home) for home in self.get_folder_paths(key)]
        return [name for home in paths if home.is_dir() for name in sorted(os.listdir(home))]

    def get_full_path(self, key: str, name: str) -> str | None:
        found = [path for home in self.get_folder_paths(key) if (path := Path(home, name)).is_file()]
        return str(found[0]) if found else None

    def get_directory_by_type(self, kind: str) -> str:
        return str(self.root / kind)

    def get_save_image_path(self, prefix: str, output: str, width: int = 0, height: int = 0):
        folder = Path(output, prefix).parent
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder), Path(prefix).name, 1, str(Path(prefix).parent), prefix


def dangling(comfy, monkeypatch) -> None:
    os.symlink("/mnt/nas/not-mounted", Path(comfy.models_dir, "dualenc"))


def a_file(comfy, monkeypatch) -> None:
    Path(comfy.models_dir, "dualenc").write_text("mine")


def read_only(comfy, monkeypatch) -> None:
    make = Path.mkdir

    def refuse(path, *args, **kwargs):
        if path.name == "dualenc":
            raise OSError(30, "Read-only file system", str(path))
        return make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)


def no_permission(comfy, monkeypatch) -> None:
    scan = os.scandir

    def refuse(path="."):
        if str(path).endswith("dualenc"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


def drive_lost(comfy, monkeypatch) -> None:
    def fail(key):
        raise OSError(116, "Stale file handle", comfy.models_dir)

    comfy.get_filename_list = fail


@pytest.fixture
def started(tmp_path, monkeypatch, request):
    """The pack, imported as ComfyUI would; parametrised by what is wrong with models/dualenc."""
    comfy = Comfy(tmp_path)
    Path(comfy.models_dir).mkdir()
    request.param(comfy, monkeypatch)
    monkeypatch.setitem(sys.modules, "folder_paths", comfy)
    name = f"dualenc_pack_with_{request.param.__name__}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    for loaded in [key for key in sys.modules if key.split(".")[0] == name]:
        del sys.modules[loaded]


BROKEN = {
    dangling: "is a link to /mnt/nas/not-mounted",
    a_file: "is a file",
    read_only: "Read-only file system",
    no_permission: "Permission denied",
    drive_lost: "Stale file handle",
}


@pytest.mark.parametrize(("started", "words"), BROKEN.items(), indirect=["started"])
def test_a_models_folder_that_cannot_be_used_costs_no_node(pack, started, words, caplog) -> None:
    assert started.NODE_CLASS_MAPPINGS.keys() == pack.NODE_CLASS_MAPPINGS.keys()
    for node in started.NODE_CLASS_MAPPINGS.values():
        node.INPUT_TYPES()
    for name in ("DualEncLoadPanoHead", "DualEncLoadEncoder"):
        load = started.NODE_CLASS_MAPPINGS[name]
        files = load.INPUT_TYPES()["required"]["file"][0]
        assert "(bundled)" in files[0] and words in files[-1], "the reason stands where one looks for files"
        assert load.VALIDATE_INPUTS(files[0]) is True
        assert words in load.VALIDATE_INPUTS("panohead.safetensors") and "bundled" in load.VALIDATE_INPUTS(files[-1])
        assert load().run(files[0])[0].module is not None


@pytest.mark.parametrize("broken", BROKEN)
def test_the_reason_is_logged_once(broken, tmp_path, monkeypatch, caplog, pack) -> None:
    comfy = Comfy(tmp_path)
    Path(comfy.models_dir).mkdir()
    broken(comfy, monkeypatch)
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    monkeypatch.setattr(runtime, "comfy", lambda name: comfy if name == "folder_paths" else None)
    runtime._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            runtime.register_folder()
    assert len([line for line in caplog.messages if BROKEN[broken] in line]) == 1 and len(caplog.messages) == 1


def test_a_folder_that_is_there_is_no_problem(tmp_path, monkeypatch, caplog, pack, runtime) -> None:
    comfy = Comfy(tmp_path)
    monkeypatch.setattr(runtime, "comfy", lambda name: comfy if name == "folder_paths" else None)
    with caplog.at_level(logging.WARNING):
        runtime.register_folder()
    Path(comfy.models_dir, "dualenc", "mine.safetensors").write_bytes(b"broken")
    assert runtime.models_problem() is None and not caplog.messages
    files = pack.NODE_CLASS_MAPPINGS["DualEncLoadPanoHead"].INPUT_TYPES()["required"]["file"][0]
    assert files == ["demo (bundled)", "mine.safetensors"]


# -------------------------------------------------------------------------------------------------------------- saving


def save_many(folder: str, count: int, seed: int) -> None:
    """What a server does: save heads by the node, each with a mark of its own."""
    os.chdir(folder)
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    spec.loader.exec_module(module)
    node = module.NODE_CLASS_MAPPINGS["DualEncSaveTriplane"]
    head = sys.modules["pack.dualenc_core"].Triplane(torch.zeros(1, 3, 12, 16, 16), torch.zeros(1, 4, 8))
    for i in range(count):
        node().run(head.replace(meta={"mark": seed * 1_000_000 + i}), "shared/head", False)


def test_two_servers_on_one_folder_lose_no_head(tmp_path, dc) -> None:
    context = multiprocessing.get_context("spawn")
    servers = [context.Process(target=save_many, args=(str(tmp_path), 15, seed)) for seed in (1, 2)]
    for server in servers:
        server.start()
    for server in servers:
        server.join(240)
    assert [server.exitcode for server in servers] == [0, 0]
    saved = list((tmp_path / "output" / "shared").iterdir())
    marks = {dc.Triplane.load(path).meta["mark"] for path in saved}
    assert len(saved) == len(marks) == 30


def test_what_cannot_be_saved_leaves_no_name_taken(node, head, tmp_path) -> None:
    broken = head.replace(planes=head.planes * float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        node("DualEncSaveTriplane", triplane=broken)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert node("DualEncSaveTriplane", triplane=head)[0] == "dualenc/head_00001_.safetensors [output]"


def test_files_that_are_not_finished_are_not_offered(pack, runtime, tmp_path) -> None:
    output = tmp_path / "output"
    (output / ".dualenc-12345678").mkdir(parents=True)
    for name in (".dualenc-12345678/head.safetensors", ".dualenc-abcdef01", "empty.safetensors", "good.safetensors"):
        (output / name).write_bytes(b"" if name.startswith("empty") else b"x")
    (output / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert runtime.stored_files(".safetensors") == ["good.safetensors [output]"]
    with runtime.new_output("a", ".safetensors") as (path, _):
        assert path.exists() and runtime.stored_files(".safetensors") == ["good.safetensors [output]"]


def test_previews_of_two_servers_get_names_of_their_own(runtime) -> None:
    assert len({runtime.new_preview("seen")[0].name for _ in range(5)}) == 5


@pytest.mark.parametrize("prefix", ["../x", "/etc/x", "a/../../x"])
def test_prefixes_stay_in_the_output_folder(node, head, prefix, tmp_path) -> None:
    with pytest.raises(ValueError, match="output folder"):
        node("DualEncSaveTriplane", triplane=head, filename_prefix=prefix)


# ------------------------------------------------------------------------------------------------------------ prefixes

NOW = datetime(2026, 3, 7, 4, 5, 9)
PROMPT = {
    "7": {"class_type": "KSampler", "inputs": {"seed": 42, "cfg": 7.0, "scale": 1.5, "on": True, "model": ["3", 0]}},
    "8": {"class_type": "KSampler", "inputs": {"seed": 43}, "_meta": {"title": "Second one"}},
    "2:9": {"class_type": "CLIPTextEncode", "inputs": {"text": 'a "head"/bust: 1\n'}, "_meta": {"title": "Prompt"}},
}
WORKFLOW = {
    "nodes": [{"id": 8, "properties": {"Node name for S&R": "Renamed"}}, {"id": 1}],
    "definitions": {"subgraphs": [{"nodes": [{"id": 9, "properties": {"Node name for S&R": "Words"}}]}]},
}


@pytest.fixture
def expand(pack):
    return lambda text, **more: sys.modules[pack.__name__ + ".nodes.prefix"].expand(text, NOW, **more)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("head", "head"),
        ("%date:yyyy-MM-dd%/h", "2026-03-07/h"),
        ("%date:yy.M.d_hhmmss%", "26.3.7_040509"),
        ("%date:h:m:s%", "4_5_9"),
        ("%year%%month%%day%-%hour%%minute%%second%", "20260307-040509"),
        ("%width%x%height%", "640x480"),
        ("%KSampler.seed%", "42"),
        ("%KSampler.cfg%-%KSampler.scale%-%KSampler.on%", "7-1.5-true"),
        ("%Renamed.seed%", "43"),
        ("%Second one.seed%", "43"),
        ("%Words.text%", "a _head__bust_ 1_"),
        ("%Prompt.text%", "a _head__bust_ 1_"),
        ("%KSampler.model%", "%KSampler.model%"),
        ("%Nobody.seed%", "%Nobody.seed%"),
        ("100%", "100%"),
        ("a\\b", "a/b"),
    ],
)
def test_marks_mean_what_they_mean_in_core_nodes(expand, prefix, expected) -> None:
    assert expand(prefix, size=(640, 480), prompt=PROMPT, workflow=WORKFLOW) == expected


def test_without_a_workflow_nodes_are_known_by_type_and_title(expand) -> None:
    assert expand("%CLIPTextEncode.text%|%Second one.seed%", prompt=PROMPT) == "a _head__bust_ 1_|43"
    assert expand("%KSampler.seed%") == "%KSampler.seed%"


def test_a_whole_prompt_as_a_name_is_cut(node, head, monkeypatch, runtime) -> None:
    words = {"1": {"class_type": "Text", "inputs": {"text": "日本のとても長い頭" * 40}}}
    monkeypatch.setattr(runtime, "_running", lambda: (words, {}))
    found = [node("DualEncSaveTriplane", triplane=head, filename_prefix="%Text.text%")[0] for _ in range(2)]
    assert found[0].endswith("_00001_.safetensors [output]") and found[1].endswith("_00002_.safetensors [output]")


def test_the_running_prompt_is_that_of_the_queue(runtime, tmp_path, monkeypatch, node, head) -> None:
    item = (0, "id", {"4": {"class_type": "DualEncSample", "inputs": {"seed": 17}}}, {"extra_pnginfo": {}}, [])
    queue = types.SimpleNamespace(currently_running={0: item})
    server = types.SimpleNamespace(
        PromptServer=types.SimpleNamespace(instance=types.SimpleNamespace(prompt_queue=queue))
    )
    modules = {"folder_paths": Comfy(tmp_path), "server": server}
    monkeypatch.setattr(runtime, "comfy", modules.get)
    name = node("DualEncSaveTriplane", triplane=head, filename_prefix="s%DualEncSample.seed%/%date:yyyy%")[0]
    assert name == f"s17/{datetime.now().year}_00001_.safetensors [output]"
    queue.currently_running[1] = item
    assert node("DualEncSaveTriplane", triplane=head, filename_prefix="%DualEncSample.seed%x")[0].startswith("%DualEnc")


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.fixture
def mesh(runtime, dc):
    """A textured tetrahedron, as DualEnc Mesh hands it on."""
    pytest.importorskip("trimesh")
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    looks = {"colours": corners.clamp(0, 1), "uv": corners[:, :2].clamp(0, 1), "texture": torch.rand(3, 8, 8)}
    return runtime.mesh(dc.export.Mesh(corners, faces, torch.nn.functional.normalize(corners, dim=1), **looks))


def test_a_mesh_is_saved_as_obj_with_all_its_files(node, mesh, tmp_path) -> None:
    (tmp_path / "output" / "dualenc").mkdir(parents=True)
    (tmp_path / "output" / "dualenc" / "head_00001_.mtl").write_text("mine")
    answer = node.full("DualEncSaveMesh", mesh=mesh, format="obj")
    assert answer["result"][0] == "dualenc/head_00002_.obj"
    names = [line["filename"] for key in ("3d", "files") for line in answer["ui"][key]]
    assert names == ["head_00002_.obj", "head_00002_.mtl", "head_00002_-texture.png"]
    assert all((tmp_path / "output" / "dualenc" / name).stat().st_size for name in names)
    assert (tmp_path / "output" / "dualenc" / "head_00001_.mtl").read_text() == "mine"
    assert node("DualEncSaveMesh", mesh=mesh, format="stl")[0] == "dualenc/head_00001_.stl"


def clear(count: int) -> torch.Tensor:
    """IMAGE [count,48,64,4] of which the left half is covered."""
    image = torch.rand(count, 48, 64, 4, generator=torch.Generator().manual_seed(0))
    image[..., 3] = (torch.arange(64) < 32).float()
    return image


def test_frames_are_saved_as_a_sequence_with_their_transparency(node, tmp_path) -> None:
    answer = node.full("DualEncSaveVideo", image=clear(3), format="png", filename_prefix="t/%width%x%height%")
    names = [f"64x48_00001_-{i:04}.png" for i in range(3)]
    assert answer["result"] == (f"t/{names[0]}",) and [line["filename"] for line in answer["ui"]["images"]] == names
    assert sorted(path.name for path in (tmp_path / "output" / "t").iterdir()) == names
    pixels = np.asarray(Image.open(tmp_path / "output" / "t" / names[2]))
    assert pixels.shape == (48, 64, 4) and (pixels[:, :32, 3] == 255).all() and (pixels[:, 32:, 3] == 0).all()
    assert np.abs(pixels[..., :3] / 255 - clear(3)[2, ..., :3].numpy()).max() < 0.51 / 255


@pytest.mark.parametrize("format", ["mp4", "webm", "mov", "webp", "gif"])
def test_frames_are_saved_as_videos(node, format, tmp_path) -> None:
    pytest.importorskip("av")
    frames, mask = clear(3)[..., :3], torch.zeros(1, 24, 32)
    answer = node.full("DualEncSaveVideo", image=frames, format=format, **({} if format == "mp4" else {"alpha": mask}))
    (line,) = answer["ui"]["files"]
    assert line["filename"] == f"turn_00001_.{format}"
    assert (tmp_path / "output" / "dualenc" / line["filename"]).stat().st_size > 100
    assert ("images" in answer["ui"]) == (format != "mov"), "browsers do not play ProRes"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image": clear(2), "format": "mp4"}, "mp4 knows no transparency"),
        ({"image": clear(2), "format": "webm", "alpha": torch.ones(3, 4, 4)}, "3 masks for 2 frames"),
        ({"image": clear(0), "format": "gif"}, "is empty"),
    ],
)
def test_frames_that_cannot_be_saved_are_refused(node, given, words, tmp_path) -> None:
    with pytest.raises(ValueError, match=words):
        node("DualEncSaveVideo", **given)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
