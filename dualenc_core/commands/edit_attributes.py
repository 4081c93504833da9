"""``edit attributes``: a slider for everything that generators of people know."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..people.attributes import ATTRIBUTES, CHOICES, COLOURS, GROUPS, LENT

if TYPE_CHECKING:
    from torch import Tensor

    from ..editing import Directions
    from ..generator import PanoHead
    from ..triplane import Triplane


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb, but for those that all edits share."""
    for group in GROUPS:
        options = parser.add_argument_group(f"{group}, changes (0 = as it is)")
        for a in (a for a in ATTRIBUTES if a.group == group):
            words = f"{a.about}; {a.low:g} to {a.high:g}, {a.unit}".replace("%", "%%")
            options.add_argument(_flag(a.name), type=float, metavar="X", help=words)
        for c in (c for c in CHOICES if c.group == group):
            words = f"{c.about}, all the way or 0..1 of it: {', '.join(c.options)}"
            options.add_argument(_flag(c.name), metavar="NAME[:AMOUNT]", help=words)
        for name in (n for n, (_, g) in COLOURS.items() if g == group):
            options.add_argument(_flag(name), metavar="#RRGGBB[:AMOUNT]", help="a colour, all the way or 0..1 of it")
    more = parser.add_argument_group("from elsewhere")
    more.add_argument("--like", type=Path, metavar="FILE", help="a saved head that lends what --take says")
    more.add_argument("--take", nargs="+", choices=tuple(LENT), default=["expression", "light"], help="of --like")
    more.add_argument(
        "--neutral",
        nargs="*",
        choices=("expression", "light"),
        help="a neutral expression that looks straight ahead, and even light; or only one of both",
    )
    more.add_argument("--values", type=Path, metavar="FILE", help='JSON such as {"smile": 0.8}; changes above win')
    more.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=X", help="changes by name: what a file of directions has"
    )
    add_directions(more)
    parser.set_defaults(edit=edit)


def add_directions(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--directions",
        type=Path,
        metavar="FILE",
        help="directions of a generator that names none itself (python -m dualenc_core directions)",
    )


def edit(args: argparse.Namespace, generator: PanoHead, head: Triplane) -> Triplane:
    """The edited head; its meta says what was done."""
    from ..editing import Director, directions_of
    from ..editing.attributes import neutral_traits, read_wishes
    from ..files import read_text

    known = directions_of(generator, args.directions)
    values: dict[str, float] = {}
    traits: dict[str, float | Tensor] = {}
    if args.neutral is not None:
        traits |= neutral_traits(known, head, args.neutral or ("expression", "light"))
    if args.like is not None:
        traits |= _lent(args, generator, known, len(head))
    if args.values is not None:
        values, more = read_wishes(read_text(args.values), str(args.values))
        traits |= more
    return Director(generator, head, known)(values | wished(args), traits)


def wished(args: argparse.Namespace) -> dict[str, float]:
    """Values that the options say."""
    from ..errors import DualEncError

    values = {a.name: value for a in ATTRIBUTES if (value := getattr(args, a.name)) is not None}
    for name in (*(c.name for c in CHOICES), *COLOURS):
        if (text := getattr(args, name)) is not None:
            option, colon, amount = text.partition(":")
            values[f"{name}={option}"] = _number(_flag(name), amount) if colon else 1.0
    for text in args.set:
        # Options of choices hold an equals sign too.
        name, equals, amount = text.rpartition("=")
        if not equals:
            raise DualEncError(f"--set is {text!r}, expected NAME=NUMBER")
        values[name] = _number("--set", amount)
    return values


def _lent(args: argparse.Namespace, generator: PanoHead, known: Directions, count: int) -> dict:
    from ..errors import DualEncError
    from ..triplane import Triplane

    other = Triplane.load(args.like)
    generator.check(other)
    if len(other) not in (1, count):
        raise DualEncError(f"{args.like} holds {len(other)} heads, expected one, or {count} as the other file")
    return known.traits(other.ws, args.take)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _number(option: str, text: str) -> float:
    from ..errors import DualEncError

    try:
        return float(text)
    except ValueError:
        raise DualEncError(f"{option} has {text!r} where a number is expected") from None
