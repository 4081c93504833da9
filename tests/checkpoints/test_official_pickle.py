"""Official pickles: what they hold comes out exactly, and what they carry never runs."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.checkpoints import read_official
from dualenc_core.errors import CheckpointError


def _write(path, writer, tiny, edit=None, style=None):
    style = style or writer.Style()
    content = writer.official(tiny.state, tiny.init_kwargs, tiny.rendering_kwargs, style)
    if edit:
        edit(content)
    path.write_bytes(writer.dumps(content, style))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("modern", [False, True])
def test_reads_the_whole_generator(tmp_path, writer, tiny, protocol, modern):
    numpy_core = "numpy._core.multiarray" if modern else "numpy.core.multiarray"
    style = writer.Style(protocol=protocol, ordered=not modern, numpy_core=numpy_core)
    checkpoint = read_official(_write(tmp_path / "g.pkl", writer, tiny, style=style))
    assert checkpoint.state_dict.keys() == tiny.state.keys()
    for name, expected in tiny.state.items():
        found = checkpoint.state_dict[name]
        assert found.dtype == expected.dtype and torch.equal(found, expected), name
    assert checkpoint.init_kwargs == tiny.init_kwargs
    assert checkpoint.rendering_kwargs == tiny.rendering_kwargs | {"density_noise": 0.0}
    assert checkpoint.neural_rendering_resolution == 64
    assert checkpoint.provenance["network"] == "G_ema"
    assert checkpoint.provenance["training_set_kwargs"]["max_size"] == 7
    assert "density_noise" in " ".join(checkpoint.provenance["notes"])


def test_embedded_source_is_never_executed(tmp_path, writer, tiny):
    mark = tmp_path / "executed"
    style = writer.Style(source=f"open({str(mark)!r}, 'w').write('x')\nraise RuntimeError('executed')")
    path = _write(tmp_path / "g.pkl", writer, tiny, style=style)
    assert str(mark).encode() in path.read_bytes()
    read_official(path)
    assert not mark.exists()


def test_cuda_location_is_ignored(tmp_path, writer, tiny):
    path = _write(tmp_path / "g.pkl", writer, tiny, style=writer.Style(location="cuda:0"))
    assert b"cuda:0" in path.read_bytes()
    assert next(iter(read_official(path).state_dict.values())).device.type == "cpu"


def test_state_dict_follows_the_module_rules(tmp_path, writer, tiny):
    checkpoint = read_official(_write(tmp_path / "g.pkl", writer, tiny))
    assert not any("scratch" in name or "absent" in name for name in checkpoint.state_dict)
    tensors = list(checkpoint.state_dict.values())
    assert all(tensor.is_contiguous() for tensor in tensors)
    assert len({tensor.data_ptr() for tensor in tensors if tensor.numel()}) == len([t for t in tensors if t.numel()])


def test_strided_views_and_dtypes(tmp_path, writer, tiny):
    base = torch.arange(24, dtype=torch.float16).reshape(4, 6)
    extra = {
        "extra.w": base.t()[1:5:2],
        "extra.half": base[2],
        "extra.bf16": base.bfloat16(),
        "extra.count": torch.tensor(5),
        "extra.flag": torch.tensor([True, False]),
        "extra.none": torch.empty(0, 3),
    }
    tiny_and_extra = type(tiny)(**{**vars(tiny), "state": tiny.state | extra})
    found = read_official(_write(tmp_path / "g.pkl", writer, tiny_and_extra)).state_dict
    for name, expected in extra.items():
        assert found[name].dtype == expected.dtype and torch.equal(found[name], expected), name


def test_raw_generator_is_used_with_a_note(tmp_path, writer, tiny):
    checkpoint = read_official(_write(tmp_path / "g.pkl", writer, tiny, edit=lambda c: c.pop("G_ema")))
    assert checkpoint.provenance["network"] == "G"
    assert any("no G_ema" in note for note in checkpoint.provenance["notes"])


def test_optional_submodules_may_be_absent(tmp_path, writer, tiny):
    def strip(content):
        for name in ("torgb", "bcg_synthesis", "t_mapping"):
            content["G_ema"].state["_modules"].pop(name)

    found = read_official(_write(tmp_path / "g.pkl", writer, tiny, edit=strip)).state_dict
    assert found and not any(name.startswith(("torgb.", "bcg_", "t_mapping.")) for name in found)


def _laughs(levels=60):
    """Lists of the list before, twice: small in the file, 2^levels values if something walked through all of it."""
    value = ["ha"]
    for _ in range(levels):
        value = [value, value]
    return value


def _renderer(content):
    return content["G_ema"].state["_modules"]["renderer"].state


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: (c.pop("G"), c.pop("G_ema")), "neither 'G_ema' nor 'G'"),
        (lambda c: setattr(c["G_ema"], "class_name", "Generator"), "TriPlaneGenerator of PanoHead is expected"),
        (lambda c: c.update(G_ema={"weights": 1}), "TriPlaneGenerator of PanoHead is expected"),
        (lambda c: _renderer(c).update(plane_axes=_renderer(c)["plane_axes"].flip(0)), "plane_axes are not PanoHead's"),
        (lambda c: _renderer(c).update(plane_axes=torch.eye(3)), "plane_axes are not PanoHead's"),
        (lambda c: c["training_set_kwargs"].update(a=_laughs()), "more than 10000 values or 16 levels"),
        (lambda c: c["training_set_kwargs"].update(a=[_laughs(10)] * 20), "more than 10000 values or 16 levels"),
        (lambda c: c["G_ema"].state["_init_kwargs"].update(a=_laughs()), "more than 10000 values or 16 levels"),
        (lambda c: c["G_ema"].state.update(_init_args=(512,)), "positional arguments"),
        (lambda c: c["G_ema"].state.pop("_init_kwargs"), "_init_kwargs"),
        (lambda c: c["G_ema"].state.update(neural_rendering_resolution=0), "neural_rendering_resolution"),
        (lambda c: c["G_ema"].state["rendering_kwargs"].update(box_warp=float("nan")), "box_warp is nan"),
        (lambda c: c["G_ema"].state["_parameters"].update({"a.b": torch.ones(1)}), "without dots"),
        (lambda c: c["G_ema"].state["_modules"].update(torgb={}) or c["G_ema"].state["_modules"].update(x=3), "x is 3"),
        (lambda c: c["G_ema"].state["_parameters"].update(x="text"), "x is 'text' instead of a tensor"),
        (lambda c: c["G_ema"].state.update(_parameters=[1]), "_parameters is a list"),
    ],
)
def test_other_content_is_a_clear_error(tmp_path, writer, tiny, edit, words):
    with pytest.raises(CheckpointError) as caught:
        read_official(_write(tmp_path / "g.pkl", writer, tiny, edit=edit))
    assert words in str(caught.value) and "g.pkl" in str(caught.value)


def test_one_storage_cannot_be_claimed_over_and_over(tmp_path, writer, tiny):
    """A crafted file may point a thousand parameters to one storage; copying it for each would fill the memory."""
    rebuild, memory = writer.Name("torch._utils", "_rebuild_tensor_v2"), torch.zeros(50_000).untyped_storage()
    storage = torch.storage.TypedStorage(wrap_storage=memory, dtype=torch.float32, _internal=True)

    class Claim:
        def __reduce__(self):
            return rebuild, (storage, 0, (50_000,), (1,), False, None)

    def edit(content):
        content["G_ema"].state["_buffers"].update({f"b{index}": Claim() for index in range(1000)})

    with pytest.raises(CheckpointError, match="more than the file's"):
        read_official(_write(tmp_path / "g.pkl", writer, tiny, edit=edit))
