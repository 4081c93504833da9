"""Directed heads against the same people with the trait changed: how much moves, how much else moves, how true it is.

Each of some people that no training saw is inverted from one view, lit from the picture's left, and edited by one
attribute after another. The truth of an edit is a picture of the person with that trait changed (`people.changed`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...camera import Camera
from ...editing import Directions, Director, directions_of
from ...errors import DualEncError
from ...files import write_text
from ...generator import PanoHead
from ...images import resize_area
from ...inversion import DualEncoder
from ...inversion.dual_encoder import Encoder
from ...metrics import pictures as metrics
from ...people import Pack, People, Person, light_of, numbers, sample_people, trait_names
from ...people import render as render_people
from ...people.attributes import ATTRIBUTES
from ...people.changed import changed
from ...people.relighting import read_light
from ...people.renderer import BACKDROP
from ...people.standard import Standard, styles_of
from ...rendering.output import Rendering
from ...triplane import Triplane
from .patches import PatchStatistics, patch_distance
from .procedural import COMPARED, FIRST_TEST_SEED
from .report import provenance
from .summary import mean

# Attributes, and what is asked of each.
ASKED = {
    "smile_open": 0.8,
    "mouth_open": 0.8,
    "brows_up": 0.8,
    "eyes_closed": 0.9,
    "gaze_yaw": 15.0,
    "age": 30.0,
    "face_fullness": 0.8,
    "skin_tone": 0.3,
    "hair_lightness": 0.5,
    "beard_full": 0.8,
    "light_yaw": 120.0,
    "light_warmth": 0.8,
}
VARIANTS = ("none", "moved", "plain", "generator")
# Attributes that are 0..1 of something: what has much already is asked to have less.
_SHARES = ("expression", "hair")
# Where the light of all input views comes from, degrees of yaw.
_LIT_FROM = -60.0
# Pictures, in -1..1, that differ by more have moved; what is so many pixels around them counts as moved too.
_MOVED, _AROUND = 0.06, 5
# A truth that differs by less, root mean square, knows nothing of the attribute (a man without hair, a fixed age).
_NOTHING = 0.004
# Pictures are shrunk to so many pixels for the shares of traits: details would only be noise.
_TOLD_APART = 64


@dataclass(frozen=True)
class DirectedSettings:
    """How to evaluate.

    Attributes:
        heads: how many people.
        asked: changes by name of attribute.
        people: folder of the asset pack.
        seed: of the people, at least 1 000 000.
        yaws: views around each head.
        variants: some of none (the head as it is), moved (edited as `direct` does), plain (edited without motions, the
            photo's residual stays where it is), generator (no photo: the generator at the true description, edited so).
    """

    heads: int
    asked: Mapping[str, float]
    people: str
    seed: int = FIRST_TEST_SEED
    yaws: int = 8
    variants: tuple[str, ...] = VARIANTS

    def __post_init__(self) -> None:
        if self.heads < 1 or self.yaws < 1 or not self.asked:
            raise DualEncError(
                f"heads is {self.heads}, yaws {self.yaws}, attributes {len(self.asked)}; expected at least 1 of each"
            )
        if self.seed < FIRST_TEST_SEED:
            raise DualEncError(f"seed is {self.seed}, expected at least {FIRST_TEST_SEED}: smaller ones are training's")


@dataclass
class DirectedReport:
    """What was found.

    Attributes:
        settings, provenance: how.
        rows: one a head, attribute and variant: PSNR to the edited truth in dB, over all views and over what moved;
            ``moved``: share of the pictures that moves; ``outside``: root mean square change of what shall not move,
            times 1000, and ``outside_truth``, the truth's.
        shares: for each head, variant and edit: attribute → how much of what was asked of it moved, by least squares
            over the truths of all (1 on its own and 0 on the others is perfect).
        patches: attribute → variant → patch distance to the truth outside of what moves.
        light: for each head, front views: brightness right minus left, before, wanted, edited; and where the light of
            the head comes from by its style vectors, in degrees, with its softness.
        seconds: in all.
    """

    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: list[dict] = field(default_factory=list)
    shares: list[dict] = field(default_factory=list)
    patches: dict[str, dict[str, float]] = field(default_factory=dict)
    light: list[dict] = field(default_factory=list)
    seconds: float = 0.0

    def mean(self, metric: str, attribute: str, variant: str) -> float:
        """Over heads."""
        return mean(r[metric] for r in self.rows if r["attribute"] == attribute and r["variant"] == variant)

    def share(self, variant: str, edit: str, attribute: str) -> float:
        """How much of what is asked of an attribute an edit moves, mean over heads."""
        found = (
            s["shares"].get(attribute, np.nan) for s in self.shares if (s["variant"], s["edit"]) == (variant, edit)
        )
        return mean(found)

    @property
    def attributes(self) -> list[str]:
        """Those that some truth knows."""
        return list(dict.fromkeys(row["attribute"] for row in self.rows))

    def markdown(self) -> str:
        """Tables."""
        edits = [v for v in self.settings["variants"] if v != "none"]
        lines = [f"`{self.provenance.get('command', '')}`", "", *self._quality(edits), ""]
        for variant in edits:
            lines += [f"Shares in percent, {variant}: an edit's row, what it moves of each trait.", ""]
            lines += [*self._leakage(variant), ""]
        for row in self.light:
            lines.append(
                f"Light, head {row['head']}, brightness of the right minus the left (front view, 0..255): photo "
                f"{row['before']:.1f}, wanted {row['wanted']:.1f}, "
                + ", ".join(f"{v} {row[v]:.1f}" for v in edits if v in row)
                + f"; the head unedited {row['none']:.1f}. Its styles say: light from {row['read_yaw']:.0f}° (true "
                f"{_LIT_FROM:.0f}°), softness {row['read_softness']:.2f} (true {row['true_softness']:.2f})."
            )
        return "\n".join(lines) + "\n"

    def _quality(self, edits: Sequence[str]) -> Iterable[str]:
        variants = ["none", *edits]
        names = [
            "attribute",
            "asked",
            "heads",
            *(f"PSNR {v}" for v in variants),
            *(f"moved part, {v}" for v in variants),
        ]
        names += [f"own share, {v}" for v in edits] + [f"outside, {v}" for v in edits] + ["patches none"]
        names += [f"patches {v}" for v in edits]
        yield "| " + " | ".join(names) + " |"
        yield "|" + "---|" * len(names)
        for name in self.attributes:
            heads = len({r["head"] for r in self.rows if r["attribute"] == name})
            cells = [name, f"{self.settings['asked'][name]:g}", str(heads)]
            cells += [f"{self.mean('psnr', name, v):.2f}" for v in variants]
            cells += [f"{self.mean('psnr_moved', name, v):.2f}" for v in variants]
            cells += [f"{100 * self.share(v, name, name):.0f} %" for v in edits]
            cells += [f"{self.mean('outside', name, v):.0f}" for v in edits]
            cells += [f"{self.patches.get(name, {}).get(v, float('nan')):.3f}" for v in variants]
            yield "| " + " | ".join(cells) + " |"

    def _leakage(self, variant: str) -> Iterable[str]:
        names = self.attributes
        yield "| edit | " + " | ".join(names) + " |"
        yield "|" + "---|" * (len(names) + 1)
        for edit in names:
            cells = [f"{100 * self.share(variant, edit, other):.0f}" for other in names]
            yield f"| {edit} | " + " | ".join(cells) + " |"

    def write(self, folder: str | Path) -> None:
        """report.md and report.json."""
        write_text(Path(folder) / "report.md", self.markdown())
        write_text(Path(folder) / "report.json", json.dumps(asdict(self), indent=1))


@torch.no_grad()
def evaluate_directed(
    generator: PanoHead,
    encoder1: Encoder,
    encoder2: Encoder,
    settings: DirectedSettings,
    progress: Callable[[int, int], None] | None = None,
    command: str = "",
    sheet: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> DirectedReport:
    """Edit people that no training saw and compare with their edited truth.

    Args:
        progress: called as progress(edits done, edits).
        command: how to repeat it.
        sheet: folder for a picture a head: a row an attribute, with truth, edited truth, head and edits, from the front
            and from the next view.
        say: called with a line an edit.

    Raises DualEncError for unknown attributes and a generator without directions.
    """
    known = directions_of(generator)
    known.check({name: 0.0 for name in settings.asked})
    start = time.perf_counter()
    modules = {"generator": generator, "encoder 1": encoder1, "encoder 2": encoder2}
    report = DirectedReport(asdict(settings), provenance(modules, command))
    inverter = DualEncoder(generator, encoder1, encoder2)
    size = min(generator.config.image_resolution, COMPARED)
    pack = Pack.open(settings.people)
    patches: dict[tuple[str, str], PatchStatistics] = {}
    persons = sample_people(settings.heads, settings.seed, held_out=True)
    for i, person in enumerate(persons):
        person = _lit_from(pack, person, _LIT_FROM)
        ring = Camera.look_at([360 * k / settings.yaws for k in range(settings.yaws)], 0.0)
        truth = _picture(pack, person, ring, size)
        view = _picture(pack, person, ring[0], 512)
        head = inverter.invert(view.image, ring[0], view.alpha).triplane
        directors = {
            "moved": Director(generator, head, known),
            "plain": Director(generator, head, known, motions=False),
        }
        if "generator" in settings.variants:
            described = _described(generator, pack, person)
            directors["generator"] = Director(generator, described, known, motions=False)
        as_it_is = {name: _render(generator, d.triplane, ring, size) for name, d in directors.items()}
        edited: dict[str, dict[str, Tensor]] = {}
        truths: dict[str, Tensor] = {}
        for j, name in enumerate(settings.asked):
            amount = _possible(known.attribute(name).group, name, settings.asked[name], person)
            wanted = _picture(pack, changed(person, {name: amount}), ring, size)
            if float((wanted.image - truth.image).square().mean().sqrt()) >= _NOTHING:
                truths[name] = wanted.image
                edited[name] = {"none": as_it_is["moved"]}
                edited[name] |= {
                    variant: _render(generator, director({name: amount}), ring, size)
                    for variant, director in directors.items()
                    if variant in settings.variants
                }
                moved = _moved(truth.image, wanted.image)
                rows = []
                for variant, picture in edited[name].items():
                    row = {"head": i, "attribute": name, "amount": amount, "variant": variant}
                    base = as_it_is.get(variant, as_it_is["moved"])
                    rows.append(row | _compare(picture, wanted.image, base, truth.image, moved))
                    kept = (1 - moved) * truth.alpha
                    for key, image in ((variant, picture), (f"truth {variant}", wanted.image)):
                        patches.setdefault((name, key), PatchStatistics(scales=2)).add(image, kept)
                report.rows += rows
                figures = (f"{r['variant']} {r['psnr']:.2f} ({r['psnr_moved']:.2f})" for r in rows)
                say(f"head {i}, {name} {amount:+g}, dB (of what moves): {', '.join(figures)}")
            if progress is not None:
                progress(i * len(settings.asked) + j + 1, len(persons) * len(settings.asked))
        report.shares += _shares(i, truth.image, truths, edited, as_it_is)
        if "light_yaw" in truths:
            pictures = {"before": truth.image, "wanted": truths["light_yaw"], **edited["light_yaw"]}
            tilts = {k: _right_minus_left(p[:1], truth.alpha[:1]) for k, p in pictures.items()}
            report.light.append({"head": i} | tilts | _light_read(known, head, pack, person))
        if sheet is not None:
            _save_sheet(sheet / f"head{i}.png", truth.image, truths, edited)
    for name, variant in patches:
        if not variant.startswith("truth"):
            pair = patches[(name, variant)], patches[(name, f"truth {variant}")]
            if all(part.sufficient for part in pair):
                report.patches.setdefault(name, {})[variant] = patch_distance(*pair)
    report.seconds = time.perf_counter() - start
    return report


def _described(generator: PanoHead, pack: Pack, person: Person) -> Triplane:
    """The generator's own head of a description."""
    standard = Standard.from_provenance(generator.provenance)
    w = styles_of(standard(numbers(person, light_of(pack, person).numbers)[None]), generator.config.w_dim)
    return generator.synthesize(w.to(generator.w_avg)[:, None].expand(-1, generator.config.num_ws, -1))


def _lit_from(pack: Pack, person: Person, yaw: float) -> Person:
    """The same in the same light, turned until most of it comes from there."""
    now = read_light(light_of(pack, person).numbers[None])["light_yaw"][0]
    return changed(person, {"light_yaw": yaw - float(now)})


def _possible(group: str, name: str, amount: float, person: Person) -> float:
    """What can be asked of someone: who has much of something is asked to have less."""
    if group not in _SHARES or name not in _traits(person):
        return amount
    return amount if 0 <= _traits(person)[name] + amount <= 1 else -amount


def _traits(person: Person) -> dict[str, float]:
    values = dict(zip(trait_names(), map(float, numbers(person, np.zeros(30))), strict=True))
    # Of attributes that are one trait.
    return {a.name: values[t] for a in ATTRIBUTES if len(a.moves) == 1 for t in a.moves}


def _picture(pack: Pack, person: Person, cameras: Camera, size: int) -> Rendering:
    return render_people(People(pack, (person,), held_out=True), cameras.to("cpu"), size)


def _render(generator: PanoHead, head: Triplane, ring: Camera, size: int) -> Tensor:
    view = generator.render(head, ring.to(head.planes.device), background=BACKDROP, quality="exact")
    return resize_area(view.image, size).cpu()


def _moved(before: Tensor, after: Tensor) -> Tensor:
    """[V,1,S,S], 1 where pictures differ, and around."""
    differs = ((after - before).abs().mean(1, keepdim=True) > _MOVED).float()
    return F.max_pool2d(differs, 2 * _AROUND + 1, 1, _AROUND)


def _compare(picture: Tensor, wanted: Tensor, as_it_is: Tensor, truth: Tensor, moved: Tensor) -> dict[str, float]:
    def over(change: Tensor, mask: Tensor) -> float:
        return float(((change.square().mean(1, keepdim=True) * mask).sum() / mask.sum().clamp(min=1)).sqrt())

    outside = 1 - moved
    return {
        "psnr": float(metrics.psnr(picture, wanted).mean()),
        "psnr_moved": float(20 * np.log10(2 / max(over(picture - wanted, moved), 1e-6))),
        "moved": float(moved.mean()),
        "outside": 1000 * over(picture - as_it_is, outside),
        "outside_truth": 1000 * over(wanted - truth, outside),
    }


def _shares(
    head: int,
    truth: Tensor,
    truths: Mapping[str, Tensor],
    edited: Mapping[str, Mapping[str, Tensor]],
    as_it_is: Mapping[str, Tensor],
) -> Iterable[dict]:
    """Changes of pictures as sums of true changes; ``as_it_is``: unedited, by variant, "moved" for the others."""
    names = list(truths)
    if not names:
        return []

    def vector(change: Tensor) -> np.ndarray:
        return resize_area(change, _TOLD_APART).flatten().double().numpy()

    basis = np.stack([vector(truths[name] - truth) for name in names], 1)
    found = []
    for name in names:
        for variant, picture in edited[name].items():
            if variant != "none":
                shares = np.linalg.lstsq(basis, vector(picture - as_it_is.get(variant, as_it_is["moved"])), rcond=None)[
                    0
                ]
                values = dict(zip(names, shares.tolist(), strict=True))
                found.append({"head": head, "edit": name, "variant": variant, "shares": values})
    return found


def _light_read(known: Directions, head: Triplane, pack: Pack, person: Person) -> dict[str, float]:
    """What the styles of a head say of its light, and the truth."""
    read, true = known.values(head.ws), read_light(light_of(pack, person).numbers[None])
    return {
        "read_yaw": float(read["light_yaw"][0]),
        "read_softness": float(read["light_softness"][0]),
        "true_softness": float(true["light_softness"][0]),
    }


def _right_minus_left(picture: Tensor, alpha: Tensor) -> float:
    """Mean brightness of a covered half minus the other's, 0..255."""
    grey = (picture.mean(1, keepdim=True) + 1) * 127.5
    halves = [float((g * a).sum() / a.sum()) for g, a in zip(grey.chunk(2, 3), alpha.chunk(2, 3), strict=True)]
    return halves[1] - halves[0]


def _save_sheet(path: Path, truth: Tensor, truths: Mapping[str, Tensor], edited: Mapping[str, dict]) -> None:
    """Rows of attributes: truth, edited truth, variants, from the front and the next view."""
    from ...export import save_png

    rows = []
    for name, wanted in truths.items():
        pictures = [truth, wanted, *edited[name].values()]
        rows.append(torch.cat([p[k] for k in (0, 1 % len(truth)) for p in pictures], 2))
    if rows:
        save_png(torch.cat(rows, 1), path)
