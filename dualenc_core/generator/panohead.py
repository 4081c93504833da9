"""The assembled generator: mapping, tri-grid backbone, renderer, background, super-resolution (panohead.md §1, §7)."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..camera import DEFAULT_RADIUS, Camera
from ..choices import REFERENCE
from ..devices import frames_at_once, in_full_float32, rays_at_once
from ..errors import DualEncError, GeneratorMismatchError
from ..networks import SAME_FILE, load_strictly
from ..rendering.output import Rendering
from ..rendering.renderer import EMPTY_SIGMA, Draws, RayOutput, RenderOptions, render_rays
from ..rendering.trigrid import lookup
from ..triplane import Triplane
from .background import Background, parse_background
from .config import GeneratorConfig
from .decoder import OSGDecoder
from .layers import ToRGBLayer
from .mapping import MappingNetwork, truncate
from .painter import Job, Look, Painter, PlainPainter, jobs_of, paint
from .prepared import UNCROPPED, PreparedHeads, check_quality
from .superresolution import SuperResolution
from .synthesis import SynthesisNetwork

# Rounding of a camera matrix is no other distance.
_SAME_DISTANCE = 0.01
_NEAREST = 0.05


def _without_idle_graph(method: Callable) -> Callable:
    """Gradients off unless something that makes the picture requires them: plain scripts leave them on everywhere."""

    @functools.wraps(method)
    def run(self: PanoHead, triplane: Triplane, camera: Camera, *given: Any, **options: Any) -> Rendering:
        tensors = [value for value in (*given, *options.values()) if isinstance(value, Tensor)]
        with torch.set_grad_enabled(self._asked_for_gradients(triplane, camera, *tensors)):
            return method(self, triplane, camera, *given, **options)

    return run


class Backbone(nn.Module):
    """Mapping and tri-grid synthesis, named as in official files."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.synthesis = SynthesisNetwork(
            config.w_dim,
            config.plane_size,
            3 * config.plane_channels,
            config.channel_base,
            config.channel_max,
            config.conv_clamp,
            config.half_blocks,
        )
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            config.num_ws,
            config.mapping_layers,
            lr_multiplier=0.01,
            width=config.mapping_width,
        )


class PanoHead(nn.Module):
    """z or W+ → tri-grid → pictures from any camera.

    State-dict keys are those of official files. Use `from_config` to build one from a file's arguments, or
    ``dualenc_core.load_generator`` to read a file.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        config = config or GeneratorConfig()
        self.config = config
        self._fingerprint: str | None = None
        self._prepared = PreparedHeads()
        # What the file says about its origin; `load_generator` fills it in.
        self.provenance: Mapping[str, Any] = {}
        self.backbone = Backbone(config)
        if config.background:
            self.bcg_synthesis = SynthesisNetwork(
                config.w_dim,
                config.sr.input_resolution,
                config.features,
                config.channel_base // 2,
                config.channel_max,
                config.conv_clamp,
                config.half_blocks,
            )
        self.superresolution = SuperResolution(config.features, config.sr)
        if config.torgb_raw:
            self.torgb = ToRGBLayer(config.features, 3, config.w_dim)
        self.decoder = OSGDecoder(
            config.features, config.decoder_width, config.decoder_lr_mul, config.decoder_activation
        )
        self.t_mapping = MappingNetwork(
            config.z_dim, config.c_dim, 3, 1, config.mapping_layers, lr_multiplier=1.0, last_activation="linear"
        )
        # Official snapshots carry it; nothing reads it.
        self.register_buffer("dataset_label_std", torch.zeros(config.c_dim))

    # ------------------------------------------------------------------------------------------------------ build

    @classmethod
    def from_config(
        cls,
        init_kwargs: Mapping[str, Any],
        rendering_kwargs: Mapping[str, Any],
        state_dict: Mapping[str, Tensor] | None = None,
        neural_resolution: int | None = None,
    ) -> PanoHead:
        """A generator in eval mode from the arguments and weights of an official file (panohead.md §1.2-1.3, §9).

        Raises CheckpointError when the weights do not fit the arguments, naming the tensors.

        Example:
            >>> import dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> generator.config.plane_size, generator.config.num_ws
            (16, 6)
        """
        # Initial values are drawn and overwritten; the caller's random numbers must not notice.
        with torch.random.fork_rng(devices=[]):
            generator = cls(GeneratorConfig.from_official(init_kwargs, rendering_kwargs, neural_resolution))
        if state_dict is not None:
            generator.load_weights(state_dict)
        return generator.eval().requires_grad_(False)

    def load_weights(self, state_dict: Mapping[str, Tensor]) -> None:
        """Strictly load weights of any float type as float32; raises CheckpointError naming what does not fit."""
        given = {"dataset_label_std": torch.zeros(self.config.c_dim), **state_dict}
        load_strictly(self, given, "the generator's configuration", SAME_FILE)
        self._fingerprint = None
        self._prepared.clear()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell apart generators whose triplanes must not be mixed.

        A hash of the configuration and of the weights that read a triplane (decoder, to-RGB, super-resolution). How
        much of a head pictures show (`RenderOptions.crop`) is not part of it.
        """
        if self._fingerprint is None:
            render = dataclasses.replace(self.config.render, crop=RenderOptions.crop)
            digest = hashlib.sha256(repr(self.config.replace(render=render)).encode())
            for name, tensor in self.state_dict().items():
                if name.startswith(("decoder.", "torgb.", "superresolution.", "backbone.mapping.w_avg")):
                    digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    @property
    def w_avg(self) -> Tensor:
        """[w_dim] running mean of w."""
        return self.backbone.mapping.w_avg

    # --------------------------------------------------------------------------------------------------- latents

    def latents(self, seed: int, count: int = 1) -> Tensor:
        """z [count,z_dim]; row i depends on seed + i alone, so that a head can be made again by itself.

        Drawn on the CPU: a seed means the same head on every device.

        Example:
            >>> import dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> z = generator.latents(seed=7, count=3)
            >>> z.shape, z[2].equal(generator.latents(seed=9)[0])
            (torch.Size([3, 512]), True)
        """
        rows = [torch.randn(self.config.z_dim, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
        return torch.stack(rows).to(self.w_avg.device)

    def mapping(
        self,
        z: Tensor,
        camera: Camera | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_average: bool = False,
    ) -> Tensor:
        """Latents to style vectors (§2.3).

        Args:
            z: [N,z_dim], standard normal.
            camera: conditioning view, 1 or N; None = the canonical front.
            truncation_psi: 1 = none, 0 = the average head.
            truncation_cutoff: truncate only this many rows.

        Returns ws [N,num_ws,w_dim].

        Example:
            >>> import dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> ws = generator.mapping(generator.latents(seed=0), truncation_psi=0.7)
            >>> ws.shape
            torch.Size([1, 6, 512])
        """
        label = self._conditioning_label(camera, len(z), z.device) * self.config.c_scale
        return self.backbone.mapping(z, label, truncation_psi, truncation_cutoff, update_average)

    def camera_offset(self, z: Tensor, camera: Camera, truncation_psi: float = 1.0) -> Tensor:
        """Translation [N,3] that the camera self-adaptation adds to the render camera (§2.4)."""
        label = self._conditioning_label(camera, len(z), z.device) * self.config.c_scale
        return self.t_mapping(z, label, truncation_psi)[:, 0]

    def truncate(self, ws: Tensor, psi: float) -> Tensor:
        """Move ws [N,num_ws,w_dim] towards the average head."""
        return truncate(ws, self.w_avg, psi)

    def _conditioning_label(self, camera: Camera | None, count: int, device: torch.device) -> Tensor:
        camera = Camera.look_at() if camera is None else camera
        label = camera.to(device).expand(count).label
        return label if self.config.pose_conditioning else torch.zeros_like(label)

    # ------------------------------------------------------------------------------------------------- triplanes

    @in_full_float32
    def synthesize(self, ws: Tensor, noise: str = "const") -> Triplane:
        """ws [N,num_ws,w_dim] → Triplane; ``noise`` is "const", "none" or "random" (§2.7).

        Example:
            >>> import dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
            >>> head.planes.shape, head.generator == generator.fingerprint
            (torch.Size([1, 3, 12, 16, 16]), True)
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.config.num_ws, self.config.w_dim):
            raise DualEncError(f"ws has shape {tuple(ws.shape)}, expected [N,{self.config.num_ws},{self.config.w_dim}]")
        planes = self.backbone.synthesis(ws, noise)
        planes = planes.reshape(len(ws), 3, self.config.plane_channels, *planes.shape[2:])
        return Triplane(planes, ws, self.config.plane_depth, "" if self.training else self.fingerprint)

    def query(self, triplane: Triplane, points: Tensor) -> tuple[Tensor, Tensor]:
        """Raw density [N,M,1] (before softplus, not cropped) and colour features [N,M,C] at world points [N,M,3].

        Overlays are blended here, so that everything that reads a triplane sees them.

        Example:
            >>> import torch, dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
            >>> sigma, features = generator.query(head, torch.zeros(1, 5, 3))
            >>> sigma.shape, features.shape
            (torch.Size([1, 5, 1]), torch.Size([1, 5, 4]))
        """
        sigma, features = self._decode(triplane.planes, points)
        for overlay in triplane.overlays:
            weight = overlay.weight(points)
            other_sigma, other_features = self._decode(overlay.planes, points)
            sigma = torch.lerp(sigma, other_sigma, weight)
            features = torch.lerp(features, other_features, weight)
        return sigma, features

    def solid_density(self, triplane: Triplane) -> Callable[[Tensor], Tensor]:
        """The density of one head, for work that asks many points of it: world points [1,M,3] → raw [1,M,1].

        As `query`, up to rounding, where there may be anything; where nothing shows it says a very low density without
        looking. Without gradients.
        """
        if len(triplane) != 1:
            raise DualEncError(f"triplane has {len(triplane)} heads, expected one; take one with triplane[0]")
        if self._asked_for_gradients(triplane) or not self._can_be_fast:
            return lambda points: self.query(triplane, points)[0]
        field = self._prepared.get(self, triplane, UNCROPPED).field

        def density(points: Tensor) -> Tensor:
            result = points.new_full((points.shape[1],), EMPTY_SIGMA)
            some = field.occupancy(points[0]).nonzero()[:, 0]
            result[some] = field.density(field.hidden(points[0, some]))
            return result[None, :, None]

        return density

    @property
    def _can_be_fast(self) -> bool:
        # A subclass may have a field of its own, which the fast renderer would not ask.
        own_field = type(self).query is not PanoHead.query or type(self)._decode is not PanoHead._decode
        return not (self.training or own_field or self.config.decoder_activation != "none")

    def _decode(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.decoder(lookup(planes, points, self.config.plane_depth, self.config.render.box_warp))

    # ------------------------------------------------------------------------------------------------- rendering

    @in_full_float32
    @_without_idle_graph
    def render(
        self,
        triplane: Triplane,
        camera: Camera,
        resolution: int | None = None,
        super_resolve: bool = True,
        background: Background = "generator",
        samples: int | tuple[int, int] | None = None,
        draws: Draws | None = None,
        progress: Callable[[int, int], None] | None = None,
        chunk: int | None = None,
        ws_background: Tensor | None = None,
        quality: str = "exact",
        options: RenderOptions | None = None,
    ) -> Rendering:
        """Pictures of heads (§7).

        Args:
            triplane, camera: batches of equal length, or one of them of length 1.
            resolution: rays along each side; None = the generator's.
            super_resolve: False returns the raw image as ``image``.
            background: "generator"; "none" (black where the head is not; straight colours, for use with alpha); or a
                colour of three numbers in 0..1.
            samples: coarse and importance samples a ray, one number for both; None = the generator's.
            draws: the reference's random numbers (`Draws`), with its fixed depth limits too; None = deterministic.
            progress: called as progress(done, total) after every frame, or several that were drawn together.
            chunk: rays in memory at once; None = as many as suit the device. Accelerators draw several frames of a head
                together if they have no more rays.
            ws_background: other style vectors for the background network.
            quality: "reference" = the plain renderer; "exact" = the same up to rounding, "high" and "draft" = with
                stated errors (`fast.PRESETS`), many times as fast from the second picture of a head on. Ignored while
                training, with ``draws``, for decoders with an activation, and where gradients are asked for: planes,
                styles, cameras or weights that require them, outside of ``torch.no_grad()``.
            options: the whole ray sampling, instead of ``samples`` and limits that follow the cameras.

        Raises GeneratorMismatchError for a triplane of another generator, DualEncError for other wrong input.

        Example:
            >>> import dualenc_core as dc
            >>> generator = dc.PanoHead.from_config(
            ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
            ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
            ... )  # tiny, untrained
            >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
            >>> views = generator.render(head, dc.Camera.orbit(2), resolution=16)
            >>> views.image.shape, views.depth.shape
            (torch.Size([2, 3, 32, 32]), torch.Size([2, 1, 16, 16]))
        """
        self.check(triplane)
        check_quality(quality)
        frames, device = max(len(triplane), len(camera)), triplane.planes.device
        look = Look(
            resolution or self.config.neural_resolution,
            super_resolve,
            parse_background(background),
            draws,
            chunk or rays_at_once(device),
        )
        places = camera.expand(frames)
        camera = places.to(device)
        ws = None if ws_background is triplane.ws else ws_background
        quality = self._possible(quality, draws)
        # The reference's draws couple the rays of a batch; gradients need the batch in one graph anyway; and raw frames
        # of many heads, as trainings draw them, are small for an accelerator.
        coupled = draws is not None or torch.is_grad_enabled()
        if quality == REFERENCE and not super_resolve and frames_at_once(device) > 1:
            coupled = coupled or _same_distance(places)
        if coupled or (frames == 1 and quality == REFERENCE):
            triplane = _expand(triplane, frames)
            ws = None if ws is None else ws.expand(frames, -1, -1)
            options = options or self.render_options(samples, camera if draws is None else None)
            jobs = [Job(None, 0, frames, options)]
        else:
            alone = len(triplane) == 1 and (ws is None or len(ws) == 1)
            together = min(frames_at_once(device), look.chunk // look.resolution**2) if alone else 1
            # Distances are asked of the cameras in one go: a question to an accelerator makes it wait.
            places = places.to("cpu")
            sampling = [options or self.render_options(samples, places[i]) for i in range(frames)]
            jobs = jobs_of(sampling, alone, 1 if quality == REFERENCE else together)

        def painter(heads: Triplane) -> Painter:
            return PlainPainter(self, heads) if quality == REFERENCE else self._prepared.get(self, heads, quality)

        return paint(painter, triplane, ws, camera, jobs, look, progress)

    def stream(self, triplane: Triplane, camera: Camera, **options: Any) -> Iterator[Rendering]:
        """Frames one by one, as they are made (on accelerators a few at once): memory does not grow with their number.

        Arguments and errors as `render`, which holds all frames at once; ``progress`` counts frames.
        """
        frames = max(len(triplane), len(camera))
        camera = camera.expand(frames)
        progress = options.pop("progress", None)
        # The first leaves as soon as it can.
        start, together = 0, 1
        while start < frames:
            head = triplane[start] if len(triplane) > 1 else triplane
            views = self.render(head, camera[start : start + together], **options)
            for i in range(len(views)):
                yield views[i]
                if progress is not None:
                    progress(start + i + 1, frames)
            start += together
            together = frames_at_once(triplane.planes.device) if len(triplane) == 1 else 1

    def release_prepared(self) -> None:
        """Free what fast rendering keeps of the last heads; it comes back at the next picture."""
        self._prepared.clear()

    def render_options(
        self, samples: int | tuple[int, int] | None = None, camera: Camera | None = None
    ) -> RenderOptions:
        """The generator's ray sampling, with other sample counts, and moved along with cameras at other distances.

        The limits of an official file hold for cameras 2.7 from the origin; without the move a head that is further
        away would lie beyond them.
        """
        options = self.config.render
        if samples is not None:
            coarse, fine = (samples, samples) if isinstance(samples, int) else samples
            options = dataclasses.replace(options, samples=coarse, importance=fine)
        if camera is not None:
            moves = camera.position.norm(dim=-1) - DEFAULT_RADIUS
            least, most = (0.0 if abs(move) < _SAME_DISTANCE else move for move in map(float, moves.aminmax()))
            near, far = max(options.near + least, _NEAREST), max(options.far + most, 2 * _NEAREST)
            options = dataclasses.replace(options, near=near, far=far)
        return options

    @in_full_float32
    def render_rays(
        self,
        triplane: Triplane,
        origins: Tensor,
        directions: Tensor,
        options: RenderOptions | None = None,
        draws: Draws | None = None,
        chunk: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        quality: str = REFERENCE,
    ) -> RayOutput:
        """Features [N,R,C], depth [N,R] and alpha [N,R] of rays [N,R,3], without background; ``quality`` as in
        `render`."""
        check_quality(quality)
        options = options or self.config.render
        chunk = chunk or rays_at_once(origins.device)
        gradients = self._asked_for_gradients(triplane) or origins.requires_grad or directions.requires_grad
        if not gradients and self._possible(quality, draws, False) != REFERENCE:
            parts, count = [], origins.shape[1]
            for i, rays in enumerate(zip(origins.split(1), directions.split(1), strict=True)):
                head = self._prepared.get(self, triplane[i] if len(triplane) > 1 else triplane, quality)
                step = _share_of(progress, i, len(origins), count)
                parts.append(head.render_rays(*rays, options, chunk, step))
            return RayOutput(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        output = render_rays(
            lambda points: self.query(triplane, points), origins, directions, options, draws, chunk, progress
        )
        if self.config.decoder_activation == "sigmoid":
            output = output._replace(features=output.features * 2 - 1)
        return output

    @in_full_float32
    def background_features(self, ws: Tensor) -> Tensor | None:
        """[N,C,s,s] at the super-resolution's input size; None when there is no background network (§2.10)."""
        if not self.config.background:
            return None
        rows = ws[:, : self.config.background_num_ws]
        if rows.shape[1] < self.config.background_num_ws:
            last = rows[:, -1:].expand(-1, self.config.background_num_ws - rows.shape[1], -1)
            rows = torch.cat([rows, last], dim=1)
        return self.bcg_synthesis(rows)

    @in_full_float32
    def to_rgb(self, features: Tensor, ws: Tensor) -> Tensor:
        """Feature image [N,C,h,w] → raw image [N,3,h,w] (§2.12)."""
        return self.torgb(features, ws[:, -1], fused=False) if self.config.torgb_raw else features[:, :3]

    def forward(
        self,
        z: Tensor,
        camera: Camera,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        **render: Any,
    ) -> Rendering:
        """Mapping, camera self-adaptation, synthesis and rendering with one camera for all (§1.1).

        Scripts of the reference call `mapping` and `render` instead, without the camera offset.
        """
        ws = self.mapping(z, camera, truncation_psi, truncation_cutoff)
        camera = camera.translated(self.camera_offset(z, camera, truncation_psi))
        return self.render(self.synthesize(ws), camera, **render)

    def _possible(self, quality: str, draws: Draws | None, gradients: bool | None = None) -> str:
        """The asked quality, or the plain renderer where only that can do it."""
        gradients = torch.is_grad_enabled() if gradients is None else gradients
        return REFERENCE if draws is not None or gradients or not self._can_be_fast else quality

    def _asked_for_gradients(self, triplane: Triplane, camera: Camera | None = None, *others: Tensor | None) -> bool:
        """Whether anything that makes a picture requires gradients, where they are kept at all."""
        if not torch.is_grad_enabled():
            return False
        inputs = [triplane.planes, triplane.ws, *others]
        inputs += [] if camera is None else [camera.cam2world, camera.intrinsics]
        for overlay in triplane.overlays:
            inputs += [overlay.planes, *vars(overlay.weight).values()]
        asked = (isinstance(x, Tensor) and x.requires_grad for x in inputs)
        return any(asked) or any(p.requires_grad for p in self.parameters())

    def check(self, triplane: Triplane) -> None:
        """Raise GeneratorMismatchError unless this generator can read the triplane.

        Weights change while training: then only the shapes are compared.
        """
        if triplane.generator and not self.training and triplane.generator != self.fingerprint:
            raise GeneratorMismatchError(
                f"this triplane was made by generator {triplane.generator}, but it is used with {self.fingerprint}; "
                "load the generator that made it"
            )
        channels, size = triplane.planes.shape[2:4]
        if (channels, size, triplane.depth) != (
            self.config.plane_channels,
            self.config.plane_size,
            self.config.plane_depth,
        ):
            raise GeneratorMismatchError(
                f"triplane has {channels} channels, size {size} and depth {triplane.depth}; this generator needs "
                f"{self.config.plane_channels}, {self.config.plane_size} and {self.config.plane_depth}"
            )


def _share_of(
    progress: Callable[[int, int], None] | None, index: int, parts: int, size: int
) -> Callable[[int, int], None] | None:
    """What one of several parts of ``size`` steps reports to."""
    return None if progress is None else lambda done, _: progress((index * size + done) // parts, size)


def _same_distance(camera: Camera) -> bool:
    least, most = camera.position.norm(dim=-1).aminmax()
    return bool(most - least < _SAME_DISTANCE)


def _expand(triplane: Triplane, frames: int) -> Triplane:
    if len(triplane) == frames:
        return triplane
    if len(triplane) != 1:
        raise DualEncError(f"triplane batch is {len(triplane)} and there are {frames} cameras; expected equal or 1")
    return triplane.map(lambda tensor: tensor.expand(frames, *tensor.shape[1:]))
