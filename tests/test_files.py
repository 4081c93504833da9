"""Writing, reading and naming files, on disks and with names as people have them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dualenc_core.errors import DualEncError
from dualenc_core.files import (
    atomic_path,
    check_target,
    is_temporary,
    make_folder,
    portable_name,
    read_text,
    reserve,
    reserved,
    write_text,
)

ROOT = Path(__file__).resolve().parents[1]


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("name", ["n" * 251 + ".png", "日" * 85, "x." + "y" * 253])
def test_a_name_as_long_as_a_disk_allows_is_written(tmp_path, name) -> None:
    with atomic_path(tmp_path / name) as temporary:
        assert len(os.fsencode(temporary.name)) < 20 and temporary.suffix == "" and is_temporary(temporary)
        temporary.write_bytes(b"done")
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == b"done"


def _write_own(path: Path) -> None:
    """As safetensors does: a private file of the writer's own takes the place of the given one."""
    own = path.with_name("own")
    own.touch(0o600)
    own.replace(path)


@pytest.mark.parametrize(
    "write",
    [lambda path: path.write_bytes(b""), _write_own, lambda path: save_file({"a": torch.zeros(1)}, path)],
    ids=["bytes", "file of its own", "safetensors"],
)
def test_results_are_as_readable_as_any_file(tmp_path, write) -> None:
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "ours") as temporary:
        write(temporary)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_keeps_what_was_there(tmp_path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]


WRITERS = {
    "a.safetensors": "Triplane(torch.rand(1, 3, 12, 64, 64), torch.rand(1, 4, 8)).save(path)",
    "weights.safetensors": "save_weights(path, WeightsFile('arcface', {'a': torch.rand(99999)}, {}, {}))",
    "a.png": "save_png(torch.rand(3, 256, 256), path)",
    "a.gif": "save_video(torch.rand(4, 3, 256, 256), path)",
    "a.mp4": "save_video(torch.rand(9, 3, 512, 512) * 2 - 1, path, crf=0)",
    "a.webm": "save_video(torch.rand(9, 4, 256, 256) * 2 - 1, path, crf=0)",
    "a.txt": "write_text(path, 'x' * 999999)",
}
FULL = """
import resource, sys, torch
from pathlib import Path
from dualenc_core.checkpoints.store import WeightsFile, save_weights
from dualenc_core.export import save_png, save_video
from dualenc_core.files import write_text
from dualenc_core.triplane import Triplane
resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
folder = Path(sys.argv[1])
for name, statement in {writers!r}.items():
    path = folder / name
    try:
        exec(statement)
    except OSError as error:
        print(name, error.errno, str(path) in str(error), len(str(error).splitlines()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
def test_a_disk_that_takes_no_more_is_one_line_for_every_kind_of_file(tmp_path) -> None:
    """A limit on the size of files stands for a disk that is full: the same call fails, halfway."""
    program = [sys.executable, "-c", FULL.format(writers=WRITERS), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} {errno.EFBIG} True 1" for name in WRITERS]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_the_system_reports_late_is_reported(tmp_path, monkeypatch) -> None:
    def full(_) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="quota exceeded.*head"):
        write_text(tmp_path / "head", "text")
    assert list(tmp_path.iterdir()) == []


def test_links_to_nothing_and_files_in_the_way_are_named(tmp_path) -> None:
    (tmp_path / "share").symlink_to(tmp_path / "not-mounted")
    (tmp_path / "file").write_text("mine")
    for path, words in (
        (tmp_path / "share" / "a", "share is a link to .*not-mounted"),
        (tmp_path / "file" / "a", "file"),
    ):
        for refuse in (make_folder, lambda path: check_target(path / "x"), lambda path: write_text(path / "x", "")):
            with pytest.raises(DualEncError, match=words):
                refuse(path)
    assert {path.name for path in tmp_path.iterdir()} == {"share", "file"}


def test_a_target_is_checked_without_leaving_anything(tmp_path) -> None:
    assert check_target(tmp_path / "deep" / "er" / "a.glb") == tmp_path / "deep" / "er" / "a.glb"
    with pytest.raises(DualEncError, match="is a folder"):
        check_target(tmp_path)
    with pytest.raises(OSError, match="too long"):
        check_target(tmp_path / ("n" * 256))
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ reserving


def take(folder: str, count: int) -> None:
    for i in range(count):
        with reserved(Path(folder, f"head_{n:05}") for n in range(1, 999)) as path:
            write_text(path, f"{os.getpid()} {i}")


def test_two_processes_never_get_the_same_name(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=take, args=(str(tmp_path), 40)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(texts) == 80 and len(set(texts.values())) == 80 and max(texts) == "head_00080"


def test_threads_that_race_for_one_name_get_one_each(tmp_path) -> None:
    """A look whether a name is free, and taking it afterwards, would be caught here within a few of the rounds."""
    start = threading.Barrier(8)

    def race(number: int) -> Path:
        start.wait()
        return reserve(tmp_path / f"{number}_{n}" for n in range(99))

    with ThreadPoolExecutor(8) as pool:
        for number in range(60):
            names = list(pool.map(race, [number] * 8))
            assert len(set(names)) == 8, names


def test_a_name_is_free_again_when_writing_failed(tmp_path) -> None:
    with pytest.raises(ValueError, match="NaN"), reserved([tmp_path / "a"]):
        raise ValueError("NaN")
    assert list(tmp_path.iterdir()) == []
    with reserved([tmp_path / "a"]) as path:
        path.write_text("kept")
    with pytest.raises(DualEncError, match="taken"), reserved([tmp_path / "a"]):
        pass
    assert (tmp_path / "a").read_text() == "kept"


# --------------------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_is_read_in_the_encodings_that_editors_write(tmp_path, encoding) -> None:
    text = '{"Zoë": ["日本", 1]}\n'
    (tmp_path / "a.json").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read_text(tmp_path / "a.json") == text


def test_other_encodings_are_refused_with_what_to_do(tmp_path) -> None:
    (tmp_path / "a.yaml").write_bytes("Müller".encode("latin-1"))
    with pytest.raises(DualEncError, match=r"a\.yaml is not text in UTF-8 or UTF-16.*save it as UTF-8"):
        read_text(tmp_path / "a.yaml")


def test_names_that_are_no_text_come_back_from_json(tmp_path) -> None:
    import json

    name = os.fsdecode(b"caf\xe9.jpg")
    write_text(tmp_path / "a.json", json.dumps({name: "é"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {name: "é"}


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["a.jpg", "sub/Zoë 1.jpg", "日本.png", "%41.jpg", "a~1.jpg", ".hidden", "n" * 239])
def test_usual_names_stay(name) -> None:
    assert portable_name(name, 16) == name


def test_other_names_become_files_that_stay_apart(tmp_path) -> None:
    odd = [os.fsdecode(b"caf\xe9.jpg"), os.fsdecode(b"caf\xe8.jpg"), "a\\b.jpg", "a\nb.jpg", "..", ".", "", "/etc/x"]
    odd += ["../../x.jpg", "日" * 84 + ".jpg", "日" * 83 + ".jpg", "n" * 251 + ".jpg", "n" * 250 + ".jpg", "\ud800.jpg"]
    found = [portable_name(name, 16) for name in odd]
    assert len(set(found)) == len(odd)
    for name in found:
        parts = name.split("/")
        assert all(part and part.strip(".") and len(part.encode()) <= 255 for part in parts) and "\\" not in name
        path = tmp_path / f"{name}.safetensors"
        write_text(path, name)
        assert path.resolve().is_relative_to(tmp_path.resolve()) and read_text(path) == name
    assert found[0].startswith("caf%E9~") and found[0].endswith(".jpg")
