"""Typed configuration of the encoders; every default is the full-size model of the paper (encoders.md §1-2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import DualEncError

PROJECTIONS = ("w+", "w", "z+", "z")
REFINERS = ("triplanenet", "lifted", None)
UPSAMPLINGS = ("nearest", "pixelshuffle")


@dataclass(frozen=True)
class TrunkConfig:
    """The residual trunk "IR-SE-50".

    Attributes:
        in_channels: channels of the input image.
        widths: channels of the four groups; the stem has the first width. The first block of each group halves the
            resolution.
        blocks: bottlenecks of the four groups.
        squeeze_excite: channel attention at the end of every bottleneck (the "ir" variant has none).
        input_size: side of the input in pixels, a power of two from 32 up.
    """

    in_channels: int = 3
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    blocks: tuple[int, int, int, int] = (3, 4, 14, 3)
    squeeze_excite: bool = True
    input_size: int = 256

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or len(self.blocks) != 4 or min(*self.widths, *self.blocks, self.in_channels) < 1:
            raise DualEncError(
                f"trunk widths {self.widths} and blocks {self.blocks}: expected four positive numbers each"
            )

    def last(self, group: int) -> int:
        """Index of the last block of a group (0..3)."""
        return sum(self.blocks[: group + 1]) - 1


@dataclass(frozen=True)
class StyleConfig:
    """Stage one, image → style vectors.

    Attributes:
        trunk: the trunk.
        projection: "w+" (one vector per style row) or "w" (one vector for all rows); "z+" and "z" are the same in the
            input space of the mapping network (the paper's ablation).
        n_styles: style rows of the generator's backbone, 2·log2(plane size) - 2.
        coarse, middle: rows below ``coarse`` are drawn from the deepest map, rows below ``middle`` from the next,
            the others from the finest.
        w_dim: width of a style vector.
        head_width: channels inside the heads; None = the trunk's last width.
        z_dim: width of a latent, read with "z+" and "z" alone.
        psi: truncation of their style vectors (0.85 in the paper).
    """

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    projection: str = "w+"
    n_styles: int = 14
    coarse: int = 3
    middle: int = 7
    w_dim: int = 512
    head_width: int | None = None
    z_dim: int = 512
    psi: float = 0.85

    def __post_init__(self) -> None:
        size = self.trunk.input_size
        if size < 32 or size & (size - 1):
            raise DualEncError(f"encoder input_size is {size}, expected a power of two from 32 up (256 is the paper's)")
        if self.projection not in PROJECTIONS:
            raise DualEncError(f"projection is {self.projection!r}, expected one of {PROJECTIONS}")
        if not 0 < self.coarse <= self.middle <= self.n_styles:
            raise DualEncError(
                f"style groups are coarse {self.coarse}, middle {self.middle} of n_styles {self.n_styles}; "
                "expected 0 < coarse <= middle <= n_styles"
            )
        if not 0 < self.psi <= 1:
            raise DualEncError(f"psi is {self.psi}, expected a truncation above 0 and at most 1 (the paper has 0.85)")

    @property
    def single(self) -> bool:
        """One vector drives all rows."""
        return self.projection in ("w", "z")

    @property
    def latent(self) -> bool:
        """The vectors are latents, inputs of the mapping network."""
        return self.projection in ("z", "z+")

    @property
    def out_dim(self) -> int:
        """Width of stage one's output."""
        return self.z_dim if self.latent else self.w_dim


@dataclass(frozen=True)
class TriPlaneConfig:
    """Stage two as in TriPlaneNet: a U-net in the image plane.

    Attributes:
        trunk: the trunk; its input has 9 channels in version 2 and 6 in version 1.
        version: 2 = returns refined planes and sees the planes; 1 = returns an offset and does not see them.
        upsampling: "nearest" (the reference's default) or "pixelshuffle".
        plane_channels: channels of all three planes together (288 for PanoHead, 96 for EG3D).
        plane_size: cells along each side of a plane; the trunk's input size, half or twice that.
        mirrored: use the residual of the mirrored view; False feeds zeros (version 2).
    """

    trunk: TrunkConfig = field(default_factory=lambda: TrunkConfig(in_channels=9))
    version: int = 2
    upsampling: str = "nearest"
    plane_channels: int = 288
    plane_size: int = 256
    mirrored: bool = True

    def __post_init__(self) -> None:
        expected = {1: 6, 2: 9}.get(self.version)
        if expected is None:
            raise DualEncError(f"TriPlaneNet version is {self.version}, expected 1 or 2")
        if self.trunk.in_channels != expected:
            raise DualEncError(
                f"the trunk has {self.trunk.in_channels} input channels, expected {expected} for version {self.version}"
            )
        if self.upsampling not in UPSAMPLINGS or (self.version == 1 and self.upsampling != "pixelshuffle"):
            raise DualEncError(
                f"upsampling is {self.upsampling!r}, expected one of {UPSAMPLINGS} (version 1: pixelshuffle only)"
            )
        if self.plane_size not in (self.trunk.input_size // 2, self.trunk.input_size, self.trunk.input_size * 2):
            raise DualEncError(
                f"plane_size is {self.plane_size}, expected half, once or twice the input size {self.trunk.input_size}"
            )


@dataclass(frozen=True)
class LiftedConfig:
    """Stage two as a lifted residual: image errors are scattered into the tri-grid, then refined plane by plane.

    Attributes:
        features: channels of a tri-grid cell (C).
        depth: slices of a plane (D).
        plane_size: cells along each side of a plane, a multiple of 8.
        widths: channels of the shared U-net at half, quarter and eighth resolution.
        light: channels of the full-resolution path.
        surface: lift along the surface that stage one sees.
        volume_rays: rays along each side, and points along each ray, of the coarse lift through the whole head; None =
            just enough to leave no holes, 0 = no such lift.
        volume_extent: the coarse lift covers this distance in front of and behind the world origin, in world units.
        plane_scale: typical standard deviation of the generator's planes; the network works in units of it.
        mirrored: also lift the mirrored image from the mirrored camera.
        own_ends: every plane has first and last layers of its own; for planes whose features mean different things.
    """

    features: int = 32
    depth: int = 3
    plane_size: int = 256
    widths: tuple[int, int, int] = (48, 64, 96)
    light: int = 16
    surface: bool = True
    volume_rays: int | None = None
    volume_extent: float = 0.4
    plane_scale: float = 1.0
    mirrored: bool = False
    own_ends: bool = False

    def __post_init__(self) -> None:
        if self.plane_size % 8 or self.plane_size < 16:
            raise DualEncError(f"plane_size is {self.plane_size}, expected a multiple of 8 from 16 up")
        if not self.plane_scale > 0:
            raise DualEncError(f"plane_scale is {self.plane_scale}, expected the planes' standard deviation, above 0")
        if not (self.surface or self.volume_grid):
            raise DualEncError("the lifted refiner needs surface=True or volume_rays > 0; both are off")

    @property
    def volume_grid(self) -> int:
        """``volume_rays`` with None resolved: the frustum and the depth range each cover ¾ of a quarter-size plane."""
        return 3 * self.plane_size // 16 if self.volume_rays is None else self.volume_rays


@dataclass(frozen=True)
class HeadEncoderConfig:
    """The two-stage encoder.

    Attributes:
        style: stage one.
        refiner: "triplanenet" (the paper's), "lifted", or None (W+ alone).
        triplane, lifted: stage two; only the one that ``refiner`` names is built.
        passes: how often stage two runs, each time on a new render of its own result.
        tones: whether stage one's hair and skin take the photo's colours first, with generators that know such colours
            (`tones.fit_tones`), and in the end the head the one hue of a photo that has no other
            (`monochrome.share_hue`).
        outline: whether a head then goes on as far as the photo's matte does (`outline.fit_outline`).
        detail: steps of `detail.add_detail` after it, which give a head its photo's sharpness.
        strands: whether hair has streaks where no photo says how it looks (`strands.add_strands`); with detail.
        both_sides: whether stage one's hair hangs as far back on both sides (`symmetry.even_hair`), and what the photo
            hardly shows becomes stage one's again (`grazing.settle_grazing`), and then the mirror image of what it
            shows (`symmetry.complete_sides`).
        render_resolution: neural resolution of the renders that stage two compares with the photo.
        render_samples: coarse and importance samples a ray of those renders; None = the generator's.
        super_resolve: compare with the super-resolved image; False = with the raw one (cheaper).
        background: passed to ``generator.render``.
        generator: fingerprint of the generator that the encoder was trained for; None = any of fitting shape.
    """

    style: StyleConfig = field(default_factory=StyleConfig)
    refiner: str | None = "triplanenet"
    triplane: TriPlaneConfig = field(default_factory=TriPlaneConfig)
    lifted: LiftedConfig = field(default_factory=LiftedConfig)
    passes: int = 1
    tones: bool = True
    outline: bool = False
    strands: bool = True
    detail: int = 0
    both_sides: bool = False
    render_resolution: int = 128
    render_samples: tuple[int, int] | None = None
    super_resolve: bool = True
    background: str | float | tuple[float, ...] = "generator"
    generator: str | None = None

    def __post_init__(self) -> None:
        if self.refiner not in REFINERS:
            raise DualEncError(f"refiner is {self.refiner!r}, expected one of {REFINERS}")
        if self.passes < 1:
            raise DualEncError(f"passes is {self.passes}, expected at least 1")
        if self.detail < 0:
            raise DualEncError(f"detail is {self.detail}, expected 0 or more steps")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HeadEncoderConfig:
        """The inverse of `to_dict`; lists become tuples, absent fields keep their default.

        The short form of converted files ({"n_styles", "planes", "pixelshuffle"}) means the published full-size
        networks. Raises DualEncError for a field that does not exist.
        """
        if "pixelshuffle" in values:
            return cls(
                style=StyleConfig(n_styles=values.get("n_styles", 14)),
                triplane=TriPlaneConfig(
                    upsampling="pixelshuffle" if values["pixelshuffle"] else "nearest",
                    plane_channels=values.get("planes", 288),
                ),
            )
        return _build(cls, values, "encoder config")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON."""
        return plain(dataclasses.asdict(self))

    def replace(self, **changes: Any) -> HeadEncoderConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


_NESTED = {"style": StyleConfig, "triplane": TriPlaneConfig, "lifted": LiftedConfig, "trunk": TrunkConfig}


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    if not isinstance(values, Mapping):
        raise DualEncError(f"{where} is {type(values).__name__}, expected a dictionary")
    names = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise DualEncError(f"{where} has the unknown fields {unknown}, expected some of {names}")
    arguments = {}
    for name, value in values.items():
        if name in _NESTED:
            value = value if dataclasses.is_dataclass(value) else _build(_NESTED[name], value, f"{where}.{name}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def plain(value: Any) -> Any:
    """Values as JSON has them: tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
