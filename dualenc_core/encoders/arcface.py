"""ArcFace face recognition on the shared trunk, for identity losses and metrics (encoders.md §3.2, §7)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import DualEncError
from ..networks import load_strictly
from .config import TrunkConfig
from .trunk import Trunk

# The face inside an aligned 256-pixel portrait crop.
CROP_ROWS = slice(35, 223)
CROP_COLUMNS = slice(32, 220)

IR_SE_50 = TrunkConfig(input_size=112)
IR_101 = TrunkConfig(input_size=112, blocks=(3, 13, 30, 3), squeeze_excite=False)


class ArcFace(Trunk):
    """Face crop [N,3,112,112] in [-1,1] → unit vector [N,512].

    The default is ArcFace IR-SE-50 (``model_ir_se50.pth``); ``ArcFace(IR_101, affine=False)`` is CurricularFace
    (``CurricularFace_Backbone.pth``). Always in eval mode and frozen.
    """

    def __init__(self, config: TrunkConfig = IR_SE_50, affine: bool = True):
        super().__init__(config)
        deep = config.widths[3]
        spatial = config.input_size // 16
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(deep),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(deep * spatial * spatial, 512),
            nn.BatchNorm1d(512, affine=affine),
        )
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], config: TrunkConfig = IR_SE_50, affine: bool = True) -> ArcFace:
        """From a bare state dict. Raises CheckpointError when keys or shapes differ."""
        with torch.device("meta"):
            network = cls(config, affine)
        advice = "Expected model_ir_se50.pth (IR-SE-50) or CurricularFace_Backbone.pth (IR-101, affine=False)."
        load_strictly(network, state, "ArcFace of this variant", advice)
        return network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ArcFace:
        """Stays in eval mode whatever the surrounding module does."""
        return super().train(False)

    def forward(self, face: Tensor) -> Tensor:
        (x,) = self.taps(face, [self.trunk_config.last(3)])
        x = self.output_layer(x)
        return x / x.norm(dim=1, keepdim=True)

    def identity(self, portrait: Tensor) -> Tensor:
        """Unit vectors [N,512] of aligned portraits [N,3,S,S] in [-1,1], S = 256 or a multiple."""
        return self(identity_crop(portrait))


def identity_crop(portrait: Tensor) -> Tensor:
    """Aligned portrait [N,3,S,S], S a multiple of 256 → face [N,3,112,112]: pooled, cropped, pooled."""
    if (
        portrait.ndim != 4
        or portrait.shape[1] != 3
        or portrait.shape[2] != portrait.shape[3]
        or portrait.shape[2] % 256
    ):
        raise DualEncError(f"portrait has shape {tuple(portrait.shape)}, expected [N,3,S,S] with S = 256, 512, ...")
    if portrait.shape[2] != 256:
        portrait = nn.functional.adaptive_avg_pool2d(portrait, 256)
    return nn.functional.adaptive_avg_pool2d(portrait[:, :, CROP_ROWS, CROP_COLUMNS], 112)
