"""python client.py SERVER PHOTO PROMPT_FILE OUT_FOLDER (see README.md; needs aiohttp, which ComfyUI brings)."""

import asyncio
import hashlib
import json
import os
import sys
import uuid
from pathlib import Path

import aiohttp


def file_name(name, most=200):
    """The name, in whatever script, if every disk and server takes it; else like it, with a mark of its own."""
    plain = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "_" for c in name)
    if plain == name and len(name.encode()) <= most:
        return name
    stem, suffix = os.path.splitext(plain)
    mark = "-" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8] + suffix[:12]
    return stem.encode()[: most - len(mark.encode())].decode("utf-8", "ignore") + mark


async def run(server, photo, prompt_file, out_folder):
    prompt, client, files = json.loads(Path(prompt_file).read_bytes()), uuid.uuid4().hex, []
    async with aiohttp.ClientSession(server) as http:
        if photo:
            form = aiohttp.FormData(quote_fields=False)  # else a name arrives as %E6%97%A5…
            form.add_field("image", Path(photo).read_bytes(), filename=file_name(Path(photo).name))
            async with http.post("/upload/image", data=form, raise_for_status=True) as answer:
                prompt["load_photo"]["inputs"]["image"] = (await answer.json())["name"]
        async with http.ws_connect("/ws", params={"clientId": client}, max_msg_size=0) as events:
            async with http.post("/prompt", json={"prompt": prompt, "client_id": client}) as answer:
                queued = await answer.json()
            if queued.get("error") or queued.get("node_errors"):  # the latter come with HTTP 200 if a part can run
                raise RuntimeError(f"the server refuses (a part of) the prompt: {json.dumps(queued, indent=2)}")
            async for message in events:
                event = message.json() if message.type is aiohttp.WSMsgType.TEXT else {}  # binary: preview pictures
                data = event.get("data", {})
                if data.get("prompt_id") != queued["prompt_id"]:
                    continue
                if event["type"] in ("execution_error", "execution_interrupted"):
                    raise RuntimeError(f"{data['node_id']}: {data.get('exception_message', 'interrupted')}")
                if event["type"] == "executing" and data["node"] is None:  # all done, and in /history
                    break
            else:
                raise RuntimeError("the server has closed the connection")
        async with http.get(f"/history/{queued['prompt_id']}", raise_for_status=True) as answer:
            outputs = (await answer.json())[queued["prompt_id"]]["outputs"]
        for key, output in outputs.items():
            lines = (x for values in output.values() for x in values if isinstance(x, dict) and "filename" in x)
            for line in {json.dumps(x, sort_keys=True): x for x in lines}.values():  # some are listed twice
                async with http.get("/view", params=line, raise_for_status=True) as answer:
                    files.append(Path(out_folder, file_name(f"{key}_{Path(line['filename']).name}")))
                    files[-1].parent.mkdir(parents=True, exist_ok=True)
                    files[-1].write_bytes(await answer.read())
        return outputs, files


def main(server, photo, prompt_file, out_folder):
    """Run a prompt on a photo ("" = none); returns what /history says of each node, and the downloaded files."""
    return asyncio.run(run(server, photo, prompt_file, out_folder))


if __name__ == "__main__":
    print(*main(*sys.argv[1:])[1], sep="\n")
