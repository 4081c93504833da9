"""The photo's own outline on a head: ears, hair, veils and shoulders that its matte has and the head lacks.

An encoder gives heads like those that it knows; a matte says where this one goes on. There the head is thickened: what
is missing becomes a rounded rim, in the depth of the outline that it goes on from, and has the photo's colours. Heads
whose shape is known as distances before the surfaces that five sides see (`people.relief`) can be changed so without
any network or search.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..triplane import Triplane
from .outline_maps import outline_maps, paint
from .outline_rim import Rim, joined
from .sides import reads_distances
from .view import View


@torch.no_grad()
def fit_outline(
    generator: PanoHead,
    triplane: Triplane,
    image: Tensor,
    camera: Camera,
    matte: Tensor,
    quality: str = "exact",
    views: list[View] | None = None,
) -> Triplane:
    """Heads that cover their mattes.

    Args:
        triplane: N heads without overlays.
        image: [N,3,S,S] in -1..1.
        camera: N cameras.
        matte: [N,1,S',S'] in 0..1, coverage of the head.
        quality: of the renders that are compared with the mattes (`PanoHead.render_rays`).
        views: what the cameras see of these shapes, where that is known already.

    Nothing is taken away: mattes lack hair more often than heads have too much of it. Heads of generators whose density
    reads more than distances (official ones) come back unchanged.

    Raises DualEncError when opencv-python or scipy is not installed.

    Example:
        >>> import torch, dualenc_core as dc
        >>> from dualenc_core.encoders.outline import fit_outline
        >>> generator, camera = dc.load_generator("demo"), dc.Camera.look_at()
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=3)))
        >>> seen = generator.render(head, camera, super_resolve=False)
        >>> matte = torch.nn.functional.max_pool2d(seen.alpha, 9, 1, 4)  # a head that goes on for four pixels more
        >>> covering = fit_outline(generator, head, seen.image, camera, matte)
        >>> drawn = generator.render(covering, camera, super_resolve=False).alpha
        >>> bool(drawn[matte > 0.9].mean() > seen.alpha[matte > 0.9].mean())
        True
    """
    if not reads_distances(generator):
        return triplane
    planes = []
    for i, view in enumerate(views or View.each(generator, triplane, camera, quality)):
        head = triplane[i]
        outline = outline_maps(generator, head, view, matte[i : i + 1], quality)
        if outline is not None:
            added = Rim.of(generator, head, outline, view.camera)
            head = joined(head, added, paint(image[i : i + 1], matte[i : i + 1], outline), view.camera)
        planes.append(head.planes)
    return triplane.replace(planes=torch.cat(planes))
