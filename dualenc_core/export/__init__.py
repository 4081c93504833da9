"""Results as files: pictures, contact sheets, videos."""

from .images import save_alpha, save_depth, save_png, to_uint8
from .sheet import contact_sheet
from .video import save_video

__all__ = ["contact_sheet", "save_alpha", "save_depth", "save_png", "save_video", "to_uint8"]
