"""python client.py SERVER PHOTO PROMPT_FILE OUT_FOLDER (see README.md; needs aiohttp, which ComfyUI brings)."""

import asyncio
import json
import sys
import uuid
from pathlib import Path

import aiohttp


async def run(server, photo, prompt_file, out_folder):
    prompt, client, files = json.loads(Path(prompt_file).read_text("utf-8")), uuid.uuid4().hex, []
    async with aiohttp.ClientSession(server) as http:
        if photo:
            form = aiohttp.FormData()
            form.add_field("image", Path(photo).read_bytes(), filename=Path(photo).name)
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
            for line in (x for values in output.values() for x in values if isinstance(x, dict) and "filename" in x):
                async with http.get("/view", params=line, raise_for_status=True) as answer:
                    files.append(Path(out_folder, f"{key}_{Path(line['filename']).name}"))
                    files[-1].parent.mkdir(parents=True, exist_ok=True)
                    files[-1].write_bytes(await answer.read())
        return outputs, files


def main(server, photo, prompt_file, out_folder):
    """Run a prompt on a photo ("" = none); returns what /history says of each node, and the downloaded files."""
    return asyncio.run(run(server, photo, prompt_file, out_folder))


if __name__ == "__main__":
    print(*main(*sys.argv[1:])[1], sep="\n")
