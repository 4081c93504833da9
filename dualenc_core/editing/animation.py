"""Keyframes of attributes and of the camera → heads and cameras, frame by frame.

    {"seconds": 4, "fps": 24,
     "tracks": {"smile": [[0, 0], [1.5, 0.8], [4, 0, "in"]], "camera.yaw": [[0, -40], [4, 40, "linear"]]},
     "visemes": [["a", 1.0, 1.2], ["m", 1.2, 1.3]]}

A key is time, value and how the track comes there from the key before: smooth (if nothing is said), linear, in (starts
slowly), out (ends slowly) or hold (jumps). Before the first key and after the last a track stands still.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..camera import DEFAULT_RADIUS, Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..generator.prepared import way_once
from ..triplane import Triplane
from .attributes import Director, directions_of
from .directed import Directions
from .visemes import VISEMES, Viseme, mouth_at

EASES = {
    "smooth": lambda t: t * t * (3 - 2 * t),
    "linear": lambda t: t,
    "in": lambda t: t * t,
    "out": lambda t: t * (2 - t),
    "hold": lambda t: float(t >= 1),
}
CAMERA = {"camera.yaw": 0.0, "camera.pitch": 0.0, "camera.radius": DEFAULT_RADIUS}
MOST_FRAMES = 20_000
_KEYS = ("seconds", "fps", "tracks", "visemes")


@dataclass(frozen=True)
class Key:
    """``value`` at ``time`` in seconds, and how the track comes there, of `EASES`."""

    time: float
    value: float
    ease: str = "smooth"


@dataclass(frozen=True)
class Animation:
    """What happens when.

    Attributes:
        seconds: length.
        fps: frames a second.
        tracks: keys in order of time, by the name of a value (`directed.Directions`) or of `CAMERA`.
        visemes: mouths that are added to the tracks.
    """

    seconds: float
    fps: float = 24.0
    tracks: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    visemes: tuple[Viseme, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("fps", self.fps)):
            if not 0 < value < math.inf:
                raise DualEncError(f"{name} of the animation is {value:g}, expected a positive number")
        if self.frames > MOST_FRAMES:
            raise DualEncError(f"the animation has {self.frames} frames, expected at most {MOST_FRAMES}")
        for name, keys in self.tracks.items():
            times = [key.time for key in keys]
            if not keys or times != sorted(set(times)) or times[0] < 0:
                raise DualEncError(f"the times of the track {name} are {times}, expected seconds that go up from 0")
            for key in keys:
                if key.ease not in EASES:
                    raise DualEncError(f"a key of {name} comes {key.ease!r}, expected one of {', '.join(EASES)}")
                if not math.isfinite(key.value):
                    raise DualEncError(f"a key of {name} is {key.value}, expected a number")

    @property
    def frames(self) -> int:
        """Their number, at least one."""
        return max(1, round(self.seconds * self.fps))

    @property
    def directs(self) -> bool:
        """Whether heads change; else only the camera moves."""
        return bool(self.visemes or self.tracks.keys() - CAMERA.keys())

    def quality(self, wanted: str, generator: PanoHead, rays: int | None = None) -> str:
        """How to draw its frames for a quality: heads that change are drawn once each.

        Args:
            rays: along a side of a frame; None = the generator's.
        """
        if not self.directs:
            return wanted
        config = generator.config
        lookups = (rays or config.neural_resolution) ** 2 * (config.render.samples + config.render.importance)
        return way_once(wanted, lookups, config.plane_size)

    def values_at(self, seconds: float) -> dict[str, float]:
        """Changes of attributes at a time."""
        values = {name: value_at(keys, seconds) for name, keys in self.tracks.items() if name not in CAMERA}
        for name, amount in mouth_at(self.visemes, seconds).items():
            values[name] = min(values.get(name, 0.0) + amount, max(values.get(name, 0.0), 1.0))
        return values

    def camera_at(self, seconds: float) -> Camera:
        """The camera at a time."""
        yaw, pitch, radius = (
            value_at(self.tracks[name], seconds) if name in self.tracks else default for name, default in CAMERA.items()
        )
        return Camera.look_at(yaw, pitch, radius=radius)

    def check(self, known: Directions) -> None:
        """Raise DualEncError, before the work, for tracks that a generator cannot follow."""
        for name, keys in self.tracks.items():
            if name == "camera.radius" and any(key.value <= 0 for key in keys):
                raise DualEncError("a key of camera.radius is not positive; 2.7 is usual")
            if name.startswith("camera.") and name not in CAMERA:
                raise DualEncError(
                    f"there is no track {name!r}, expected {', '.join(CAMERA)} or a name of an attribute"
                )
            if name not in CAMERA:
                for key in keys:
                    known.check({name: key.value})
        for name in {name for viseme in self.visemes for name in VISEMES[viseme.name]}:
            known.attribute(name)


def value_at(keys: tuple[Key, ...], seconds: float) -> float:
    """Value of a track at a time.

    Example:
        >>> from dualenc_core.editing.animation import Key, value_at
        >>> keys = (Key(0, 0.0), Key(2, 1.0), Key(3, 0.5, "linear"))
        >>> [value_at(keys, t) for t in (0, 1, 2, 2.5, 9)]
        [0.0, 0.5, 1.0, 0.75, 0.5]
    """
    before = keys[0]
    for key in keys:
        if seconds < key.time:
            if key is before:
                return key.value
            share = EASES[key.ease]((seconds - before.time) / (key.time - before.time))
            return before.value + share * (key.value - before.value)
        before = key
    return before.value


def read_animation(
    text: str,
    source: str = "tracks",
    more: Sequence[Viseme] = (),
    seconds: float | None = None,
    fps: float | None = None,
) -> Animation:
    """From JSON as above, with more mouths, and another length or speed if they are given.

    Where nobody says how long it is, it is as long as its tracks and mouths.

    Raises DualEncError for what is none, naming what is wrong.
    """
    try:
        found: Any = json.loads(text)
        if extra := found.keys() - set(_KEYS):
            raise ValueError(f"it has {', '.join(sorted(extra))}, expected {', '.join(_KEYS)}")
        tracks = {name: tuple(_key(entry) for entry in keys) for name, keys in found.get("tracks", {}).items()}
        visemes = (*(Viseme(str(n), float(a), float(b)) for n, a, b in found.get("visemes", [])), *more)
        last = max([key.time for keys in tracks.values() for key in keys] + [v.end for v in visemes], default=0.0)
        seconds, fps = seconds or float(found.get("seconds", last)), fps or float(found.get("fps", 24.0))
        return Animation(seconds, fps, tracks, visemes)
    except DualEncError:
        raise
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        example = '{"seconds": 2, "tracks": {"smile": [[0, 0], [2, 0.8]]}}'
        raise DualEncError(f"{source} cannot be read: {error}; expected JSON such as {example}") from error


def animate(
    generator: PanoHead,
    head: Triplane,
    animation: Animation,
    cameras: Camera | None = None,
    known: Directions | None = None,
) -> Iterator[tuple[Triplane, Camera]]:
    """One head and camera a frame, made one after the other; frames with the same values share the head.

    Args:
        head: one head.
        cameras: instead of the animation's camera, spread over the frames.
        known: None = `directions_of` the generator.

    Raises DualEncError, before the first frame, for tracks that the generator cannot follow, and as `direct`.
    """
    if len(head) != 1:
        raise DualEncError(f"the head is a batch of {len(head)}, expected one; take one with head[0]")
    generator.check(head)
    known = known or directions_of(generator)
    animation.check(known)
    return _frames(Director(generator, head, known), animation, cameras)


def _frames(director: Director, animation: Animation, cameras: Camera | None) -> Iterator[tuple[Triplane, Camera]]:
    last, edited = None, director.triplane
    for i in range(animation.frames):
        seconds = i / animation.fps
        values = {name: value for name, value in animation.values_at(seconds).items() if value}
        if values != last:
            last, edited = values, director(values)
        camera = animation.camera_at(seconds) if cameras is None else cameras[i * len(cameras) // animation.frames]
        yield edited, camera.to(edited.planes.device)


def _key(entry: Any) -> Key:
    time, value, *ease = entry
    if len(ease) > 1 or isinstance(value, bool | str):
        raise ValueError(f"a key is {entry!r:.60}, expected [seconds, value] or [seconds, value, ease]")
    return Key(float(time), float(value), *(str(e) for e in ease))
