"""A real ComfyUI server on the CPU, in a folder of its own, with only this pack."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACK = "ComfyUI-DualEnc"
# A busy machine needs minutes.
START_SECONDS = float(os.environ.get("COMFYUI_START_SECONDS", 300))


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, else the ComfyUI whose custom_nodes holds this pack, else ~/ComfyUI."""
    places = (
        [Path(os.environ["COMFYUI_PATH"])] if "COMFYUI_PATH" in os.environ else [ROOT.parents[1], Path("~/ComfyUI")]
    )
    return next((p.expanduser() for p in places if (p.expanduser() / "comfy" / "model_management.py").is_file()), None)


def find_python(comfyui: Path) -> Path:
    """COMFYUI_PYTHON, else ComfyUI's own environment, else this one."""
    given = os.environ.get("COMFYUI_PYTHON")
    places = [Path(given)] if given else [comfyui / ".venv/bin/python", comfyui / "venv/bin/python"]
    return next((place for place in places if place.exists()), Path(sys.executable))


def why_not() -> str | None:
    """Why no server can be started here; None if it can."""
    comfyui = find_comfyui()
    if comfyui is None:
        return "no ComfyUI found (set COMFYUI_PATH, or clone it to ~/ComfyUI)"
    python = find_python(comfyui)
    check = subprocess.run(
        [python, "-c", "import torch, aiohttp, requests, comfyui_frontend_package"], capture_output=True
    )
    return f"{python} lacks ComfyUI's requirements (set COMFYUI_PYTHON)" if check.returncode else None


class Server:
    """Use as a context manager.

    Args:
        base: folder for custom_nodes, models, input, output, temp, user; made if absent.
        frontend: another comfyui_frontend_package's static folder.
        extra: further arguments of main.py.

    Attributes: ``url``; ``base``; ``log`` (what the server printed, a file).
    """

    def __init__(self, base: Path, frontend: Path | None = None, extra: list[str] | None = None) -> None:
        self.base, self.frontend, self.extra = base, frontend, extra or []
        self.log = base / "server.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = uuid.uuid4().hex

    def __enter__(self) -> Server:
        comfyui = find_comfyui()
        for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        pack = self.base / "custom_nodes" / PACK
        if not pack.exists():
            pack.symlink_to(ROOT, target_is_directory=True)
        command = [find_python(comfyui), Path(__file__).with_name("launch.py"), comfyui / "main.py", "--cpu"]
        command += ["--listen", "127.0.0.1", "--port", str(self.port), "--base-directory", self.base]
        command += ["--disable-auto-launch", "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK, *self.extra]
        if self.frontend:
            command += ["--front-end-root", self.frontend]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, cwd=comfyui)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get("/system_stats")
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise RuntimeError(f"ComfyUI did not start:\n{self.text_log()[-4000:]}") from None
                time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def text_log(self) -> str:
        """What the server has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    # ------------------------------------------------------------------------------------------------------ requests

    def raw(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        """Body of a GET, or of a POST if there is data; urllib's HTTPError for other answers than 2xx."""
        headers = {"Content-Type": kind} if data is not None else {}
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()

    def get(self, path: str) -> Any:
        """JSON of a GET."""
        return json.loads(self.raw(path))

    def post(self, path: str, content: Any) -> Any:
        """JSON of a POST; an empty body gives None."""
        body = self.raw(path, json.dumps(content).encode())
        return json.loads(body) if body else None

    def put_input(self, source: Path, name: str | None = None) -> str:
        """Copy a file into the input folder."""
        shutil.copy(source, self.base / "input" / (name or source.name))
        return name or source.name

    def queue(self, prompt: dict) -> str:
        """Queue a prompt; returns its id. HTTPError 400 if all of it is refused."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.client})
        assert not answer.get("node_errors"), answer["node_errors"]
        return answer["prompt_id"]

    def refused(self, prompt: dict) -> dict:
        """The answer to a prompt that the server must refuse."""
        try:
            self.queue(prompt)
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        raise AssertionError("the prompt was accepted")

    def wait(self, prompt_id: str, seconds: float = 300) -> dict:
        """The history entry of a prompt once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history and history[prompt_id].get("status", {}).get("status_str"):
                return history[prompt_id]
            assert self.process.poll() is None, f"the server died:\n{self.text_log()[-4000:]}"
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} has not ended after {seconds} s:\n{self.text_log()[-4000:]}")

    def run(self, prompt: dict, seconds: float = 300) -> dict:
        """Queue, wait, and return the outputs by node id; AssertionError with the server's words if it failed."""
        entry = self.wait(self.queue(prompt), seconds)
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        return entry["outputs"]

    def error(self, prompt: dict) -> dict:
        """Run a prompt that must fail; the content of its execution_error message."""
        entry = self.wait(self.queue(prompt))
        messages = dict((name, content) for name, content in entry["status"]["messages"])
        assert "execution_error" in messages, entry["status"]
        return messages["execution_error"]

    def events(self, prompt_id: str) -> dict[str, dict]:
        """Messages of a finished prompt by name (execution_start, execution_cached, …)."""
        return dict((name, content) for name, content in self.wait(prompt_id)["status"]["messages"])

    def view(self, line: dict[str, str]) -> bytes:
        """A file of an output's line (filename, subfolder, type)."""
        return self.raw("/view?" + urllib.parse.urlencode(line))
