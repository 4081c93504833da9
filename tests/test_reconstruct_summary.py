"""What `reconstruct` says at its end."""

from types import SimpleNamespace

import pytest

from dualenc_core.commands.reconstruct import summary


@pytest.mark.parametrize("there", [["sheet.png", "report.json"], ["sheet.png", "turntable.mp4", "report.json"]])
def test_only_files_that_were_written_are_named(tmp_path, there) -> None:
    for name in there:
        (tmp_path / name).touch()
    report = {"metrics": {"same_view": {"both": {"psnr": 20.0, "ssim": 0.8}}}}
    last = summary(tmp_path, SimpleNamespace(alignment={}), report).splitlines()[-1]
    assert last == f"results are in {tmp_path}: {', '.join(there)}, …"
