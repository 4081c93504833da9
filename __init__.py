"""ComfyUI entry point: registers the nodes that exist, and never stops ComfyUI from starting."""

import logging

WEB_DIRECTORY = "./nodes/web"

try:
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
except Exception:
    logging.getLogger(__name__).exception("the DualEnc nodes cannot be loaded; the lines below say why")
    NODE_CLASS_MAPPINGS = {}
    NODE_DISPLAY_NAME_MAPPINGS = {}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
