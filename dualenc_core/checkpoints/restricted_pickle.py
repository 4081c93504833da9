"""A pickle machine that cannot run code: our own opcode loop instead of a filter around the standard one.

The standard loader decides what a file may do by name look-up at run time; a filter that is wrong once runs the file's
code. Here nothing is looked up, imported or called by name. A global of the file is replaced by an entry of a
closed table (``Global``) or refused; ``REDUCE`` and ``NEWOBJ`` reach only functions of that table, which are ours;
``BUILD`` reaches only classes of ours and never sets an attribute. The result consists of None, bool, int, float, str,
memoryview, list, tuple, dict, set, frozenset and the objects that the table's functions return.

Bounds: every declared length is checked against the bytes that are there before anything is allocated; the number of
operations, stack entries, nested marks and the depth of the result are limited; no step recurses.
Opcodes that the files read here never contain (protocol 0 text forms, INST, OBJ, EXT*, NEWOBJ_EX, out-of-band buffers)
are refused by name.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..errors import CheckpointError
from .pickle_values import MAX_OPERATIONS, Budget, Buildable, Global, brief, check_depth, check_key

T = TypeVar("T")

MAX_STACK = 100_000
MAX_MEMO = 300_000
MAX_MARKS = 256
MAX_NAME_BYTES = 256


class Machine:
    """Runs one pickle in ``data``.

    Args:
        data: the bytes; strings of bytes in the result are slices of it (no copy).
        table: dotted name → ``Global``.
        persistent: for BINPERSID: from the identifier to a value; None = the opcode is refused.
        budget: shared with other machines on the same file.
    """

    def __init__(
        self,
        data: memoryview,
        table: Mapping[str, Global],
        persistent: Callable[[object], object] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._data = data
        self._size = len(data)
        self._table = table
        self._persistent = persistent
        self._budget = budget or Budget()
        self._position = 0
        self._stack: list = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def run(self, start: int = 0) -> tuple[object, int]:
        """Execute from ``start`` to STOP.

        Returns:
            The value and the position after STOP.

        Raises:
            CheckpointError: anything that is not allowed, not consistent, or over a limit.
        """
        self._position = start
        stack, budget, handlers = self._stack, self._budget, _HANDLERS
        while True:
            budget.operations -= 1
            if budget.operations < 0:
                raise self._error(f"more than {MAX_OPERATIONS} pickle operations")
            if len(stack) > MAX_STACK:
                raise self._error(f"more than {MAX_STACK} values on the stack")
            if self._position >= self._size:
                raise self._error("the data end before the pickle does (truncated?)")
            opcode = self._data[self._position]
            self._position += 1
            if opcode == 0x2E:
                break
            handler = handlers.get(opcode)
            if handler is None:
                raise self._error(_refusal(opcode))
            handler(self)
        value = self._pop()
        if stack or self._marks:
            raise self._error("values are left over at the end of the pickle")
        check_depth(value)
        return value, self._position

    # -- reading ------------------------------------------------------------------------------------------------

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(f"{message} (at byte {self._position} of {self._size})")

    def _take(self, count: int) -> memoryview:
        if count > self._size - self._position:
            left = self._size - self._position
            raise self._error(f"{count} bytes are declared but only {left} are left (truncated or hostile)")
        view = self._data[self._position : self._position + count]
        self._position += count
        return view

    def _number(self, code: str) -> int:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _line(self) -> str:
        window = bytes(self._data[self._position : self._position + MAX_NAME_BYTES + 1])
        end = window.find(b"\n")
        if end < 0:
            raise self._error(f"a name is longer than {MAX_NAME_BYTES} bytes or cut off")
        self._position += end + 1
        return self._decode(window[:end])

    def _decode(self, raw: bytes | memoryview) -> str:
        try:
            return str(raw, "utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise self._error(f"a text is not UTF-8: {error.reason}") from None

    # -- stack --------------------------------------------------------------------------------------------------

    def _pop(self) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise self._error("an operation needs a value that is not on the stack")
        return self._stack.pop()

    def _top(self) -> object:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_mark(self) -> list:
        if not self._marks:
            raise self._error("an operation needs a mark that was never set")
        height = self._marks.pop()
        items = self._stack[height:]
        del self._stack[height:]
        return items

    def _target(self, kind: type[T], operation: str) -> T:
        target = self._top()
        if type(target) is not kind:
            raise self._error(f"{operation} on {brief(target)} instead of a {kind.__name__}")
        return target

    # -- opcodes ------------------------------------------------------------------------------------------------

    def _op_proto(self) -> None:
        protocol = self._number("<B")
        if not 2 <= protocol <= 5:
            raise self._error(f"pickle protocol {protocol}; 2 to 5 are read")

    def _op_frame(self) -> None:
        length = self._number("<Q")
        if length > self._size - self._position:
            raise self._error(f"a frame of {length} bytes is declared but {self._size - self._position} are left")

    def _op_mark(self) -> None:
        if len(self._marks) >= MAX_MARKS:
            raise self._error(f"containers are nested more than {MAX_MARKS} deep")
        self._marks.append(len(self._stack))

    def _op_long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def _op_tuple(self) -> None:
        self._stack.append(tuple(self._pop_mark()))

    def _tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def _op_append(self) -> None:
        item = self._pop()
        self._target(list, "APPEND").append(item)

    def _op_appends(self) -> None:
        items = self._pop_mark()
        self._target(list, "APPENDS").extend(items)

    def _op_setitem(self) -> None:
        value, key = self._pop(), self._pop()
        self._target(dict, "SETITEM")[check_key(key)] = value

    def _op_setitems(self) -> None:
        items = self._pop_mark()
        if len(items) % 2:
            raise self._error("SETITEMS with a key that has no value")
        target = self._target(dict, "SETITEMS")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def _op_additems(self) -> None:
        items = self._pop_mark()
        self._target(set, "ADDITEMS").update(check_key(item) for item in items)

    def _op_frozenset(self) -> None:
        self._stack.append(frozenset(check_key(item) for item in self._pop_mark()))

    def _find(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._error(f"a global is named by {brief(module)} and {brief(name)} instead of two texts")
        found = self._table.get(f"{module}.{name}")
        if found is None:
            raise self._error(
                f"the file asks for the Python global {f'{module}.{name}'[:MAX_NAME_BYTES]!r}, which is not on the "
                "list of harmless ones; nothing was executed. Do not open this file with other tools"
            )
        self._stack.append(found)

    def _op_global(self) -> None:
        self._find(self._line(), self._line())

    def _op_stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._find(module, name)

    def _op_reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Global) or function.call is None:
            raise self._error(f"the file calls {brief(function)}, which may not be called here")
        if type(arguments) is not tuple:
            raise self._error(f"{function.name} is called with {brief(arguments)} instead of an argument tuple")
        self._stack.append(function.call(arguments))

    def _op_newobj(self) -> None:
        arguments, cls = self._pop(), self._pop()
        if not isinstance(cls, Global) or cls.new is None:
            raise self._error(f"the file makes an object of {brief(cls)}, which is not a class known here")
        if arguments != ():
            raise self._error(f"{cls.name} is made with arguments; none are expected")
        self._stack.append(cls.new())

    def _op_build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Buildable):
            raise self._error(f"the file sets the state of {brief(target)}, which has none")
        target.build(state)

    def _op_persistent(self) -> None:
        identifier = self._pop()
        if self._persistent is None:
            raise self._error("the file uses a persistent id (BINPERSID), which this kind of file never does")
        self._stack.append(self._persistent(identifier))

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._error(f"the file refers to value number {index}, which it never stored")
        self._stack.append(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()
        if len(self._memo) > MAX_MEMO:
            raise self._error(f"more than {MAX_MEMO} values are stored for later reference")


def _refusal(opcode: int) -> str:
    known = next((known for known in pickletools.opcodes if known.code == chr(opcode)), None)
    if known is None:
        return f"byte 0x{opcode:02x} is not a pickle operation; this is not a pickle, or it is damaged"
    return f"the pickle operation {known.name} is refused; weights files never need it"


def _push(make: Callable[[Machine], object]) -> Callable[[Machine], None]:
    return lambda machine: machine._stack.append(make(machine))


def _text(code: str) -> Callable[[Machine], None]:
    return _push(lambda machine: machine._decode(machine._take(machine._number(code))))


def _bytes(code: str) -> Callable[[Machine], None]:
    return _push(lambda machine: machine._take(machine._number(code)))


_HANDLERS: dict[int, Callable[[Machine], None]] = {
    ord(code): handler
    for code, handler in {
        "\x80": Machine._op_proto,
        "\x95": Machine._op_frame,
        "(": Machine._op_mark,
        "N": _push(lambda machine: None),
        "\x88": _push(lambda machine: True),
        "\x89": _push(lambda machine: False),
        "J": _push(lambda machine: machine._number("<i")),
        "K": _push(lambda machine: machine._number("<B")),
        "M": _push(lambda machine: machine._number("<H")),
        "\x8a": Machine._op_long,
        "G": _push(lambda machine: machine._number(">d")),
        "X": _text("<I"),
        "\x8c": _text("<B"),
        "\x8d": _text("<Q"),
        "B": _bytes("<I"),
        "C": _bytes("<B"),
        "\x8e": _bytes("<Q"),
        ")": _push(lambda machine: ()),
        "t": Machine._op_tuple,
        "\x85": lambda machine: machine._tuple_of(1),
        "\x86": lambda machine: machine._tuple_of(2),
        "\x87": lambda machine: machine._tuple_of(3),
        "]": _push(lambda machine: []),
        "a": Machine._op_append,
        "e": Machine._op_appends,
        "}": _push(lambda machine: {}),
        "s": Machine._op_setitem,
        "u": Machine._op_setitems,
        "\x8f": _push(lambda machine: set()),
        "\x90": Machine._op_additems,
        "\x91": Machine._op_frozenset,
        "c": Machine._op_global,
        "\x93": Machine._op_stack_global,
        "R": Machine._op_reduce,
        "\x81": Machine._op_newobj,
        "b": Machine._op_build,
        "Q": Machine._op_persistent,
        "h": lambda machine: machine._get(machine._number("<B")),
        "j": lambda machine: machine._get(machine._number("<I")),
        "q": lambda machine: machine._put(machine._number("<B")),
        "r": lambda machine: machine._put(machine._number("<I")),
        "\x94": lambda machine: machine._put(len(machine._memo)),
    }.items()
}
