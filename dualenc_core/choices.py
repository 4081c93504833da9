"""What callers choose from, written once for the library, the commands, the nodes and the tests. The first is the
default where a default is needed. Nothing heavy is imported here: parsers and ComfyUI's start read it."""

from __future__ import annotations

# How heads are drawn: up to rounding, with 16 bits and fewer samples, with errors that show, by the plain renderer.
REFERENCE = "reference"
QUALITIES = ("exact", "high", "draft", REFERENCE)

# How the heads of two encoders are joined: by points in space, or by tri-grid cells as in the paper.
STITCHES = ("points", "cells")

# Parts of a head that are found by name: of the face mesh and the hair; and what lies behind the ears.
FACE_PARTS = ("hair", "face", "eyes", "brows", "nose", "lips")
BACK = "back"
PARTS = (*FACE_PARTS, BACK)
# Recipe of a transfer → the part that is found for it; None: it must be painted.
RECIPE_PARTS = {"hair": "hair", "eyes": "eyes", "mouth": "lips", "nose": "nose", "glasses": None}
# What lies between a transferred part and its new head: a mix, a mix that was improved, what an encoder makes of it.
SEAMS = ("feather", "refine", "implicit")
# Whose colours a transferred part has; NO_MATCH stands for None where only words can be given.
MATCHES = ("surroundings", "reference", "region")
NO_MATCH = "nothing"

# What is mixed between two heads.
MIXES = ("planes", "styles")

# Ways to make a head of a photo, as reports name them.
METHOD_TITLES = {
    "e1": "Encoder 1",
    "e2": "Encoder 2",
    "cells": "dual encoder (cells)",
    "points": "dual encoder (points)",
    "wplus": "W+ optimisation",
    "pti": "PTI",
}
OPTIMISED = ("wplus", "pti")
FEED_FORWARD = tuple(name for name in METHOD_TITLES if name not in OPTIMISED)
METHODS = tuple(METHOD_TITLES)

# Endings of videos; a sequence of pictures counts as one.
VIDEOS = ("mp4", "webm", "mov", "webp", "gif", "png")

DEVICES = ("auto", "cpu", "cuda", "mps")
