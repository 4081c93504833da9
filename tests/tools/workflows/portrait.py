"""The example photos of the shipped workflows: synthetic people of donors that training never saw.

    python -m tests.tools.workflows.portrait [FOLDER of the asset pack; default: DUALENC_PEOPLE]

writes workflows/dualenc_portrait.png, and workflows/dualenc_expression.png, whose smile and light another head takes
over. The cameras stand a little further off than PanoHead's, so that the aligned crop lies inside the photo.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

import dualenc_core as dc
from dualenc_core.people import Pack, People, Person, render
from dualenc_core.people.donors import EXPRESSIONS, LIGHTS

WORKFLOWS = Path(__file__).resolve().parents[3] / "workflows"
PORTRAIT, LENDER = WORKFLOWS / "dualenc_portrait.png", WORKFLOWS / "dualenc_expression.png"
EXAMPLES = (PORTRAIT, LENDER)
SEED = 1_000_001
PORTRAIT_YAW = 20.0
STUDIO = (0.62, 0.62, 0.6)


def expressing(person: Person, **amounts: float) -> Person:
    """The person with nothing on the face but this, the eyes straight ahead."""
    expression = np.zeros(len(EXPRESSIONS))
    for name, amount in amounts.items():
        expression[EXPRESSIONS.index(name)] = amount
    return dataclasses.replace(person, expression=expression, gaze=np.zeros(2))


def photo(people: People, person: Person, yaw: float) -> dc.Rendering:
    """[1,3,512,512]."""
    one = People(people.pack, (person,), people.held_out)
    camera = dc.Camera.look_at(yaw, 3.0, radius=3.2, fov=13.5)
    return render(one, camera, 512, antialias=3, background=STUDIO)


def main(folder: str | None = None) -> None:
    people = People.sample(Pack.open(folder), 2, SEED, held_out=True)
    woman, man = people.persons
    # Low, warm light from one side.
    lit = dataclasses.replace(woman, light=LIGHTS.index("world_sunset"), turn=np.array([0.0, 1.0]), key=0.8, warmth=0.4)
    dc.export.save_png(photo(people, expressing(man), PORTRAIT_YAW).image[0], PORTRAIT)
    dc.export.save_png(photo(people, expressing(lit, smile=1.0, brow_up=0.6), -10.0).image[0], LENDER)


if __name__ == "__main__":
    main(*sys.argv[1:])
