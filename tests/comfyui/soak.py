"""Many prompts, interrupts and two servers on one folder: what a long day does to the pack in a real ComfyUI.

    python -m tests.comfyui.soak --prompts 500 --interrupts 50 [--minutes 70] [--shared 60] [--seed 0] [--only NAME …]

Queues the shipped workflows in random order, small and each time another, as many as the minutes allow; interrupts some
at a random moment; at the end two servers write into one output folder under one prefix. Every prompt has to end as it
should, every file has to be whole. Prints tables; exit code 1 and the reasons if something was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import safe_open

from .conftest import API, api_prompt
from .server import ROOT, Server, why_not

# 05 and 12 need files that only users have; 11 is minutes of optimisation.
LEFT_OUT = ("05_head_into_diffusion", "11_optimize_and_compare", "12_real_panohead")
NAMES = tuple(name for name in sorted(path.stem for path in API.glob("*.json")) if name not in LEFT_OUT)
PROMPT_SECONDS = 1200

# What is made small, by node class; a seed or an angle is drawn anew each time.
SMALL: dict[str, dict[str, Any]] = {
    "DualEncAnimate": {"seconds": 0.2},
    "DualEncOrbit": {"frames": 2},
    "DualEncTurntable": {"views": 4, "rows": 1, "size": 128},
    "DualEncRender": {"resolution": 32, "samples": 8},
    "DualEncMesh": {"resolution": 48},
    "DualEncSplat": {"count": 5000},
    "DecimateMesh": {"target_face_count": 2000},
    "RenderMesh": {"width": 128, "height": 128},
    "RenderSplat": {"width": 128, "height": 128},
}


def small(name: str, draw: random.Random) -> dict[str, Any]:
    """A shipped prompt with little work and something new in it."""
    prompt = api_prompt(name)
    for node in prompt.values():
        inputs = node["inputs"]
        inputs.update(SMALL.get(node["class_type"], {}))
        for key, most in (("count", 2), ("frames", 4)):
            if node["class_type"] in ("DualEncSample", "DualEncMorph") and isinstance(inputs.get(key), int):
                inputs[key] = min(inputs[key], most)
        if node["class_type"] == "DualEncSample":
            inputs["seed"] = draw.randrange(1000)
        if node["class_type"] == "DualEncAlignPortrait":
            inputs["roll"] = round(draw.uniform(-5, 5), 2)
        if node["class_type"] in ("DualEncCamera", "DualEncOrbit"):
            inputs["pitch"] = round(draw.uniform(-15, 15), 2)
    return prompt


# ---------------------------------------------------------------------------------------------------------------- files


def whole(path: Path) -> str | None:
    """Why a result is not one that a person could open; None if it is."""
    try:
        if path.suffix in (".png", ".jpg", ".webp", ".gif"):
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".glb":
            content = path.read_bytes()
            if content[:4] != b"glTF" or int.from_bytes(content[8:12], "little") != len(content):
                return "not as long as its header says"
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                if not list(tensors.keys()):
                    return "no tensors"
        elif path.suffix == ".ply":
            header, _, body = path.read_bytes().partition(b"end_header\n")
            if not header.startswith(b"ply") or not body:
                return "no PLY"
        elif path.suffix in (".mp4", ".webm", ".mov"):
            import av

            with av.open(path) as video:
                if not list(video.decode(video=0)):
                    return "no frames"
        elif path.suffix not in (".obj", ".mtl", ".stl", ".spz"):
            return "a name that nothing here writes"
        return None if path.stat().st_size else "empty"
    except Exception as error:  # whatever a library says of a broken file
        return f"{type(error).__name__}: {error}"


def broken_files(folder: Path) -> list[str]:
    """What is wrong in an output folder, a line a file."""
    found = ((path, whole(path)) for path in sorted(folder.rglob("*")) if path.is_file())
    return [f"{path.relative_to(folder)}: {reason}" for path, reason in found if reason]


def results(entry: dict[str, Any]) -> Iterator[Path]:
    """Files in output/ that a history entry names, relative to it."""
    for output in entry.get("outputs", {}).values():
        for lines in output.values():
            for line in lines if isinstance(lines, list) else ():
                if isinstance(line, dict) and line.get("type") == "output":
                    yield Path(line["subfolder"], line["filename"])


# --------------------------------------------------------------------------------------------------------------- memory


def resident(pid: int) -> float:
    """MB of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


# ----------------------------------------------------------------------------------------------------------------- runs


@dataclass
class Report:
    """What has been seen.

    Attributes:
        ends: by workflow, how its prompts ended.
        seconds: by workflow, of prompts that ran to their end.
        memory: (prompts so far, MB).
        interrupts: how many were sent.
        stops: seconds from an interrupt to the end of the prompt that it stopped.
        faults: what must not be.
    """

    ends: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: list[tuple[int, float]] = field(default_factory=list)
    interrupts: int = 0
    stops: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def end_of(entry: dict[str, Any]) -> tuple[str, str]:
    """success, interrupted or error, and the words of an error."""
    messages = dict((name, content) for name, content in entry["status"]["messages"])
    if "execution_interrupted" in messages:
        return "interrupted", ""
    if entry["status"]["status_str"] == "success":
        return "success", ""
    failed = messages.get("execution_error", {})
    return "error", f"{failed.get('node_type')}: {failed.get('exception_message', entry['status'])}"


def soak(
    server: Server, names: tuple[str, ...], prompts: int, interrupts: int, draw: random.Random, minutes: float
) -> Report:
    """Prompts one after another on a server, until they have all run or the time is over."""
    report = Report()
    pid = server.process.pid
    stopped = set(draw.sample(range(len(names), prompts), min(interrupts, max(0, prompts - len(names)))))
    report.memory.append((0, resident(pid)))
    begin = time.monotonic()
    for number in range(prompts):
        if time.monotonic() - begin > 60 * minutes:
            break
        # Each once first, so that its time is known.
        name = names[number] if number < len(names) else draw.choice(names)
        start = time.monotonic()
        prompt_id = server.queue(small(name, draw))
        if number in stopped:
            time.sleep(draw.uniform(0, 0.9) * statistics.median(report.seconds[name] or [3]))
            asked = time.monotonic()
            report.interrupts += 1
            server.post("/interrupt", {})
        entry = server.wait(prompt_id, PROMPT_SECONDS)
        took = time.monotonic() - start
        end, words = end_of(entry)
        report.ends[name][end] += 1
        if end == "success" and number not in stopped:
            report.seconds[name].append(took)
        if end == "interrupted" and number in stopped:
            report.stops.append(time.monotonic() - asked)
        if end == "error" or (end == "interrupted" and number not in stopped):
            report.faults.append(f"prompt {number} ({name}) ended as {end}: {words}")
        if end == "success":
            missing = [str(path) for path in results(entry) if not (server.base / "output" / path).is_file()]
            report.faults += [f"prompt {number} ({name}) names {path}, which is not there" for path in missing]
        report.memory.append((number + 1, resident(pid)))
        print(f"{number + 1}/{prompts} {name}: {end}, {took:.1f} s, {report.memory[-1][1]:.0f} MB", flush=True)
    report.faults += [f"output/{line}" for line in broken_files(server.base / "output")]
    return report


def saving(seed: int) -> dict[str, Any]:
    """A prompt whose four savers of ours use one prefix."""
    generator, head = ["generator", 0], ["head", 0]
    camera = {"frames": 2, "start": 0.0, "end": 90.0, "pitch": 0.0, "swing": False, "fps": 8.0}
    nodes = {
        "generator": ("DualEncLoadPanoHead", {"file": "demo (bundled)"}),
        "head": ("DualEncSample", {"generator": generator, "seed": seed, "truncation": 0.7, "count": 1}),
        "camera": ("DualEncOrbit", camera | {"radius": 2.7, "fov": 13.374}),
        "render": (
            "DualEncRender",
            {"generator": generator, "triplane": head, "camera": ["camera", 0], "background": "generator"}
            | {"colour": "#808080", "resolution": 16, "samples": 8, "super_resolution": True, "quality": "exact"},
        ),
        "mesh": (
            "DualEncMesh",
            {"generator": generator, "triplane": head, "resolution": 32, "texture": 0, "triangles": 0, "smooth": 0}
            | {"largest_only": True, "threshold": 0.0, "head": 0},
        ),
        "save_head": ("DualEncSaveTriplane", {"triplane": head, "half": True}),
        "save_mesh": ("DualEncSaveMesh", {"mesh": ["mesh", 0], "format": "glb"}),
        "save_video": ("DualEncSaveVideo", {"image": ["render", 0], "fps": 8.0, "format": "mp4"}),
        "save_pictures": ("DualEncSaveVideo", {"image": ["render", 0], "fps": 8.0, "format": "png"}),
    }
    for name in nodes:
        if name.startswith("save_"):
            nodes[name][1]["filename_prefix"] = "shared/one"
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def share(servers: list[Server], prompts: int) -> tuple[int, list[str]]:
    """Each server runs its half of the prompts at the same time as the other; files that they named, and faults."""
    written: dict[Path, tuple[int, str]] = {}
    faults: list[str] = []
    lock = threading.Lock()
    output = servers[0].base / "output"

    def work(which: int) -> None:
        for number in range(which, prompts, len(servers)):
            entry = servers[which].wait(servers[which].queue(saving(number)), PROMPT_SECONDS)
            end, words = end_of(entry)
            with lock:
                if end != "success":
                    faults.append(f"shared prompt {number} ended as {end}: {words}")
                for path in set(results(entry)):
                    if path in written:
                        faults.append(f"{path} was given to prompts {written[path][0]} and {number}")
                    if (output / path).is_file():
                        written[path] = number, hashlib.sha256((output / path).read_bytes()).hexdigest()
                    else:
                        faults.append(f"shared prompt {number} names {path}, which is not there")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(servers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for path, (number, digest) in written.items():
        if hashlib.sha256((output / path).read_bytes()).hexdigest() != digest:
            faults.append(f"{path} of prompt {number} was written over")
    there = {path.relative_to(output) for path in (output / "shared").rglob("*") if path.is_file()}
    faults += [f"{path} belongs to no prompt" for path in sorted(there - set(written))]
    faults += [f"output/{line}" for line in broken_files(output)]
    return len(written), faults


# -------------------------------------------------------------------------------------------------------------- tables


def tables(report: Report) -> str:
    """Markdown."""
    lines = ["| workflow | to the end | interrupted | failed | seconds, median |", "|---|---|---|---|---|"]
    for name in sorted(report.ends):
        ends, seconds = report.ends[name], report.seconds[name]
        took = f"{statistics.median(seconds):.1f}" if seconds else "—"
        lines.append(f"| {name} | {ends['success']} | {ends['interrupted']} | {ends['error']} | {took} |")
    middle = report.memory[len(report.memory) // 2]
    # When every workflow has run once, networks are loaded and caches are full.
    warm = report.memory[min(len(report.ends), len(report.memory) - 1)]
    points = (
        ("before the first", report.memory[0]),
        ("each once", warm),
        ("middle", middle),
        ("end", report.memory[-1]),
    )
    lines += ["", "| memory of the server | after prompts | MB |", "|---|---|---|"]
    lines += [f"| {label} | {count} | {size:.0f} |" for label, (count, size) in points]
    if report.stops:
        worst, usual = max(report.stops), statistics.median(report.stops)
        lines += [
            "",
            f"{len(report.stops)} of {report.interrupts} interrupts stopped their prompt, the others came too late.",
        ]
        lines += [f"From an interrupt to the end of its prompt: median {usual:.1f} s, longest {worst:.1f} s."]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.comfyui.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--interrupts", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no new prompts after these")
    parser.add_argument("--shared", type=int, default=60, help="prompts of two servers on one folder; 0 = none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=NAMES, help="these workflows")
    chosen = parser.parse_args(arguments)
    if reason := why_not():
        raise SystemExit(reason)
    draw = random.Random(chosen.seed)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        server.put_input(ROOT / "workflows" / "dualenc_portrait.png")
        known = set(server.get("/object_info"))
        names = tuple(
            name for name in chosen.only or NAMES if {node["class_type"] for node in api_prompt(name).values()} <= known
        )
        if chosen.prompts:
            report = soak(server, names, chosen.prompts, chosen.interrupts, draw, chosen.minutes)
            faults += report.faults
            print(f"\n{tables(report)}\n", flush=True)
        if chosen.shared:
            with Server(Path(folder)) as other:
                files, wrong = share([server, other], chosen.shared)
            faults += wrong
            print(f"Two servers, one folder, one prefix: {chosen.shared} prompts, {files} files.")
        print(json.dumps(faults, indent=1) if faults else "Nothing lost, nothing half-written, nothing failed.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
