"""A folder of aligned portraits with camera labels, and batches from it that can go on anywhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...camera import Camera
from ...errors import DualEncError
from ...files import is_temporary
from ...mattes import check_mattes
from ...portrait.mask import read_mask
from ...portrait.photo import Photo, read_photo
from .labels import FILE, read_labels
from .rebalance import camera_density, copies_by_density

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
IMAGES, MASKS = "images", "masks"
_UNLABELLED = f"has no label in {FILE}"


@dataclass(frozen=True)
class Example:
    """One portrait, or a batch of them.

    Attributes:
        names: of the files; a mirrored one ends in " (mirrored)".
        image: [N,3,S,S] in -1..1.
        matte: [N,1,S,S] in 0..1, or None when there are no masks.
        camera: N views.
    """

    names: tuple[str, ...]
    image: Tensor
    matte: Tensor | None
    camera: Camera

    @classmethod
    def cat(cls, examples: Sequence[Example]) -> Example:
        """One batch; all have mattes or none."""
        mattes = [e.matte for e in examples if e.matte is not None]
        return cls(
            tuple(name for e in examples for name in e.names),
            torch.cat([e.image for e in examples]),
            torch.cat(mattes) if len(mattes) == len(examples) else None,
            Camera.cat([e.camera for e in examples]),
        )

    @property
    def mirrored(self) -> Example:
        """Left and right exchanged, in pictures and cameras."""
        matte = None if self.matte is None else self.matte.flip(-1)
        names = tuple(f"{name} (mirrored)" for name in self.names)
        return Example(names, self.image.flip(-1), matte, self.camera.mirrored)


@dataclass
class ImageFolder:
    """Images that have labels, sorted by name.

    An image that cannot be read, is not square, lacks its mask, or whose mask is empty or inverted is left out and
    listed in ``problems`` with the reason, when it is first asked for; it never ends a run. Remarks on images that are
    used stand there too.

    Attributes:
        root: folder of the images, with ``dataset.json``.
        size: side of the examples in pixels.
        names, labels: of the images that are there and have a label; labels [M,25].
        masks: folder of masks with the images' paths (.png allowed), or None.
        mirror: every image also counts mirrored.
        copies: how often each image counts, [M].
        problems: what was left out, and why; and remarks.
        unreadable: names that turned out not to be usable.
    """

    root: Path
    size: int
    names: list[str]
    labels: Tensor
    masks: Path | None = None
    mirror: bool = False
    copies: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    problems: dict[str, str] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)

    @property
    def left_out(self) -> dict[str, str]:
        """`problems` without remarks on images that are used."""
        used = set(self.names) - self.unreadable
        return {name: reason for name, reason in self.problems.items() if name not in used}

    @classmethod
    def open(
        cls,
        root: str | Path,
        size: int = 512,
        masks: str | Path | None = None,
        mirror: bool = False,
        rebalance: bool = False,
    ) -> ImageFolder:
        """Read the labels and see which images are there; no image is decoded yet.

        Args:
            root: folder with ``dataset.json``, or what ``prepare`` wrote; labels name files relative to the former.
            masks: a folder; None = ``masks`` beside ``images``, or inside the folder, if there.
            mirror: also count every image mirrored.
            rebalance: repeat images of rare poses as LPFF does; the density is that of this folder with its mirror
                images.

        Raises DualEncError when there is no usable ``dataset.json``, no image, or the folder of masks is missing.
        """
        root = Path(root)
        if not (root / FILE).exists() and (root / IMAGES / FILE).exists():
            root = root / IMAGES
        labels, problems = read_labels(root)
        there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES}
        there = {name for name in there if not is_temporary(Path(name))}
        # macOS takes é apart into e and an accent.
        spelt = {_composed(name): name for name in there}
        listed, labels = labels, {}
        for name, label in listed.items():
            labels.setdefault(name if name in there else spelt.get(_composed(name), name), label)
        names = sorted(labels.keys() & there)
        problems |= {name: "is in dataset.json but not in the folder" for name in labels.keys() - there}
        folder = _mask_folder(root, masks)
        inside = "" if folder is None or not folder.is_relative_to(root) else folder.relative_to(root).as_posix() + "/"
        unlabelled = sorted(name for name in there - labels.keys() if not (inside and name.startswith(inside)))
        for name in unlabelled:
            # Where a label is wrong, that is the better reason.
            problems.setdefault(name, _UNLABELLED)
        if not names:
            raise DualEncError(_why_empty(root, there, labels, problems))
        table = torch.stack([labels[name] for name in names])
        copies = torch.ones(len(names), dtype=torch.int64)
        if rebalance:
            everything = torch.cat([table, Camera.from_label(table).mirrored.label])
            copies = copies_by_density(camera_density(everything))[: len(names)]
        return cls(root, size, names, table, folder, mirror, copies, problems)

    def __len__(self) -> int:
        """Images with their copies and mirror images."""
        return int(self.copies.sum()) * (2 if self.mirror else 1)

    def read(self, index: int) -> Example | None:
        """Image ``index`` of ``names``; negative numbers -1-i are image i mirrored. None = left out (`problems`)."""
        number = -1 - index if index < 0 else index
        name = self.names[number]
        if name in self.unreadable:
            return None
        try:
            image = self._square(read_photo(self.root / name), name)
            matte = self._matte(name)
        except (DualEncError, OSError) as error:
            self.problems[name] = str(error)
            self.unreadable.add(name)
            return None
        camera = Camera.from_label(self.labels[number])
        example = Example((name,), image * 2 - 1, matte, camera)
        return example.mirrored if index < 0 else example

    def order(self, seed: int, epoch: int) -> list[int]:
        """Every image with its copies and mirror images, in an order of this epoch; for `read`."""
        entries = torch.repeat_interleave(torch.arange(len(self.names)), self.copies)
        if self.mirror:
            entries = torch.cat([entries, -1 - entries])
        rng = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
        return entries[torch.randperm(len(entries), generator=rng)].tolist()

    def batches(
        self, size: int, seed: int = 0, start: int = 0, shard: int = 0, shards: int = 1
    ) -> Iterator[tuple[int, Example]]:
        """Endless batches (number, batch) of shuffled examples; the same numbers give the same batches.

        Every image that can be read comes once an epoch for each copy. An image that is left out is replaced by the
        next one, the same in every run.

        Args:
            size: examples a batch.
            seed: of the order.
            start: number of the first batch, to go on where a run stopped; those before are not decoded.
            shard, shards: which of ``shards`` processes this is; each reads batches of its own.

        Raises DualEncError when no image can be read.
        """
        if size < 1 or not 0 <= shard < shards:
            raise DualEncError(f"batch size is {size} and shard {shard} of {shards}; expected 1 or more, 0..shards-1")
        for number, indices in enumerate(self._groups(size, seed)):
            if number % shards == shard and number // shards >= start:
                yield number // shards, Example.cat([self._readable(index) for index in indices])

    def _groups(self, size: int, seed: int) -> Iterator[list[int]]:
        pending: list[int] = []
        epoch = 0
        while True:
            pending += self.order(seed, epoch)
            epoch += 1
            while len(pending) >= size:
                yield pending[:size]
                del pending[:size]

    def _readable(self, index: int) -> Example:
        """`read`, or the next image by name that can be read, with the same mirroring."""
        number = -1 - index if index < 0 else index
        for step in range(len(self.names)):
            other = (number + step) % len(self.names)
            if (example := self.read(-1 - other if index < 0 else other)) is not None:
                return example
        name = self.names[number]
        raise DualEncError(f"no image of {self.root} can be read; for example {name}: {self.problems[name]}")

    def _matte(self, name: str) -> Tensor | None:
        if self.masks is None:
            return None
        path = self.masks / name
        path = path if path.is_file() else path.with_suffix(".png")
        if not path.is_file():
            raise DualEncError(f"its mask {path} does not exist")
        # Masks may be stored at a size of their own.
        matte = self._square(read_mask(path), f"the mask of {name}")
        check_mattes(matte)
        return matte

    def _square(self, photo: Photo, name: str) -> Tensor:
        if photo.width != photo.height:
            raise DualEncError(f"{name} is {photo.width}×{photo.height} pixels, expected an aligned square crop")
        scale = photo.width / self.size
        return photo.window([[scale, 0.0, 0.0], [0.0, scale, 0.0]], self.size, border="border")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _why_empty(root: Path, there: set[str], labels: Mapping[str, Tensor], problems: Mapping[str, str]) -> str:
    """The sentence for a folder of which nothing can be used."""
    found = f"{root} has {len(there)} images and {len(labels)} usable labels"
    if not there:
        return (
            f"{found}, none of which belong together; put the images beside {FILE} (looked for "
            f"{', '.join(_SUFFIXES)}, subfolders too)"
        )
    wrong = [name for name, reason in problems.items() if name not in labels and reason != _UNLABELLED]
    if labels:
        # Of images that are there a wrong label says more than that others are missing.
        wrong = [name for name in wrong if name in there]
    if wrong:
        return f"{found}; for example {wrong[0]} {problems[wrong[0]]}"
    if not labels:
        return f"{found}: {FILE} is empty"
    return (
        f"{found}, none of which belong together; names in {FILE} must be paths relative to the folder: it says "
        f"{min(labels)!r}, and the folder has {min(there)!r}"
    )


def _mask_folder(root: Path, masks: str | Path | None) -> Path | None:
    if masks is not None:
        if not Path(masks).is_dir():
            raise DualEncError(f"the folder of masks {masks} does not exist")
        return Path(masks)
    candidates = (root.parent / MASKS if root.name == IMAGES else root / MASKS, root / MASKS)
    return next((folder for folder in candidates if folder.is_dir()), None)
