"""The command line: ``python -m dualenc_core VERB …``."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from . import __version__
from .errors import DualEncError

VERBS = {
    "reconstruct": "a photo to a head that can be seen from every side",
    "invert": "photos to heads as files: a folder, in parallel, going on where it stopped",
    "optimize": "a photo to a head by optimisation (W+, PTI), or an encoded head refined on its photo",
    "demo": "reconstruct a bundled portrait and a public-domain photo with the bundled weights",
    "sample": "invent heads",
    "render": "pictures of a saved head from any camera",
    "orbit": "a turntable of a saved head as a video",
    "edit": "a part of another head, a blend, a mirror image, other styles, attributes such as age and light",
    "animate": "a video of a saved head that moves and talks",
    "directions": "what a generator knows of heads; directions for one that names none",
    "interpolate": "a video of heads that turn into one another",
    "mesh": "a coloured mesh of a saved head",
    "splat": "a saved head as Gaussian splats",
    "convert": "an official checkpoint to a safetensors file",
    "weights": "list the known weights files: which are here, where to get the others",
    "prepare": "a folder of photos to aligned crops with cameras, for training and evaluation",
    "people": "synthetic people from an asset pack: look at them, or trace them for training",
    "train": "train the bundled models, or encoders like the paper",
    "average": "weights that are the mean of several trainings",
    "evaluate": "measure a generator and its encoders on heads whose every view is known",
}

OK, USER_ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130

EPILOG = """examples:
  python -m dualenc_core demo
  python -m dualenc_core reconstruct photo.jpg --out out/photo
  python -m dualenc_core reconstruct --help

exit codes: 0 done, 1 wrong input or nothing that could be used (one line says what), 2 wrong usage, 130 interrupted
"""

# Options that make a run need less memory, the most telling first.
_MEMORY = ("grid", "resolution", "rays", "size", "workers")
_ASCII = {
    "×": "x",
    "…": "...",
    "—": "-",
    "–": "-",
    "→": "->",
    "°": " deg",
    "±": "+-",
    "·": "*",
    "’": "'",
    "“": '"',
    "”": '"',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. User errors are one line on stderr, never a traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _print_anything()
    try:
        args = build_parser(argv).parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE
    try:
        code = args.run(args) or OK
        # Here it is still an error that can be told.
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError as error:
        # Whoever read our words (head, less) has seen enough; another pipe is another matter.
        return OK if _nobody_listens() else _fail(f"error: {error}", USER_ERROR)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except DualEncError as error:
        return _fail(f"error: {error}", USER_ERROR)
    except OSError as error:
        return _fail(f"error: {error}; check the path, the permissions and the free space", USER_ERROR)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        smaller = [f"use a smaller --{name}" for name in _MEMORY if hasattr(args, name)][:1]
        cpu = ["or use --device cpu"] if hasattr(args, "device") else []
        advice = ", ".join([*smaller, "close other programs", *cpu])
        return _fail(f"error: out of memory ({error}); {advice}", USER_ERROR)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the verb that ``argv`` names gets its options, because the others' would load their modules."""
    parser = argparse.ArgumentParser(
        prog="python -m dualenc_core",
        description="One portrait photo to a head seen from every side.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dualenc {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for verb, summary in VERBS.items():
        if verb != wanted:
            verbs.add_parser(verb, help=summary)
            continue
        module = importlib.import_module(f".commands.{verb}", __package__)
        sub = verbs.add_parser(
            verb,
            help=summary,
            description=module.__doc__,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def _print_anything() -> None:
    """Words that a console's code page or a redirected file lacks are printed as near as it can: work that is done must
    not be lost over them."""
    codecs.register_error("dualenc", _nearest)
    for stream in (sys.stdout, sys.stderr):
        # Streams that others have put there may be of any kind.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="dualenc")  # type: ignore[union-attr]


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in parts), error.end


def _nobody_listens() -> bool:
    """Whether standard output is a pipe that was closed; then it is silenced, or Python would complain at its end."""
    try:
        # Not through the stream, which may have nothing left to write.
        os.write(sys.stdout.fileno(), b"\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    except (AttributeError, ValueError, OSError):
        pass
    return False


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _fail(message: str, code: int) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return code
