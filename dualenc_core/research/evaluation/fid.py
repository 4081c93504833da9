"""FID with the features and the distance of the package ``pytorch-fid``; its weights come from the weights folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...checkpoints import resolve
from ...checkpoints.torch_file import read_torch_file
from ...errors import CheckpointError, DualEncError, require

ABOUT = "FID of pytorch-fid: its Inception network, pool features of 2048 dimensions, pictures resized to 299"
Features = Callable[[Tensor], Tensor]


class FeatureStatistics:
    """Mean and covariance of feature vectors, collected batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | None = None
        self.outer: Tensor | None = None

    def add(self, features: Tensor) -> FeatureStatistics:
        """Add [N,D]."""
        if features.ndim != 2:
            raise DualEncError(f"features have shape {tuple(features.shape)}, expected [N,D]")
        features = features.detach().double().cpu()
        if self.total is None or self.outer is None:
            self.total = torch.zeros(features.shape[1], dtype=torch.float64)
            self.outer = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
        self.count += len(features)
        self.total += features.sum(0)
        self.outer += features.T @ features
        return self

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean [D] and unbiased covariance [D,D]; DualEncError for fewer than two vectors."""
        if self.total is None or self.outer is None or self.count < 2:
            raise DualEncError(f"there are {self.count} pictures, expected at least 2 for FID (1000 are usual)")
        mean = self.total / self.count
        return mean, (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """``pytorch_fid.fid_score.calculate_frechet_distance``; MissingDependencyError without the package."""
    score = require("pytorch_fid.fid_score", "pytorch-fid")
    (mean_a, cov_a), (mean_b, cov_b) = a.gaussian(), b.gaussian()
    numbers = (mean_a.numpy(), cov_a.numpy(), mean_b.numpy(), cov_b.numpy())
    return float(score.calculate_frechet_distance(*numbers))


def find_inception(weights_dir: str | Path | None = None, device: str | torch.device = "cpu") -> Features | str:
    """Pictures [N,3,H,W] in -1..1 → features [N,2048]; or why FID is absent and where to get what is missing.

    Nothing is downloaded. A damaged weights file is a CheckpointError.
    """
    try:
        package = require("pytorch_fid.inception", "pytorch-fid")
    except DualEncError as error:
        return str(error)
    try:
        path = resolve("fid-inception", "fid-inception", weights_dir)
    except CheckpointError as error:
        return str(error)
    network = _load(package, path).eval().requires_grad_(False).to(device)

    def features(image: Tensor) -> Tensor:
        with torch.no_grad():
            # Eight bits, as pictures in files have: that is what published figures are made from.
            image = ((image.float().clamp(-1, 1) + 1) * 127.5).round() / 255
            return network(image.to(device))[0][:, :, 0, 0]

    return features


def _load(package: Any, path: Path) -> torch.nn.Module:
    state = read_torch_file(path)
    # The package can only fetch its weights by URL. The name that it calls for that is set to hand over the local file.
    name = "load_state_dict_from_url"
    fetch = getattr(package, name)
    try:
        setattr(package, name, lambda *args, **kwargs: state)
        return package.InceptionV3([package.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    except RuntimeError as error:
        raise CheckpointError(f"{path} are not the Inception weights of pytorch-fid: {error}") from error
    finally:
        setattr(package, name, fetch)
