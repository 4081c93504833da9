"""The two-stage encoder: photo → W+ → planes → refined planes (paper Eq. 1; encoders.md §2.1)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..camera import Camera
from ..choices import REFERENCE
from ..devices import half_type, in_full_float32
from ..errors import DualEncError, GeneratorMismatchError
from ..generator import PanoHead
from ..generator.prepared import HALF, PRESETS, check_quality, exact_way
from ..images import resize_area
from ..networks import SAME_FILE, load_strictly
from ..rendering.output import Rendering
from ..triplane import Triplane
from .config import HeadEncoderConfig
from .finishing import Photos, finish
from .lifted_refiner import LiftedRefiner
from .spaces import latents_to_styles
from .style_encoder import GradualStyleEncoder, SingleStyleEncoder
from .symmetry import even_hair
from .tones import fit_tones
from .triplane_encoder import TriPlaneEncoder
from .unprojection import Observation


@dataclass(frozen=True)
class EncoderOutput:
    """Both stages.

    Attributes:
        ws: [N,num_ws,w_dim], with gradient to stage one.
        coarse: stage one's triplane, with `symmetry.even_hair` where sides are completed; with gradient to stage one.
        refined: stage two's triplane, with gradient to stage two only; ``coarse`` itself without a refiner.
    """

    ws: Tensor
    coarse: Triplane
    refined: Triplane


class HeadEncoder(nn.Module):
    """Photo and camera → Triplane of a frozen generator.

    State-dict keys: ``stage_one.*`` and ``stage_two.*`` with the official names inside, and ``latent_avg`` [w_dim], the
    latent that stage one's output is relative to. Where a file has none (converted ones), and in a new encoder, it is
    taken from the generator that it is used with.
    """

    latent_avg: Tensor

    def __init__(self, config: HeadEncoderConfig | None = None, name: str = ""):
        super().__init__()
        config = config or HeadEncoderConfig()
        self.config = config
        self.name = name
        one = SingleStyleEncoder if config.style.single else GradualStyleEncoder
        self.stage_one = one(config.style)
        self.stage_two: TriPlaneEncoder | LiftedRefiner | None = None
        if config.refiner == "triplanenet":
            self.stage_two = TriPlaneEncoder(config.triplane)
        elif config.refiner == "lifted":
            self.stage_two = LiftedRefiner(config.lifted)
        self.register_buffer("latent_avg", torch.zeros(config.style.w_dim))
        self._has_average = False

    # -------------------------------------------------------------------------------------------------------- build

    @classmethod
    def from_config(
        cls,
        config: HeadEncoderConfig | Mapping[str, Any],
        state_dict: Mapping[str, Tensor] | None = None,
        name: str = "",
    ) -> HeadEncoder:
        """An encoder in eval mode; weights of any float type are used as float32.

        Raises CheckpointError when the weights do not fit the configuration, naming tensors.
        """
        config = config if isinstance(config, HeadEncoderConfig) else HeadEncoderConfig.from_dict(config)
        # Initial values are drawn and overwritten; the caller's random numbers must not notice.
        with torch.random.fork_rng(devices=[]):
            encoder = cls(config, name)
        if state_dict is not None:
            encoder.load_weights(state_dict)
        return encoder.eval()

    def load_weights(self, state_dict: Mapping[str, Tensor]) -> None:
        """Strictly load weights (``latent_avg`` may be absent); raises CheckpointError naming what does not fit."""
        has_average = "latent_avg" in state_dict
        given = {"latent_avg": torch.zeros(self.config.style.w_dim), **state_dict}
        load_strictly(self, given, "the encoder's configuration", SAME_FILE)
        self._has_average = has_average

    def start_from(self, state_dict: Mapping[str, Tensor]) -> list[str]:
        """Copy whatever fits, to begin a training; returns the names that keep their initial values."""
        own = self.state_dict()
        given = {k: v for k, v in state_dict.items() if k in own and v.shape == own[k].shape}
        self.load_state_dict(given, strict=False)
        return [k for k in own if k not in given]

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._has_average = self._has_average or f"{prefix}latent_avg" in state_dict

    def use_average(self, generator: PanoHead) -> None:
        """Take the generator's average latent as the origin of stage one's output (§1.4)."""
        self.latent_avg.copy_(generator.w_avg)
        self._has_average = True

    # -------------------------------------------------------------------------------------------------------- encode

    def encode(
        self,
        generator: PanoHead,
        image: Tensor,
        camera: Camera,
        matte: Tensor | None = None,
        quality: str = "exact",
    ) -> Triplane:
        """Invert aligned portraits; arguments and errors as in `encode_stages`.

        Returns N heads, with the generator's fingerprint, and encoder and camera in ``meta``.

        Example:
            >>> import torch, dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> from dualenc_core.encoders import HeadEncoder, HeadEncoderConfig, StyleConfig, TrunkConfig
            >>> trunk = TrunkConfig(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1), input_size=32)
            >>> style = StyleConfig(trunk, n_styles=6, coarse=2, middle=4, head_width=8)
            >>> encoder = HeadEncoder.from_config(HeadEncoderConfig(style, refiner=None))  # stage one alone
            >>> head = encoder.encode(generator, torch.zeros(1, 3, 64, 64), dc.Camera.look_at())
            >>> head.planes.shape
            torch.Size([1, 3, 12, 16, 16])
        """
        return self.encode_stages(generator, image, camera, matte, quality).refined

    @in_full_float32
    @torch.no_grad()
    def encode_stages(
        self,
        generator: PanoHead,
        image: Tensor,
        camera: Camera,
        matte: Tensor | None = None,
        quality: str = "exact",
        ws: Tensor | None = None,
    ) -> EncoderOutput:
        """Invert aligned portraits, and keep what stage one made of them.

        Args:
            generator: the generator that the encoder was trained for.
            image: [N,3,S,S] in [-1,1], S at least the encoder's input size (256 at full size, 512 is usual).
            camera: N cameras of the portraits, or one for all.
            matte: [N,1,S',S'] in 0..1, coverage of the head: for the lifted refiner, tones, outline and
                detail; None = without.
            quality: "exact"; "reference" = with the plain renderer; "high" and "draft" = the encoder's own networks in
                16 bits where the device computes fast in them (`devices.half_type`). Demo encoders in bfloat16 then
                make planes that differ by 0.3 to 1.2 % and pictures that differ by 47 to 66 dB, hardly faster on a CPU.
            ws: [N,num_ws,w_dim] that an encoder with `same_styles` found in these portraits; None = by stage one.

        Returns N heads of both stages; ``refined`` is the result, with encoder and camera in its ``meta``.

        Raises DualEncError for a wrong shape, range, NaN, or batch; GeneratorMismatchError for a generator that does
        not fit.
        """
        check_quality(quality)
        device = self.latent_avg.device
        image, camera = image.to(device), camera.to(device)
        matte = None if matte is None else matte.to(device)
        check_values("image", image, -1.0, 1.0)
        if matte is not None:
            check_values("matte", matte, 0.0, 1.0)
        with _evaluating(self):
            renders = quality if quality == REFERENCE else self.renders(generator)
            half = half_type(device) if quality in HALF else torch.float32
            if half == torch.float16 and renders in PRESETS:
                # Networks of 16 bits need no better pictures.
                renders = quality
            places = self._check(generator, image, camera, matte)
            if ws is None:
                with _computing_in(half, device):
                    ws = self.styles(image, generator).float()
                if self.config.tones and matte is not None:
                    ws = fit_tones(generator, ws, image, places, matte, renders)
            output = self(generator, image, camera, matte, quality=renders, dtype=half, ws=ws)
            photos = Photos(image, places, matte)
            refined = finish(generator, output.refined, output.coarse, photos, self.config, renders)
        meta = {
            **refined.meta,
            "encoder": self.name,
            "camera": camera.label.tolist(),
            "projection": self.config.style.projection,
            "refiner": self.config.refiner,
            "passes": self.config.passes,
            "tones": self.config.tones,
            "strands": self.config.strands and self.config.detail > 0,
            "outline": self.config.outline,
            "detail": self.config.detail,
            "both_sides": self.config.both_sides,
        }
        if self.config.refiner == "lifted" and self.config.lifted.own_ends:
            meta["own_ends"] = True
        return dataclasses.replace(output, refined=refined.replace(meta=meta))

    @in_full_float32
    def forward(
        self,
        generator: PanoHead,
        image: Tensor,
        camera: Camera,
        matte: Tensor | None = None,
        refine: bool = True,
        quality: str = "reference",
        dtype: torch.dtype = torch.float32,
        ws: Tensor | None = None,
    ) -> EncoderOutput:
        """Both stages with gradients; arguments as in `encode`, values unchecked.

        Args:
            refine: False leaves stage two out (its training starts later).
            quality: of the renders that stage two sees (`PanoHead.render`).
            dtype: that the encoder's networks compute in; the generator's keep theirs.
            ws: what stage two begins with; None = what stage one makes.

        Each stage gets gradients from its own output only: whatever enters stage two is detached.
        """
        camera = self._check(generator, image, camera, matte)
        if ws is None:
            with _computing_in(dtype, image.device):
                ws = self.styles(image, generator).float()
        coarse = generator.synthesize(ws, noise="const")
        if self.config.both_sides:
            coarse = even_hair(generator, coarse, camera)
        refined = coarse
        if refine and self.stage_two is not None:
            refined = coarse.detach()
            for _ in range(self.config.passes):
                refined = self.refine(generator, refined, image, camera, matte, quality, dtype)
        return EncoderOutput(ws, coarse, refined)

    @in_full_float32
    def styles(self, image: Tensor, generator: PanoHead | None = None) -> Tensor:
        """Stage one: image [N,3,S,S] → ws [N,num_ws,w_dim], the average included.

        Latents of Z and Z+ need the generator, whose mapping network has learned the average (§9, Z ablation).
        """
        offset = self.stage_one(resize_area(image, self.config.style.trunk.input_size))
        if self.config.style.latent:
            if generator is None:
                raise DualEncError(f"projection {self.config.style.projection!r} needs the generator to make styles")
            return latents_to_styles(generator, offset.float(), self.config.style.psi)
        ws = offset + self.latent_avg
        return ws if ws.ndim == 3 else ws[:, None].expand(-1, self.config.style.n_styles, -1)

    @in_full_float32
    def refine(
        self,
        generator: PanoHead,
        triplane: Triplane,
        image: Tensor,
        camera: Camera,
        matte: Tensor | None = None,
        quality: str = "reference",
        dtype: torch.dtype = torch.float32,
    ) -> Triplane:
        """One pass of stage two: compare the photo with a render of the triplane and correct its planes."""
        planes = triplane.planes
        if isinstance(self.stage_two, TriPlaneEncoder):
            residuals = self._residuals(generator, triplane, image, camera, quality)
            with _computing_in(dtype, planes.device):
                delta = self.stage_two.delta(residuals, planes.detach().flatten(1, 2)).float().reshape(planes.shape)
        elif isinstance(self.stage_two, LiftedRefiner):
            views = self._observations(generator, triplane, image, camera, matte, quality)
            with _computing_in(dtype, planes.device):
                delta = self.stage_two.delta(views, planes.detach(), generator.config.render.box_warp).float()
        else:
            raise DualEncError("this encoder has no second stage (refiner is None); use a file that has one")
        return triplane.replace(planes=planes + delta)

    def renders(self, generator: PanoHead) -> str:
        """The fastest exact quality for the renders of one pass of stage two."""
        options = generator.render_options(self.config.render_samples)
        views = 2 if self._mirrored else 1
        lookups = views * self.config.render_resolution**2 * (options.samples + options.importance)
        return exact_way(lookups, generator.config.plane_size)

    def same_styles(self, other: object) -> bool:
        """Whether another encoder finds the same style vectors in a portrait."""
        if not isinstance(other, HeadEncoder) or self.config.tones != other.config.tones:
            return False
        if self.config.style != other.config.style or self._has_average != other._has_average:
            return False
        mine, theirs = ([e.latent_avg, *e.stage_one.state_dict().values()] for e in (self, other))
        return all(a.device == b.device and torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))

    # ------------------------------------------------------------------------------------------------------ internal

    @property
    def _mirrored(self) -> bool:
        """Whether stage two also compares the mirrored photo with the mirrored view."""
        if self.config.refiner == "lifted":
            return self.config.lifted.mirrored
        return self.config.triplane.version == 2 and self.config.triplane.mirrored

    @torch.no_grad()
    def _render(
        self, generator: PanoHead, triplane: Triplane, cameras: Sequence[Camera], quality: str = "reference"
    ) -> list[Rendering]:
        """The heads from every one of ``cameras`` (batches of their number, or one for all)."""
        config = self.config

        def draw(camera: Camera) -> Rendering:
            return generator.render(
                triplane,
                camera,
                resolution=config.render_resolution,
                super_resolve=config.super_resolve,
                background=config.background,
                samples=config.render_samples,
                quality=quality,
            )

        if len(triplane) == 1 and all(len(camera) == 1 for camera in cameras):
            # Whatever is prepared for a head serves all its pictures.
            views = draw(Camera.cat(cameras))
            return [views[i] for i in range(len(cameras))]
        return [draw(camera) for camera in cameras]

    @torch.no_grad()
    def _residuals(
        self, generator: PanoHead, triplane: Triplane, image: Tensor, camera: Camera, quality: str = "reference"
    ) -> Tensor:
        """[render, image - render, mirrored image - mirrored render] at the input size."""
        config = self.config.triplane
        image = resize_area(image, config.trunk.input_size)
        cameras = [camera, camera.mirrored] if self._mirrored else [camera]
        views = self._render(generator, triplane, cameras, quality)
        render, *others = (resize_area(view.image, config.trunk.input_size) for view in views)
        channels = [render, image - render]
        if config.version == 2:
            channels += [image.flip(-1) - other for other in others] or [torch.zeros_like(image)]
        return torch.cat(channels, dim=1)

    @torch.no_grad()
    def _observations(
        self,
        generator: PanoHead,
        triplane: Triplane,
        image: Tensor,
        camera: Camera,
        matte: Tensor | None = None,
        quality: str = "reference",
    ) -> list[Observation]:
        views = [(camera, image, matte)]
        if self._mirrored:
            views.append((camera.mirrored, image.flip(-1), None if matte is None else matte.flip(-1)))
        renderings = self._render(generator, triplane, [view[0] for view in views], quality)
        return [Observation.compare(*view, rendering) for view, rendering in zip(views, renderings, strict=True)]

    def check(self, generator: PanoHead) -> None:
        """Raise GeneratorMismatchError unless the encoder's styles are those of this generator."""
        style = self.config.style
        if (style.n_styles, style.w_dim) != (generator.config.num_ws, generator.config.w_dim):
            raise GeneratorMismatchError(
                f"the encoder {self.name!r} makes {style.n_styles} styles of width {style.w_dim}, the generator reads "
                f"{generator.config.num_ws} of width {generator.config.w_dim}; load the generator it was trained for"
            )
        if style.latent and style.z_dim != generator.config.z_dim:
            raise GeneratorMismatchError(
                f"the encoder {self.name!r} makes latents of width {style.z_dim}, the generator's z_dim is "
                f"{generator.config.z_dim}; load the generator it was trained for"
            )
        wanted = self.config.generator
        if wanted is not None and not generator.training and wanted != generator.fingerprint:
            raise GeneratorMismatchError(
                f"the encoder {self.name!r} was trained for the generator {wanted}, this one is "
                f"{generator.fingerprint}; load the matching pair"
            )

    def _check(self, generator: PanoHead, image: Tensor, camera: Camera, matte: Tensor | None) -> Camera:
        size = self.config.style.trunk.input_size
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] != image.shape[3]:
            raise DualEncError(f"image has shape {tuple(image.shape)}, expected [N,3,S,S]; align the portrait first")
        if image.shape[-1] < size:
            raise DualEncError(
                f"image is {image.shape[-1]} pixels wide, expected at least {size}, the encoder's input size; "
                "align the portrait at a larger size"
            )
        if matte is not None and (matte.ndim != 4 or matte.shape[:2] != (len(image), 1)):
            raise DualEncError(f"matte has shape {tuple(matte.shape)}, expected [{len(image)},1,S,S]")
        if len(camera) not in (1, len(image)):
            raise DualEncError(f"there are {len(camera)} cameras for {len(image)} images; expected as many, or one")
        self.check(generator)
        if not self._has_average:
            # Anew at every use, so that the result does not depend on which generator came first.
            self.latent_avg.copy_(generator.w_avg)
        return camera.expand(len(image))


def check_values(name: str, image: Tensor, low: float, high: float, tolerance: float = 0.05) -> None:
    """Raise DualEncError for NaN, infinity, or values outside low..high (resampling may overshoot a little)."""
    if not image.is_floating_point():
        raise DualEncError(f"{name} has type {image.dtype}, expected floating point in {low:g}..{high:g}")
    if image.numel() == 0:
        raise DualEncError(f"{name} is empty: shape {tuple(image.shape)}")
    least, most = (float(v) for v in image.aminmax())
    if not (low - tolerance <= least and most <= high + tolerance):
        raise DualEncError(
            f"{name} has values from {least:g} to {most:g}, expected {low:g}..{high:g} without NaN; "
            "divide 8-bit values by 127.5 and subtract 1 for images, or by 255 for mattes"
        )


def _computing_in(dtype: torch.dtype, device: torch.device) -> contextlib.AbstractContextManager:
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    # Encoding while training must neither use nor move batch statistics.
    if not any(m.training for m in module.modules()):
        yield
        return
    states = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in states:
            m.training = training
