"""Landmarks of the face mesh on the surface of a head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..errors import NoFaceError
from ..generator import PanoHead
from ..rendering.rays import pixel_rays
from ..triplane import Triplane


@torch.no_grad()
def surface_landmarks(
    generator: PanoHead, head: Triplane, resolution: int = 128, device: str | None = None, name: str = "head"
) -> tuple[Tensor, Tensor]:
    """Landmarks [468,3] on the surface of one head in world units, and which meet it [468], 0 or 1; on the CPU.

    Args:
        resolution: rays along each side of the frontal picture that the face is found in.
        device: where the face networks run; None = where the head is.
        name: of the head, for errors.

    Raises NoFaceError where the picture shows no face.
    """
    from ..portrait.faces import find_faces
    from ..portrait.photo import read_photo

    camera = Camera.look_at().to(head.planes.device)
    view = generator.render(head, camera, resolution=resolution)
    photo = read_photo((view.image[0].float() / 2 + 0.5).clamp(0, 1))
    faces = find_faces(photo, device or str(head.planes.device))
    if not faces:
        raise NoFaceError(f"no face was found in the frontal picture of the {name}")
    uv = torch.from_numpy(faces[0].mesh.points[:, :2]).float() / torch.tensor([photo.width, photo.height])
    depth, alpha = view.depth.cpu(), view.alpha.cpu()
    grid = (uv * 2 - 1)[None, None]
    solid = (alpha > 0.5).float()
    share = F.grid_sample(solid, grid, align_corners=False)[0, 0, 0]
    distance = F.grid_sample(depth * solid, grid, align_corners=False)[0, 0, 0] / share.clamp_min(1e-6)
    origins, directions = pixel_rays(camera.to("cpu"), uv[None])
    return origins[0] + distance[:, None] * directions[0], (share > 0.5).float()
