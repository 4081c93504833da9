"""The bundled models' sizes, and the schedules of their generators (of encoders: `encoder_presets`). They fit two CPU
cores or some minutes of a GPU; the models are the same classes as full-size ones, smaller."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field

from ...encoders.config import HeadEncoderConfig, LiftedConfig, StyleConfig, TrunkConfig
from ...errors import DualEncError
from ...generator.config import GeneratorConfig, SuperResolutionConfig
from ...rendering.renderer import RenderOptions

PHASES = ("mapping", "field", "planes", "rays", "super-resolution")


def demo_generator_config() -> GeneratorConfig:
    """A PanoHead of 3.3 M parameters: planes 128², 16 features, output 512².

    The box is smaller than the official one, so that 128 cells resolve the head as finely as 128 rays do. The 16
    numbers of z are the latent of the procedural heads; there is no pose conditioning to learn (c_scale 0).
    """
    return GeneratorConfig(
        z_dim=16,
        w_dim=128,
        plane_size=128,
        features=16,
        channel_base=8192,
        channel_max=128,
        c_scale=0.0,
        neural_resolution=128,
        render=RenderOptions(samples=24, importance=24, near=2.28, far=3.12, box_warp=0.8),
        sr=SuperResolutionConfig(input_resolution=128, hidden_widths=(32, 16), w_dim=128),
    )


def people_generator_config() -> GeneratorConfig:
    """A PanoHead of 7.9 M parameters for people: planes 128², 24 features, output 512².

    As `demo_generator_config`, with room for 241 traits in w and for hair in the planes.
    """
    from ...people.person import LATENT_DIM

    return dataclasses.replace(
        demo_generator_config(),
        z_dim=LATENT_DIM,
        w_dim=256,
        mapping_layers=3,
        mapping_width=768,
        features=24,
        channel_base=8192,
        channel_max=192,
        sr=SuperResolutionConfig(input_resolution=128, hidden_widths=(48, 24), w_dim=256),
    )


@dataclass(frozen=True)
class GeneratorTraining:
    """Schedule of the bundled generator: mapping, field, rays, super-resolution.

    Attributes:
        mapping_steps: steps of the mapping network alone, which then stays as it is.
        field_steps: pairs of plane resolution and steps on points of the field.
        plane_steps: pairs of plane resolution and steps on tri-grids that are known (`people.relief`).
        ray_steps: pairs of plane resolution and steps on rendered rays.
        reliefs: whether tri-grids are known: the decoder begins by reading them and learns slowly, as rays then do.
        super_resolution_steps: steps of the last phase, which trains only that network, on patches.
        heads, points, rays: batch sizes of field and rays; a head gets so many of each.
        plane_heads: batch size of planes.
        patches, patch: batch size of super-resolution, and the side of a patch in raw pixels.
        truth_steps: steps for which the true heads are traced at once.
        field_share: weight of the field's losses when the rays begin; it ends at 0.1.
        learning_rate: Adam, for weights of unit variance.
        matrix_rate: Muon, for the weights of the backbone's layers.
        final_rate: factor of the learning rate at the end of a phase (cosine; the field phase has none).
        ema: decay of the averaged copy, which is what is saved.
        bfloat16: compute the backbone in bfloat16: twice as fast on CPUs that have it, slower on others.
    """

    config: GeneratorConfig = field(default_factory=demo_generator_config)
    mapping_steps: int = 4000
    field_steps: tuple[tuple[int, int], ...] = ((32, 800),)
    plane_steps: tuple[tuple[int, int], ...] = ()
    ray_steps: tuple[tuple[int, int], ...] = ((64, 3000), (128, 3500))
    reliefs: bool = False
    super_resolution_steps: int = 1500
    heads: int = 8
    plane_heads: int = 4
    points: int = 1024
    rays: int = 320
    patches: int = 3
    patch: int = 28
    truth_steps: int = 1
    field_share: float = 1.0
    learning_rate: float = 2e-2
    matrix_rate: float = 1e-2
    final_rate: float = 0.03
    ema: float = 0.998
    bfloat16: bool = True
    seed: int = 0

    @property
    def total_steps(self) -> int:
        """All phases together."""
        planes = sum(steps for _, steps in (*self.field_steps, *self.plane_steps, *self.ray_steps))
        return self.mapping_steps + planes + self.super_resolution_steps

    def only(self, phases: Collection[str]) -> GeneratorTraining:
        """The same schedule without the other phases; of mapping, field, rays and super-resolution."""
        unknown = set(phases) - set(PHASES)
        if unknown or not phases:
            raise DualEncError(f"phases are {', '.join(phases)!r}, expected some of {', '.join(PHASES)}")
        steps = {name.replace("-", "_"): name in phases for name in PHASES}
        return dataclasses.replace(
            self,
            mapping_steps=self.mapping_steps * steps["mapping"],
            field_steps=self.field_steps if steps["field"] else (),
            plane_steps=self.plane_steps if steps["planes"] else (),
            ray_steps=self.ray_steps if steps["rays"] else (),
            super_resolution_steps=self.super_resolution_steps * steps["super_resolution"],
        )

    def on_accelerator(self) -> GeneratorTraining:
        """The schedule that fills a large GPU: larger batches."""
        return dataclasses.replace(
            self,
            mapping_steps=5000,
            field_steps=((32, 600),),
            ray_steps=((64, 1200), (128, 4800)),
            super_resolution_steps=900,
            heads=32,
            points=2048,
            rays=1024,
            patches=8,
            patch=40,
            truth_steps=16,
        )

    def continued(self) -> GeneratorTraining:
        """The schedule that goes on from a trained generator: no mapping or field, fewer rays, a gentler start."""
        size = self.ray_steps[-1][0]
        return dataclasses.replace(
            self,
            mapping_steps=0,
            field_steps=(),
            plane_steps=(),
            ray_steps=((size, 3000),),
            field_share=0.1,
            learning_rate=self.learning_rate / 3,
            matrix_rate=self.matrix_rate / 3,
        )


def people_generator_training(seed: int = 0) -> GeneratorTraining:
    """The schedule of the generator of people for CPU cores (seconds a step: weights/README.md)."""
    return GeneratorTraining(
        config=people_generator_config(),
        mapping_steps=600,
        field_steps=(),
        reliefs=True,
        plane_steps=((64, 1000), (128, 3000)),
        ray_steps=((128, 1000),),
        super_resolution_steps=300,
        # More made planes of 128² that were nearly right worse.
        matrix_rate=3e-3,
        learning_rate=6e-3,
        ema=0.99,
        heads=3,
        rays=768,
        seed=seed,
    )


def demo_encoder_config(plane_scale: float = 1.0) -> HeadEncoderConfig:
    """A HeadEncoder of about 3.6 M parameters for `demo_generator_config`, with the lifted refiner (demo.md)."""
    generator = demo_generator_config()
    trunk = TrunkConfig(widths=(32, 48, 64, 96), blocks=(2, 2, 3, 2), input_size=128)
    return HeadEncoderConfig(
        style=StyleConfig(
            trunk=trunk, n_styles=generator.num_ws, coarse=3, middle=6, w_dim=generator.w_dim, head_width=64
        ),
        refiner="lifted",
        lifted=LiftedConfig(
            features=generator.features,
            depth=generator.plane_depth,
            plane_size=generator.plane_size,
            widths=(64, 80, 96),
            light=48,
            volume_extent=0.4,
            plane_scale=plane_scale,
        ),
        # One ray a cell, and enough samples to find the surface: this render only feeds stage two.
        render_resolution=96,
        render_samples=(16, 12),
        super_resolve=False,
    )


def people_encoder_config() -> HeadEncoderConfig:
    """A HeadEncoder for `people_generator_config`, with the lifted refiner (demo.md)."""
    generator = people_generator_config()
    small = demo_encoder_config()
    return small.replace(
        style=dataclasses.replace(small.style, n_styles=generator.num_ws, w_dim=generator.w_dim),
        # Features of people's planes belong to single planes (people.relief).
        lifted=dataclasses.replace(small.lifted, features=generator.features, own_ends=True),
    )
