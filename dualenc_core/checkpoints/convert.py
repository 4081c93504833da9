"""Published checkpoints → our safetensors files, with a report of what was taken over and what was not.

Sources are told apart by content: an official PanoHead pickle (kind ``generator``), a TriPlaneNet or pSp checkpoint
(``encoder``), an ArcFace or CurricularFace backbone, torchvision's AlexNet (for LPIPS).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..files import sha256
from . import encoder_layout
from .panohead_pickle import read_official
from .sniff import file_kind
from .store import WeightsFile, read_entry, save_weights
from .torch_file import read_torch_file

_ENCODER_PREFIXES = {"psp_encoder.": "stage_one.", "encoder.": "stage_one.", "triplanenet_encoder.": "stage_two."}
_DECODER_PREFIX = "decoder."
_BACKBONES = {
    "arcface": encoder_layout.arcface,
    "curricularface": encoder_layout.curricularface,
    "lpips-alexnet": encoder_layout.lpips_alexnet,
}


@dataclass(frozen=True)
class ShapeMismatch:
    """A tensor whose name is known but whose shape is another."""

    name: str
    shape: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: shape {list(self.shape)}, expected {list(self.expected)}"


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
        kind: kind of the written file.
        source, target: paths.
        matched: names in the written file that came from the source.
        not_transferable: known names of another shape; not written.
        missing: names that the module needs and the file lacks (those of ``not_transferable`` included).
        unexpected: source names that were left out because nothing uses them.
        notes: remarks for the user.
    """

    kind: str
    source: Path
    target: Path
    matched: tuple[str, ...]
    not_transferable: tuple[ShapeMismatch, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether the written file has every tensor that its module needs."""
        return not self.missing

    def __str__(self) -> str:
        lines = [f"{self.source.name} → {self.target} ({self.kind}, {'complete' if self.complete else 'NOT complete'})"]
        lines.append(f"  {len(self.matched)} tensors written")
        if self.not_transferable:
            lines.append(f"  {len(self.not_transferable)} not transferable:")
            lines += [f"    {mismatch}" for mismatch in self.not_transferable]
        mismatched = {mismatch.name for mismatch in self.not_transferable}
        for title, names in (
            ("absent in the source", [name for name in self.missing if name not in mismatched]),
            ("in the source but not used", self.unexpected),
        ):
            if names:
                lines.append(f"  {len(names)} {title}: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def convert(
    source: str | Path,
    target: str | Path,
    half: bool = False,
    planes: int = encoder_layout.PLANE_CHANNELS,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert a published checkpoint to safetensors.

    Args:
        source: ``.pkl`` of PanoHead, ``.pt``/``.pth`` of TriPlaneNet, pSp, ArcFace, CurricularFace, AlexNet.
        target: a ``.safetensors`` path; replaced atomically.
        half: store float16.
        planes: plane channels of the generator that an encoder shall serve (288 = PanoHead, 96 = EG3D, PanoHead D=1).
        progress: called with (tensors read, tensors in all) for a generator.

    Raises:
        CheckpointError: the source cannot be read or recognised, or the target is not a ``.safetensors`` path.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"the target {target} must end in .safetensors")
    kind = file_kind(source)
    if kind == "safetensors":
        # Raises for what is none of ours, with a way that does not lead back here.
        entry = read_entry(source)
        raise CheckpointError(f"{source} is a file of ours already, of kind {entry['kind']!r}; load it as it is")
    if kind in ("torch-zip", "torch-legacy"):
        return _convert_torch(source, target, half, planes)
    return _convert_generator(source, target, half, progress)


def _convert_generator(
    source: Path, target: Path, half: bool, progress: Callable[[int, int], None] | None
) -> ConversionReport:
    official = read_official(source, progress)
    save_weights(target, WeightsFile("generator", official.state_dict, official.config, official.provenance), half)
    notes = tuple(official.provenance["notes"])
    return ConversionReport("generator", source, target, tuple(official.state_dict), notes=notes)


def _convert_torch(source: Path, target: Path, half: bool, planes: int) -> ConversionReport:
    content = read_torch_file(source)
    if isinstance(content.get("state_dict"), dict):
        return _convert_encoder(source, target, half, planes, content)
    kind = _backbone_kind(content)
    if kind is None:
        names = ", ".join(str(name)[:60] for name in list(content)[:5]) or "nothing"
        raise CheckpointError(
            f"{source} is a torch.save file that holds {names} …; expected is a TriPlaneNet or pSp checkpoint "
            "('state_dict'), or the weights of IR-SE-50, CurricularFace or AlexNet"
        )
    taken = _Selection(_tensors(content, source), _BACKBONES[kind]())
    return _write(kind, source, target, half, taken, config={}, notes=[])


def _backbone_kind(content: dict) -> str | None:
    if "features.0.weight" in content and "features.10.weight" in content:
        return "lpips-alexnet"
    if "input_layer.0.weight" not in content or "output_layer.3.weight" not in content:
        return None
    return "arcface" if "body.0.res_layer.5.fc1.weight" in content else "curricularface"


def _convert_encoder(source: Path, target: Path, half: bool, planes: int, content: dict) -> ConversionReport:
    options = content.get("opts")
    options = options if isinstance(options, dict) else vars(options) if hasattr(options, "__dict__") else {}
    renamed, decoder, notes = {}, 0, []
    for name, tensor in _tensors(content["state_dict"], source).items():
        if name.startswith(_DECODER_PREFIX):
            decoder += 1
            continue
        prefix = next((prefix for prefix in _ENCODER_PREFIXES if name.startswith(prefix)), "")
        renamed[_ENCODER_PREFIXES.get(prefix, "") + name[len(prefix) :]] = tensor
    if not any(name.startswith(("stage_one.", "stage_two.")) for name in renamed):
        raise CheckpointError(
            f"{source} has no tensors under {', '.join(_ENCODER_PREFIXES)}; it is not a pSp or TriPlaneNet checkpoint"
        )
    if decoder:
        notes.append(f"{decoder} tensors of the source's own generator (decoder.*) were left out")

    expected = {f"stage_one.{name}": shape for name, shape in encoder_layout.stage_one().items()}
    config: dict[str, Any] = {"style": {"n_styles": 14}, "refiner": None}
    if any(name.startswith("stage_two.") for name in renamed):
        version = 1 if any(name.startswith("stage_two.final_head.") for name in renamed) else 2
        shuffle = version == 1 or _pixelshuffle(renamed, options, notes)
        second = encoder_layout.stage_two(planes, shuffle, version)
        expected |= {f"stage_two.{name}": shape for name, shape in second.items()}
        config["refiner"] = "triplanenet"
        config["triplane"] = {
            "trunk": {"in_channels": 6 if version == 1 else 9},
            "version": version,
            "upsampling": "pixelshuffle" if shuffle else "nearest",
            "plane_channels": planes,
        }
    else:
        notes.append("the source has only the W+ encoder (stage one); the file describes an encoder without refinement")
    average = _latent_average(content.get("latent_avg"), notes)
    if average is not None:
        renamed["latent_avg"], expected["latent_avg"] = average, (512,)
    taken = _Selection(renamed, expected)
    _explain(taken, renamed, options, planes, notes)
    return _write("encoder", source, target, half, taken, config, notes)


def _pixelshuffle(renamed: dict[str, torch.Tensor], options: dict, notes: list[str]) -> bool:
    """The flavour that the tensors have; the saved option only decides where there are none."""
    declared = bool(options.get("use_pixelshuffle", False))
    probe = renamed.get("stage_two.up2.conv.double_conv.1.weight")
    if probe is None:
        return declared
    found = tuple(probe.shape[:2]) == (384, 384)
    if "use_pixelshuffle" in options and found != declared:
        notes.append(f"the saved options say use_pixelshuffle={declared}, but the tensors say {found}; tensors win")
    return found


def _latent_average(value: object, notes: list[str]) -> torch.Tensor | None:
    if not isinstance(value, torch.Tensor):
        notes.append("the source has no latent_avg; the generator's own w_avg is used")
        return None
    rows = value.reshape(-1, value.shape[-1]) if value.dim() else value.reshape(1, 1)
    if rows.shape[-1] != 512 or not torch.equal(rows, rows[:1].expand_as(rows)):
        notes.append(f"latent_avg of shape {list(value.shape)} is not one 512-vector (repeated); it was left out")
        return None
    return rows[0].clone()


def _explain(taken: _Selection, renamed: dict[str, torch.Tensor], options: dict, planes: int, notes: list[str]) -> None:
    notes.append(
        "these weights were trained for the source's own generator; for PanoHead they are a starting point for training"
    )
    styles = options.get("n_styles")
    heads = {match[1] for name in renamed if (match := re.match(r"stage_one\.styles\.(\d+)\.", name))}
    if heads and len(heads) != 14:
        notes.append(f"the source draws {len(heads)} styles (n_styles={styles}); PanoHead has 14")
    head = next((m for m in taken.mismatched if re.fullmatch(r"stage_two\.final_head(_two)?\.4\.weight", m.name)), None)
    if head is not None:
        notes.append(
            f"the output head draws {head.shape[0]} plane channels and cannot be loaded into {planes}; train it anew"
        )


class _Selection:
    """Source tensors sorted by what the module expects."""

    def __init__(self, tensors: dict[str, torch.Tensor], expected: encoder_layout.Shapes) -> None:
        self.matched: dict[str, torch.Tensor] = {}
        self.mismatched: list[ShapeMismatch] = []
        for name, shape in expected.items():
            tensor = tensors.get(name)
            if tensor is None:
                continue
            if tuple(tensor.shape) == shape:
                self.matched[name] = tensor
            else:
                self.mismatched.append(ShapeMismatch(name, tuple(tensor.shape), shape))
        # Older files have no step counters in their batch norms; inference never reads them.
        for name, shape in expected.items():
            if name.endswith(".num_batches_tracked") and name not in tensors and self._has_sibling(name):
                self.matched[name] = torch.zeros(shape, dtype=torch.int64)
        self.missing = [name for name in expected if name not in self.matched]
        self.unexpected = [name for name in tensors if name not in expected]

    def _has_sibling(self, name: str) -> bool:
        return name.removesuffix("num_batches_tracked") + "running_mean" in self.matched


def _write(
    kind: str, source: Path, target: Path, half: bool, taken: _Selection, config: dict, notes: list[str]
) -> ConversionReport:
    if not taken.matched:
        raise CheckpointError(f"{source}: no tensor fits a file of kind {kind!r}; nothing was written")
    report = ConversionReport(
        kind,
        source,
        target,
        tuple(taken.matched),
        tuple(taken.mismatched),
        tuple(taken.missing),
        tuple(taken.unexpected),
        tuple(notes),
    )
    provenance = {
        "file": source.name,
        "sha256": sha256(source),
        "notes": notes,
        "missing": taken.missing,
        "not_transferable": [str(mismatch) for mismatch in taken.mismatched],
    }
    save_weights(target, WeightsFile(kind, taken.matched, config, provenance, report.complete), half)
    return report


def _tensors(state: dict, source: Path) -> dict[str, torch.Tensor]:
    wrong = next((name for name, value in state.items() if not isinstance(value, torch.Tensor)), None)
    if wrong is not None:
        raise CheckpointError(f"{source}: entry {str(wrong)[:80]!r} of the state dict is not a tensor")
    return {str(name): tensor for name, tensor in state.items()}
