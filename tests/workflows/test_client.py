"""The client for programs: photos of every name reach the server, and results of every name the disk."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "workflows" / "api" / "client.py"
NAMES = ["me.jpg", "日本語のとても長い名前" * 5 + ".png", "😀 é 'x'.jpg"]
ODD = [
    'na"me\\\n.png',
    "Ж" * 120 + ".jpg",
    "a/b:c*?.webp",
    *([] if sys.platform == "win32" else [os.fsdecode(b"caf\xe9.jpg")]),
]


@pytest.fixture
def client(monkeypatch) -> ModuleType:
    """The file as a module; where aiohttp is not installed, without it."""
    if importlib.util.find_spec("aiohttp") is None:
        monkeypatch.setitem(sys.modules, "aiohttp", ModuleType("aiohttp"))
    spec = importlib.util.spec_from_file_location("dualenc_client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_names_in_every_script_stay(client) -> None:
    assert [client.file_name(name) for name in NAMES] == NAMES


def test_names_that_a_server_cannot_store_get_one_of_their_own(client) -> None:
    found = [client.file_name(name) for name in ODD]
    assert len(set(found)) == len(ODD)
    for before, name in zip(ODD, found, strict=True):
        assert len(name.encode("utf-8")) <= 200 and not set(name) & set('\\/:*?"<>|\n')
        assert Path(name).suffix == Path(before).suffix, "the server tells pictures by it"
    assert client.file_name("n" * 300) != client.file_name("n" * 301)


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="needs aiohttp, which ComfyUI brings")
def test_the_way_there_and_back(client, tmp_path) -> None:
    from aiohttp import web

    uploads, long_name = [], "日" * 80 + ".png"

    async def upload(request):
        field = (await request.post())["image"]
        (tmp_path / "input").mkdir(exist_ok=True)
        (tmp_path / "input" / field.filename).write_bytes(field.file.read())
        uploads.append(field.filename)
        return web.json_response({"name": field.filename})

    async def prompt(request):
        assert (await request.json())["prompt"]["load_photo"]["inputs"]["image"] == uploads[-1]
        return web.json_response({"prompt_id": "p"})

    async def events(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(50):
            await socket.send_json({"type": "executing", "data": {"prompt_id": "p", "node": None}})
            await asyncio.sleep(0.01)
        return socket

    async def history(_):
        line = {"filename": long_name, "subfolder": "", "type": "output"}
        return web.json_response({"p": {"outputs": {"save": {"images": [line], "files": [line]}}}})

    async def view(_):
        return web.Response(body=b"picture")

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.post("/upload/image", upload), web.post("/prompt", prompt), web.get("/ws", events)])
        app.add_routes([web.get("/history/p", history), web.get("/view", view)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        # As PowerShell writes it.
        (tmp_path / "prompt.json").write_bytes(json.dumps({"load_photo": {"inputs": {}}}).encode("utf-16"))
        for name in (*NAMES, *(name for name in ODD if "/" not in name)):
            (tmp_path / name).write_bytes(b"photo")
            _, files = await client.run(server, str(tmp_path / name), tmp_path / "prompt.json", tmp_path / "out")
            assert [path.read_bytes() for path in files] == [b"picture"]
        await runner.cleanup()

    asyncio.run(run())
    assert uploads[: len(NAMES)] == NAMES and len(set(uploads)) == len(uploads)
