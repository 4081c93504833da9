"""Developer tool: MediaPipe's published packages → ``weights/portrait/*.safetensors``.

    pip download --no-deps mediapipe==0.10.21
    npm pack @mediapipe/face_mesh@0.4.1657299874
    python -m tests.tools.portrait_models.convert mediapipe-0.10.21-*.whl mediapipe-face_mesh-*.tgz weights/portrait

The three networks come from the Python wheel; the canonical face mesh, which the wheel lacks, comes from MediaPipe's
JavaScript package. Both packages are Apache-2.0. Not needed at run time.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dualenc_core.errors import CheckpointError
from dualenc_core.files import atomic_path, sha256

from .flatbuffer import packed_varints, protobuf_fields
from .tflite import read_tflite

MODELS = {
    "face_detection_short_range": "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "face_landmark": "mediapipe/modules/face_landmark/face_landmark.tflite",
    "selfie_segmentation": "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
}
_CONNECTIONS = "mediapipe/python/solutions/face_mesh_connections.py"
_GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"
_REGIONS = {
    "face_oval": "FACEMESH_FACE_OVAL",
    "left_eye": "FACEMESH_LEFT_EYE",
    "right_eye": "FACEMESH_RIGHT_EYE",
    "left_brow": "FACEMESH_LEFT_EYEBROW",
    "right_brow": "FACEMESH_RIGHT_EYEBROW",
    "lips": "FACEMESH_LIPS",
    "nose": "FACEMESH_NOSE",
}


def convert(wheel: str | Path, geometry: str | Path, out: str | Path) -> dict[str, Path]:
    """Write one safetensors file per network and ``face_model.safetensors``; returns name → path.

    Args:
        wheel: the mediapipe wheel (a zip with the ``.tflite`` files).
        geometry: the npm tarball of ``@mediapipe/face_mesh``.
        out: folder to write.

    Raises CheckpointError when a package does not contain what is expected.
    """
    out, written = Path(out), {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            sources = {name: archive.read(path) for name, path in MODELS.items()}
            connections = archive.read(_CONNECTIONS).decode()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel} is not a mediapipe 0.10.21 wheel ({error})") from error
    for name, data in sources.items():
        model = read_tflite(data)
        written[name] = out / f"{name}.safetensors"
        metadata = {"source": MODELS[name], "package": Path(wheel).name, "license": "Apache-2.0"}
        _write(written[name], model.weights, metadata | {"graph": model.graph})
    tensors = face_model(_packed_asset(geometry, _GEOMETRY))
    regions = {name: region_edges(connections, constant) for name, constant in _REGIONS.items()}
    written["face_model"] = out / "face_model.safetensors"
    metadata = {"source": _GEOMETRY, "package": Path(geometry).name, "license": "Apache-2.0"}
    _write(written["face_model"], tensors, metadata | {"regions": regions})
    return written


def face_model(data: bytes) -> dict[str, np.ndarray]:
    """The canonical mesh of a ``GeometryPipelineMetadata`` message.

    Returns ``vertices`` [468,3] float32 (cm; x to the subject's left, y up, z out of the face), ``triangles``
    [M,3] int32, ``basis`` [468] float32 (weights of the landmarks that MediaPipe fits the head pose with).
    """
    vertices, indices, basis = [], [], np.zeros(468, np.float32)
    for number, value in protobuf_fields(data):
        if number == 2:
            landmark = dict(protobuf_fields(value))
            basis[landmark.get(1, 0)] = struct.unpack("<f", landmark[2])[0]
        elif number == 1:
            for field, content in protobuf_fields(value):
                if field == 3:
                    vertices += struct.unpack(f"<{len(content) // 4}f", content)
                elif field == 4:
                    indices += packed_varints(content) if isinstance(content, bytes) else [content]
    if len(vertices) != 468 * 5 or len(indices) % 3 or not indices:
        raise CheckpointError(
            f"the face model has {len(vertices)} numbers and {len(indices)} indices, expected 468·5 and 3·M"
        )
    return {
        "vertices": np.array(vertices, np.float32).reshape(468, 5)[:, :3].copy(),
        "triangles": np.array(indices, np.int32).reshape(-1, 3),
        "basis": basis,
    }


def region_edges(source: str, constant: str) -> list[list[int]]:
    """The landmark index pairs of one ``frozenset([...])`` constant, as sorted lists."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == constant:
            return sorted([list(pair) for pair in ast.literal_eval(node.value.args[0])])
    raise CheckpointError(f"the wheel has no {constant}")


def _packed_asset(tarball: str | Path, name: str) -> bytes:
    """One file of an Emscripten asset package: the loader script says at which bytes it lies."""
    try:
        with tarfile.open(tarball) as archive:
            loader = archive.extractfile("package/face_mesh_solution_packed_assets_loader.js").read().decode()
            data = archive.extractfile("package/face_mesh_solution_packed_assets.data").read()
    except (OSError, KeyError, tarfile.TarError) as error:
        raise CheckpointError(f"{tarball} is not the npm package @mediapipe/face_mesh ({error})") from error
    match = re.search(re.escape(name) + r'",\s*"start":\s*(\d+),\s*"end":\s*(\d+)', loader)
    if not match:
        raise CheckpointError(f"{tarball} does not contain {name}")
    return data[int(match[1]) : int(match[2])]


def _write(path: Path, tensors: dict[str, np.ndarray], metadata: dict) -> None:
    # One metadata entry: safetensors writes several in random order, and the same input must give the same bytes.
    text = json.dumps(metadata, separators=(",", ":"), sort_keys=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"portrait": text})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", help="mediapipe-0.10.21-*.whl")
    parser.add_argument("geometry", help="mediapipe-face_mesh-*.tgz")
    parser.add_argument("out", help="folder to write, weights/portrait in the repository")
    arguments = parser.parse_args()
    for path in convert(arguments.wheel, arguments.geometry, arguments.out).values():
        print(f"{sha256(path)}  {path.stat().st_size:>8}  {path}")


if __name__ == "__main__":
    main()
