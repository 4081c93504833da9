"""Keyframes: values at times, mouths, and frames that follow them."""

from __future__ import annotations

import json

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import directions_of
from dualenc_core.editing.animation import CAMERA, EASES, Animation, Key, animate, read_animation, value_at
from dualenc_core.editing.visemes import VISEMES, Viseme, mouth_at, read_visemes
from dualenc_core.errors import DualEncError
from tests.known_people import people_generator, somebody

TRACKS = {
    "seconds": 2,
    "fps": 4,
    "tracks": {"smile": [[0, 0], [1, 0.8], [2, 0.2, "linear"]], "camera.yaw": [[0, -40], [2, 40, "linear"]]},
    "visemes": [["a", 0.5, 1.0]],
}


@pytest.fixture(scope="module")
def generator():
    return people_generator()


@pytest.fixture(scope="module")
def head(generator):
    return somebody(generator, 3)


def test_tracks_pass_through_their_keys_and_stand_still_outside():
    keys = (Key(1, 5.0), Key(2, 7.0), Key(4, -1.0, "in"))
    assert [value_at(keys, t) for t in (0, 1, 2, 4, 9)] == [5, 5, 7, -1, -1]
    between = [value_at(keys, 1 + i / 10) for i in range(11)]
    assert between == sorted(between) and between[5] == pytest.approx(6)


@pytest.mark.parametrize("name", EASES)
def test_eases_begin_and_end_and_differ(name):
    ease = EASES[name]
    assert ease(0) == 0 and ease(1) == 1
    slow, fast = ease(0.01) / 0.01, (1 - ease(0.99)) / 0.01
    expected = {"smooth": (0, 0), "linear": (1, 1), "in": (0, 2), "out": (2, 0), "hold": (0, 100)}[name]
    assert slow == pytest.approx(expected[0], abs=0.05) and fast == pytest.approx(expected[1], abs=0.05)


def test_mouths_flow_into_each_other():
    words = (Viseme("a", 0.5, 1.0), Viseme("o", 1.0, 1.5))
    assert mouth_at(words, 0.2) == {} and mouth_at(words, 0.75) == {"viseme_a": 1.0}
    both = mouth_at(words, 1.0)
    assert both["viseme_a"] == pytest.approx(0.5) and both["viseme_o"] == pytest.approx(0.5)
    assert mouth_at((Viseme("sil", 0, 1),), 0.5) == {}
    for values in VISEMES.values():
        assert all(0 < amount <= 1 for amount in values.values())


def test_mouths_from_a_text_file(tmp_path):
    path = tmp_path / "hello.txt"
    path.write_text("# hello\n\nE 0.1 0.25\noh, 0.25, 0.5\n", encoding="utf-8")
    assert read_visemes(path) == (Viseme("E", 0.1, 0.25), Viseme("oh", 0.25, 0.5))
    for text, message in (
        ("a 0.2", "line 1 is 'a 0.2', expected a mouth and two times"),
        ("a 0 1\nq 1 2", "line 2: the mouth is 'q', expected one of sil, a"),
        ("a 2 1", "lasts from 2 to 1"),
        ("a x 1", "line 1 is"),
        ("# nothing", "names no mouth"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DualEncError, match=message):
            read_visemes(path)


def test_frames_follow_the_tracks(generator, head):
    known = directions_of(generator)
    animation = read_animation(json.dumps(TRACKS))
    assert animation.frames == 8
    path = list(animate(generator, head, animation))
    start = known.values(head.ws)
    for i, (edited, camera) in enumerate(path):
        wanted = animation.values_at(i / 4)
        assert set(wanted) <= {"smile", "viseme_a"}
        found = known.values(edited.ws)
        for name in ("smile", "viseme_a", "age"):
            assert float(found[name] - start[name]) == pytest.approx(wanted.get(name, 0), abs=1e-3)
        assert float(camera.angles[0]) == pytest.approx(-40 + 10 * i, abs=1e-3)
    assert animation.values_at(1)["smile"] == pytest.approx(0.8) and animation.values_at(0.75)["viseme_a"] == 1
    assert not torch.equal(path[0][0].ws, path[4][0].ws)


def test_where_nothing_changes_the_head_is_the_same(generator, head):
    animation = Animation(1, 6, {"smile": (Key(0, 0.5), Key(0.4, 0.5), Key(1, 0.0)), "camera.yaw": (Key(0, 0.0),)})
    heads = [edited for edited, _ in animate(generator, head, animation)]
    assert heads[0] is heads[1] is heads[2] and heads[2] is not heads[4]
    turn = [camera for _, camera in animate(generator, head, animation, Camera.orbit(3))]
    yaws = [round(float(camera.angles[0]) % 360) for camera in turn]
    assert yaws == [0, 0, 120, 120, 240, 240]


def test_length_without_seconds_is_that_of_what_happens():
    found = read_animation('{"tracks": {"age": [[0, 0], [3, 9]]}, "visemes": [["a", 1, 3.5]]}')
    assert found.seconds == 3.5 and found.fps == 24 and found.frames == 84
    assert read_animation("{}", more=(Viseme("o", 0, 2),)).seconds == 2
    assert Animation(0.001).frames == 1
    camera = Animation(1).camera_at(0.5)
    assert torch.allclose(camera.label, Camera.look_at().label) and set(CAMERA) == {
        "camera.yaw",
        "camera.pitch",
        "camera.radius",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "tracks cannot be read"),
        ("{", "tracks cannot be read"),
        ('{"frames": 3}', "it has frames, expected seconds, fps, tracks, visemes"),
        ('{"seconds": 0}', "seconds of the animation is 0"),
        ('{"seconds": 1, "fps": -1}', "fps of the animation is -1"),
        ('{"seconds": 1e9}', "frames, expected at most 20000"),
        ('{"tracks": {"age": [[1, 0], [1, 2]]}}', "times of the track age are .1.0, 1.0."),
        ('{"tracks": {"age": [[-1, 0]]}, "seconds": 1}', "times of the track age"),
        ('{"tracks": {"age": []}, "seconds": 1}', "times of the track age"),
        ('{"tracks": {"age": [[0, 1, "bounce"]]}, "seconds": 1}', "comes 'bounce', expected one of smooth"),
        ('{"tracks": {"age": [[0, "old"]]}, "seconds": 1}', "a key is .0, 'old'., expected"),
        ('{"tracks": {"age": [[0, NaN]]}, "seconds": 1}', "a key of age is nan"),
        ('{"visemes": [["q", 0, 1]]}', "the mouth is 'q'"),
    ],
)
def test_wrong_animations_are_named(text, message):
    with pytest.raises(DualEncError, match=message):
        read_animation(text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("smiel", 1.0, "did you mean smile"),
        ("age", 500.0, "age is 500, expected"),
        ("camera.roll", 3.0, "there is no track 'camera.roll'"),
        ("camera.radius", 0.0, "camera.radius is not positive"),
    ],
)
def test_tracks_are_checked_before_the_first_frame(generator, head, name, value, message):
    animation = Animation(1, 4, {name: (Key(0, 0.0 if "radius" not in name else 2.7), Key(1, value))})
    with pytest.raises(DualEncError, match=message):
        animate(generator, head, animation)


def test_what_cannot_talk_says_so(head):
    mute = people_generator(without="vowel")
    with pytest.raises(DualEncError, match="no attribute 'viseme_o'"):
        animate(mute, somebody(mute, 1), Animation(1, 4, visemes=(Viseme("o", 0, 1),)))
    with pytest.raises(DualEncError, match="batch of 2"):
        animate(mute, somebody(mute, 1, 2), Animation(1))


def test_frames_of_heads_that_change_are_drawn_as_heads_of_one_picture(generator):
    still = Animation(1, 24, {"camera.yaw": (Key(0, 0.0), Key(1, 30.0))})
    smiling = Animation(1, 24, {"smile": (Key(0, 0.0), Key(1, 1.0))})
    assert [still.quality(q, generator) for q in ("exact", "draft", "high")] == ["exact", "draft", "high"]
    assert smiling.quality("draft", generator) == "few drafts" and smiling.quality("high", generator) == "high"
    assert (
        smiling.quality("exact", generator, 4) == "reference" and smiling.quality("exact", generator, 1024) == "exact"
    )
    assert smiling.quality("exact", generator, 64) == "single use" and not still.directs and smiling.directs
