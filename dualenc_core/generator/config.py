"""Typed configuration of a PanoHead generator ⇄ the arguments stored in official files (panohead.md §1.2-1.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import DualEncError
from ..rendering.renderer import RenderOptions

SUPPORTED_SUPER_RESOLUTION = "SuperresolutionHybrid8XDC"
# Channels of the two blocks of the released super-resolution.
PUBLISHED_WIDTHS = (256, 128)


@dataclass(frozen=True)
class SuperResolutionConfig:
    """The 512-pixel (8XDC) super-resolution network.

    Attributes:
        input_resolution: features are resized to this; the output is four times as large. The background network
            works at it too.
        hidden_widths: channels of the two blocks.
        w_dim: width of the style vectors.
        half: float16 on CUDA, with clamping at ±256 everywhere (sr_num_fp16_res > 0).
        antialias: low-pass when features are resized down.
        noise: "none", "const" or "random" (superresolution_noise_mode).
    """

    input_resolution: int = 128
    hidden_widths: tuple[int, int] = PUBLISHED_WIDTHS
    w_dim: int = 512
    half: bool = True
    antialias: bool = True
    noise: str = "none"

    @property
    def continues(self) -> bool:
        """Whether the features are continued beyond the border of a picture instead of ending in zeros there.

        The published network learnt on whole pictures to live with the zeros. Smaller ones, which learn on patches, do
        not, and would draw a grey frame.
        """
        return self.noise == "none" and self.hidden_widths != PUBLISHED_WIDTHS


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that shapes a generator; the defaults are the released head model.

    Attributes:
        z_dim, w_dim, c_dim: latent, style and camera-label widths.
        mapping_layers: fully connected layers of the mapping networks.
        mapping_width: width of the mapping's hidden layers; None = w_dim.
        plane_size: cells along each side of a plane (triplane_size).
        plane_depth: slices D (triplane_depth).
        features: channels of a tri-grid cell and of the rendered feature image.
        decoder_width: hidden units of the decoder.
        channel_base, channel_max: channels(r) = min(channel_base // r, channel_max); the background network has half
            the base.
        conv_clamp: clamp of backbone and background activations, None in the released model.
        half_blocks: highest-resolution backbone blocks in float16 on CUDA (num_fp16_res).
        c_scale: factor on the camera label before mapping; 0 = unconditional.
        pose_conditioning: False replaces the label by zeros (c_gen_conditioning_zero).
        decoder_activation: "none", "sigmoid" or "lrelu", on the colour features.
        decoder_lr_mul: gain on the decoder's weights.
        torgb_raw: a modulated 1×1 convolution makes the raw image; False = the first three features.
        background: there is a background network.
        neural_resolution: rays along each side unless a call says otherwise.

    Example:
        >>> from dualenc_core import GeneratorConfig
        >>> config = GeneratorConfig()
        >>> config.num_ws, config.plane_channels, config.image_resolution
        (14, 96, 512)
        >>> GeneratorConfig.from_official(*config.to_official()) == config
        True
    """

    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 25
    mapping_layers: int = 2
    # Not in the text that fingerprints are made of: it was not there when files were made that name them.
    mapping_width: int | None = field(default=None, repr=False)
    plane_size: int = 256
    plane_depth: int = 3
    features: int = 32
    decoder_width: int = 64
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float | None = None
    half_blocks: int = 0
    c_scale: float = 1.0
    pose_conditioning: bool = True
    decoder_activation: str = "none"
    decoder_lr_mul: float = 1.0
    torgb_raw: bool = True
    background: bool = True
    neural_resolution: int = 64
    render: RenderOptions = field(default_factory=RenderOptions)
    sr: SuperResolutionConfig = field(default_factory=SuperResolutionConfig)

    def __post_init__(self) -> None:
        if self.plane_size < 8 or self.plane_size & (self.plane_size - 1):
            raise DualEncError(f"plane_size (triplane_size) is {self.plane_size}, expected a power of two from 8 up")
        if self.decoder_activation not in ("none", "sigmoid", "lrelu"):
            raise DualEncError(f"decoder_activation is {self.decoder_activation!r}, expected none, sigmoid or lrelu")

    @property
    def num_ws(self) -> int:
        """Style rows of the backbone: two per resolution from 4² up (14 for 256²)."""
        return 2 * (self.plane_size.bit_length() - 2)

    @property
    def background_num_ws(self) -> int:
        """Style rows that the background network reads (12 for 128²)."""
        return 2 * (self.sr.input_resolution.bit_length() - 2)

    @property
    def plane_channels(self) -> int:
        """Channels of one plane, features·depth (96)."""
        return self.features * self.plane_depth

    @property
    def image_resolution(self) -> int:
        """Side of the final image (512)."""
        return 4 * self.sr.input_resolution

    @classmethod
    def from_official(
        cls,
        init_kwargs: Mapping[str, Any],
        rendering_kwargs: Mapping[str, Any],
        neural_resolution: int | None = None,
    ) -> GeneratorConfig:
        """From the constructor and rendering arguments of an official file.

        ``sr_kwargs`` may also carry ``input_resolution``, ``hidden_widths`` and ``w_dim``; ``rendering_kwargs`` may
        carry ``feature_channels``, ``decoder_width`` and ``crop``. Their defaults are the constants of the reference.

        Raises DualEncError for a super-resolution class or sampling mode that is not supported.
        """
        init, rendering = dict(init_kwargs), dict(rendering_kwargs)
        module = rendering.get("superresolution_module", SUPPORTED_SUPER_RESOLUTION).rpartition(".")[2]
        if module != SUPPORTED_SUPER_RESOLUTION:
            raise DualEncError(
                f"superresolution_module is {module!r}, expected {SUPPORTED_SUPER_RESOLUTION} (the 512-pixel heads); "
                "other PanoHead and EG3D variants are not supported"
            )
        near, far = rendering.get("ray_start", 2.25), rendering.get("ray_end", 3.3)
        if isinstance(near, str) or isinstance(far, str):
            raise DualEncError(f"ray_start is {near!r} and ray_end {far!r}, expected numbers; 'auto' is not supported")
        clamp_mode = rendering.get("clamp_mode", "softplus")
        if clamp_mode != "softplus":
            raise DualEncError(f"clamp_mode is {clamp_mode!r}, expected 'softplus', the only mode there is")
        sr = dict(init.get("sr_kwargs") or {})
        input_resolution = int(sr.get("input_resolution", int(init.get("img_resolution", 512)) // 4))
        return cls(
            z_dim=int(init.get("z_dim", 512)),
            w_dim=int(init.get("w_dim", 512)),
            c_dim=int(init.get("c_dim", 25)),
            mapping_layers=int((init.get("mapping_kwargs") or {}).get("num_layers", 2)),
            mapping_width=(init.get("mapping_kwargs") or {}).get("layer_features"),
            plane_size=int(rendering.get("triplane_size", 256)),
            plane_depth=int(rendering.get("triplane_depth", 1)),
            features=int(rendering.get("feature_channels", 32)),
            decoder_width=int(rendering.get("decoder_width", 64)),
            channel_base=int(init.get("channel_base", 32768)),
            channel_max=int(init.get("channel_max", 512)),
            conv_clamp=init.get("conv_clamp"),
            half_blocks=int(init.get("num_fp16_res", 0)),
            # The reference looks the key up with default 0: a file without it is unconditional (hazard 16).
            c_scale=float(rendering.get("c_scale", 0.0)),
            pose_conditioning=not rendering.get("c_gen_conditioning_zero", False),
            decoder_activation=rendering.get("decoder_activation", "none"),
            decoder_lr_mul=float(rendering.get("decoder_lr_mul", 1.0)),
            torgb_raw=bool(rendering.get("use_torgb_raw", False)),
            background=bool(rendering.get("use_background", False)),
            neural_resolution=int(neural_resolution or 64),
            render=RenderOptions(
                samples=int(rendering.get("depth_resolution", 48)),
                importance=int(rendering.get("depth_resolution_importance", 48)),
                near=float(near),
                far=float(far),
                box_warp=float(rendering.get("box_warp", 1)),
                disparity=bool(rendering.get("disparity_space_sampling", False)),
                white_back=bool(rendering.get("white_back", False)),
                crop=float(rendering.get("crop", RenderOptions.crop)),
            ),
            sr=SuperResolutionConfig(
                input_resolution=input_resolution,
                hidden_widths=tuple(sr.get("hidden_widths", PUBLISHED_WIDTHS)),
                w_dim=int(sr.get("w_dim", 512)),
                half=int(init.get("sr_num_fp16_res", 4)) > 0,
                antialias=bool(rendering.get("sr_antialias", True)),
                noise=rendering.get("superresolution_noise_mode", "none"),
            ),
        )

    def to_official(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(init_kwargs, rendering_kwargs)`` such that `from_official` gives this configuration back."""
        init = {
            "z_dim": self.z_dim,
            "c_dim": self.c_dim,
            "w_dim": self.w_dim,
            "img_resolution": self.image_resolution,
            "img_channels": 3,
            "mapping_kwargs": {"num_layers": self.mapping_layers}
            | ({} if self.mapping_width is None else {"layer_features": self.mapping_width}),
            "channel_base": self.channel_base,
            "channel_max": self.channel_max,
            "fused_modconv_default": "inference_only",
            "num_fp16_res": self.half_blocks,
            "conv_clamp": self.conv_clamp,
            "sr_num_fp16_res": 4 if self.sr.half else 0,
            "sr_kwargs": {
                "channel_base": self.channel_base,
                "channel_max": self.channel_max,
                "fused_modconv_default": "inference_only",
                "input_resolution": self.sr.input_resolution,
                "hidden_widths": list(self.sr.hidden_widths),
                "w_dim": self.sr.w_dim,
            },
        }
        rendering = {
            "image_resolution": self.image_resolution,
            "superresolution_module": f"training.superresolution.{SUPPORTED_SUPER_RESOLUTION}",
            "superresolution_noise_mode": self.sr.noise,
            "sr_antialias": self.sr.antialias,
            "clamp_mode": "softplus",
            "c_gen_conditioning_zero": not self.pose_conditioning,
            "c_scale": self.c_scale,
            "decoder_lr_mul": self.decoder_lr_mul,
            "decoder_activation": self.decoder_activation,
            "decoder_width": self.decoder_width,
            "feature_channels": self.features,
            "use_torgb_raw": self.torgb_raw,
            "use_background": self.background,
            "triplane_size": self.plane_size,
            "triplane_depth": self.plane_depth,
            "depth_resolution": self.render.samples,
            "depth_resolution_importance": self.render.importance,
            "ray_start": self.render.near,
            "ray_end": self.render.far,
            "box_warp": self.render.box_warp,
            "disparity_space_sampling": self.render.disparity,
            "white_back": self.render.white_back,
            "crop": self.render.crop,
        }
        return init, rendering

    def replace(self, **changes: Any) -> GeneratorConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)
