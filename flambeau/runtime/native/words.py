"""Translates *words*, a small language in Python's syntax, into LLVM text.

The native core is written in it. Every value is a 64-bit word: an integer, an address, or the bits
of a double.

    LIMIT = 1 << 20                                      a constant
    count: word = 0                                      a global variable
    lists: words[176]                                    a global array; its name is its address
    methods: table = [("empty", empty, 8, 0), ...]       a constant table of words, row after row
    PyExc_TypeError: external                            the address of a C variable

    def malloc(size: i64) -> ptr: ...                    a C function; `*rest` if variadic
    @cold                                                rarely run: keep it out of line
    @real                                                arithmetic, comparisons, literals: doubles
    def take(list, amount: i32) -> ptr:                  a function; types matter at the border
        return list[amount]                              to C only

Statements: assignment, `if`, `while`, `for i in range(...)`, `break`, `continue`, `return`, calls.
`p[i]` is the word at address `p + 8 * i`. Division, remainder, shifts and comparisons are signed. A
function's name without a call is its address, and so is a string literal (zero-terminated). Built
in: the methods `_call_…` below.

Locals live in memory here; LLVM's passes turn them into registers, so words are compiled with
`optimize=True`.
"""

from __future__ import annotations

import ast
import platform
import struct
from typing import Any, NoReturn

_TYPES = {
    "i64": "i64",
    "i32": "i32",
    "i8": "i8",
    "ptr": "ptr",
    "f64": "double",
    "f32": "float",
    "void": "void",
}
_BINARY = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.FloorDiv: "sdiv",
    ast.Mod: "srem",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}
_REAL = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_COMPARISONS = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "slt",
    ast.LtE: "sle",
    ast.Gt: "sgt",
    ast.GtE: "sge",
}

_REAL_COMPARISONS = {ast.Lt: "olt", ast.LtE: "ole", ast.Gt: "ogt", ast.GtE: "oge", ast.Eq: "oeq"}


def _fail(node: ast.AST, message: str) -> NoReturn:
    raise SyntaxError(f"line {getattr(node, 'lineno', '?')}: {message}: {ast.unparse(node)}")


class _Signature:
    """Result and parameter types of a function, as LLVM names them."""

    def __init__(self, result: str, parameters: list[str], variadic: bool = False) -> None:
        self.result = result
        self.parameters = parameters
        self.variadic = variadic

    @classmethod
    def of(cls, node: ast.FunctionDef) -> _Signature:
        parameters = [_type_name(argument.annotation) for argument in node.args.args]
        result = "i64"
        if node.returns is not None:
            absent = isinstance(node.returns, ast.Constant) and node.returns.value is None
            result = "void" if absent else _type_name(node.returns)
        return cls(result, parameters, node.args.vararg is not None)

    @classmethod
    def parse(cls, text: str) -> _Signature:
        """From "result:type,type"."""
        result, _, parameters = text.partition(":")
        return cls(_TYPES[result], [_TYPES[name] for name in parameters.split(",") if name])

    def type(self) -> str:
        """The LLVM function type."""
        parameters = [*self.parameters, *(["..."] if self.variadic else [])]
        return f"{self.result} ({', '.join(parameters)})"


def _type_name(annotation: ast.expr | None) -> str:
    if annotation is None:
        return "i64"
    if isinstance(annotation, ast.Name) and annotation.id in _TYPES:
        return _TYPES[annotation.id]
    _fail(annotation, "unknown type")


class Translator:
    """One translation unit. Other code may look up the functions and variables `exports`."""

    def __init__(self, source: str, exports: list[str]) -> None:
        self.tree = ast.parse(source)
        self.exports = set(exports)
        self.constants: dict[str, int] = {}
        self.variables: set[str] = set()
        self.addresses: set[str] = set()
        self.functions: dict[str, _Signature] = {}
        self.strings: dict[str, str] = {}
        self.declared_intrinsics: dict[str, str] = {}
        self.lines: list[str] = []

    def translate(self) -> str:
        """The LLVM text of the unit."""
        bodies = [node for node in self.tree.body if self._declare(node)]
        for node in self.tree.body:
            if isinstance(node, ast.AnnAssign):
                self._global(node)
        for body in bodies:
            assert isinstance(body, ast.FunctionDef)
            self.lines += _Function(self, body).translate()
        for text, name in self.strings.items():
            data = text.encode() + b"\0"
            escaped = "".join(f"\\{byte:02X}" for byte in data)
            self.lines.append(f'{name} = private constant [{len(data)} x i8] c"{escaped}"')
        self.lines += self.declared_intrinsics.values()
        return "\n".join(self.lines) + "\n"

    def _declare(self, node: ast.stmt) -> bool:
        """Note what a top-level statement declares; true for a function with a body."""
        if isinstance(node, ast.Assign):
            self._constant(node)
            return False
        if isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            variable = isinstance(node.annotation, ast.Name) and node.annotation.id == "word"
            (self.variables if variable else self.addresses).add(node.target.id)
            return False
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return False
        if not isinstance(node, ast.FunctionDef):
            _fail(node, "not a declaration")
        signature = self.functions[node.name] = _Signature.of(node)
        only = node.body[0]
        dots = isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant)
        if dots and only.value.value is ...:  # type: ignore[attr-defined]
            parameters = signature.type()[len(signature.result) + 1 :]
            self.lines.append(f"declare {signature.result} @{node.name}{parameters}")
            return False
        return True

    def _constant(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if not isinstance(target, ast.Name):
            _fail(node, "not a constant")
        code = compile(ast.Expression(node.value), "<words>", "eval")
        self.constants[target.id] = int(eval(code, {"__builtins__": {}}, dict(self.constants)))

    def _global(self, node: ast.AnnAssign) -> None:
        assert isinstance(node.target, ast.Name)
        name, kind = node.target.id, node.annotation
        linkage = "" if name in self.exports else "internal "
        if isinstance(kind, ast.Subscript):
            length = self.integer(kind.slice)
            self.lines.append(
                f"@{name} = {linkage}global [{length} x i64] zeroinitializer, align 64"
            )
            return
        assert isinstance(kind, ast.Name)
        if kind.id == "external":
            self.lines.append(f"@{name} = external global ptr")
            return
        if kind.id == "word":
            value = self.integer(node.value) if node.value is not None else 0
            self.lines.append(f"@{name} = {linkage}global i64 {value}, align 8")
            return
        if kind.id != "table" or not isinstance(node.value, ast.List):
            _fail(node, "unknown kind of global")
        rows = [row.elts if isinstance(row, ast.Tuple) else [row] for row in node.value.elts]
        words = [self._table_word(item) for row in rows for item in row]
        self.lines.append(
            f"@{name} = {linkage}global [{len(words)} x i64] [{', '.join(words)}], align 16"
        )

    def _table_word(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return f"i64 ptrtoint (ptr {self.string(node.value)} to i64)"
        if isinstance(node, ast.Name) and (node.id in self.functions or node.id in self.addresses):
            return f"i64 ptrtoint (ptr @{node.id} to i64)"
        return f"i64 {self.integer(node)}"

    def integer(self, node: ast.expr) -> int:
        """The value of an expression of constants."""
        code = compile(ast.Expression(node), "<words>", "eval")
        return int(eval(code, {"__builtins__": {}}, dict(self.constants)))

    def string(self, text: str) -> str:
        """The name of the global that holds `text`."""
        return self.strings.setdefault(text, f"@.text{len(self.strings)}")

    def intrinsic(self, name: str, declaration: str) -> str:
        """`name`, declared once."""
        self.declared_intrinsics.setdefault(name, declaration)
        return name


class _Function:
    """The translation of one function."""

    def __init__(self, unit: Translator, node: ast.FunctionDef) -> None:
        self.unit = unit
        self.node = node
        self.signature = unit.functions[node.name]
        self.locals: dict[str, str] = {}
        self.lines: list[str] = []
        self.number = 0
        self.loops: list[tuple[str, str]] = []
        self.ended = False
        marks = {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}
        self.is_cold, self.is_real = "cold" in marks, "real" in marks

    def translate(self) -> list[str]:
        name = self.node.name
        types = self.signature.parameters
        parameters = [f"{kind} %a{index}" for index, kind in enumerate(types)]
        linkage = "" if name in self.unit.exports else "internal "
        attributes = "nounwind noinline cold" if self.is_cold else "nounwind"
        for index, argument in enumerate(self.node.args.args):
            self._store_local(argument.arg, self._from_c(f"%a{index}", types[index]))
        self._block(self.node.body)
        if not self.ended:
            self._return("0")
        result = f"{linkage}{self.signature.result}"
        head = f"define {result} @{name}({', '.join(parameters)}) {attributes} {{"
        slots = [f"  {slot} = alloca i64" for slot in self.locals.values()]
        return [head, *slots, *self.lines, "}"]

    # Emission

    def _emit(self, text: str) -> None:
        if self.ended:
            self._label(self._name("dead"))
        self.lines.append("  " + text)

    def _value(self, text: str) -> str:
        result = "%" + self._name("v")
        self._emit(f"{result} = {text}")
        return result

    def _name(self, stem: str) -> str:
        self.number += 1
        return f"{stem}{self.number}"

    def _label(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.ended = False

    def _jump(self, label: str) -> None:
        if not self.ended:
            self.lines.append(f"  br label %{label}")
            self.ended = True

    def _branch(self, condition: str, yes: str, no: str) -> None:
        self._emit(f"br i1 {condition}, label %{yes}, label %{no}")
        self.ended = True

    # The border to C

    def _from_c(self, value: str, kind: str) -> str:
        if kind in ("i32", "i8"):
            return self._value(f"sext {kind} {value} to i64")
        if kind == "ptr":
            return self._value(f"ptrtoint ptr {value} to i64")
        if kind == "double":
            return self._value(f"bitcast double {value} to i64")
        if kind == "float":
            bits = self._value(f"bitcast float {value} to i32")
            return self._value(f"zext i32 {bits} to i64")
        return value

    def _to_c(self, value: str, kind: str) -> str:
        if kind in ("i32", "i8"):
            return self._value(f"trunc i64 {value} to {kind}")
        if kind == "ptr":
            return self._pointer(value)
        if kind == "double":
            return self._value(f"bitcast i64 {value} to double")
        if kind == "float":
            bits = self._value(f"trunc i64 {value} to i32")
            return self._value(f"bitcast i32 {bits} to float")
        return value

    def _pointer(self, value: str) -> str:
        return self._value(f"inttoptr i64 {value} to ptr")

    def _return(self, value: str) -> None:
        kind = self.signature.result
        self._emit("ret void" if kind == "void" else f"ret {kind} {self._to_c(value, kind)}")
        self.ended = True

    # Statements

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            method = getattr(self, "_do_" + type(statement).__name__.lower(), None)
            if method is None:
                _fail(statement, "unknown statement")
            method(statement)

    def _do_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self._expression(node.value)

    def _do_pass(self, node: ast.Pass) -> None:
        return

    def _do_return(self, node: ast.Return) -> None:
        self._return("0" if node.value is None else self._expression(node.value))

    def _do_break(self, node: ast.Break) -> None:
        self._jump(self.loops[-1][1])

    def _do_continue(self, node: ast.Continue) -> None:
        self._jump(self.loops[-1][0])

    def _do_assign(self, node: ast.Assign) -> None:
        self._assign(node.targets[0], self._expression(node.value))

    def _do_augassign(self, node: ast.AugAssign) -> None:
        value = ast.BinOp(node.target, node.op, node.value)
        self._assign(node.target, self._expression(ast.copy_location(value, node)))

    def _assign(self, target: ast.expr, value: str) -> None:
        if isinstance(target, ast.Subscript):
            address = self._element(target)
            self._emit(f"store i64 {value}, ptr {address}")
            return
        if not isinstance(target, ast.Name):
            _fail(target, "cannot assign to")
        if target.id in self.unit.variables:
            self._emit(f"store i64 {value}, ptr @{target.id}")
            return
        self._store_local(target.id, value)

    def _store_local(self, name: str, value: str) -> None:
        if (
            name in self.unit.constants
            or name in self.unit.functions
            or name in self.unit.addresses
        ):
            _fail(self.node, f"{name} is taken")
        slot = self.locals.setdefault(name, f"%{name}.slot")
        self._emit(f"store i64 {value}, ptr {slot}")

    def _do_if(self, node: ast.If) -> None:
        yes, no, end = self._name("then"), self._name("else"), self._name("endif")
        self._branch(self._condition(node.test), yes, no if node.orelse else end)
        self._label(yes)
        self._block(node.body)
        self._jump(end)
        if node.orelse:
            self._label(no)
            self._block(node.orelse)
            self._jump(end)
        self._label(end)

    def _do_while(self, node: ast.While) -> None:
        head, body, end = self._name("while"), self._name("body"), self._name("endwhile")
        self._jump(head)
        self._label(head)
        self._branch(self._condition(node.test), body, end)
        self._label(body)
        self.loops.append((head, end))
        self._block(node.body)
        self.loops.pop()
        self._jump(head)
        self._label(end)

    def _do_for(self, node: ast.For) -> None:
        """`for i in range(stop)` or `range(start, stop)`; `stop` is evaluated once."""
        call = node.iter
        if not isinstance(call, ast.Call) or not isinstance(node.target, ast.Name):
            _fail(node, "not a range")
        bounds = [self._expression(argument) for argument in call.args]
        start, stop = bounds if len(bounds) == 2 else ("0", bounds[0])
        head, body = self._name("for"), self._name("body")
        following, end = self._name("next"), self._name("endfor")
        self._store_local(node.target.id, start)
        self._jump(head)
        self._label(head)
        index = self._expression(ast.Name(node.target.id))
        self._branch(self._value(f"icmp slt i64 {index}, {stop}"), body, end)
        self._label(body)
        self.loops.append((following, end))
        self._block(node.body)
        self.loops.pop()
        self._jump(following)
        self._label(following)
        index = self._expression(ast.Name(node.target.id))
        self._store_local(node.target.id, self._value(f"add i64 {index}, 1"))
        self._jump(head)
        self._label(end)

    # Expressions

    def _condition(self, node: ast.expr) -> str:
        """An i1."""
        if isinstance(node, ast.Compare):
            operator = (_REAL_COMPARISONS if self.is_real else _COMPARISONS).get(type(node.ops[0]))
            if operator is None or len(node.ops) != 1:
                _fail(node, "unknown comparison")
            left, right = self._expression(node.left), self._expression(node.comparators[0])
            if self.is_real:
                left, right = self._to_c(left, "double"), self._to_c(right, "double")
                return self._value(f"fcmp {operator} double {left}, {right}")
            return self._value(f"icmp {operator} i64 {left}, {right}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._value(f"xor i1 {self._condition(node.operand)}, true")
        if isinstance(node, ast.BoolOp):
            return self._both_or_either(node)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "unlikely":
            declaration = "declare i1 @llvm.expect.i1(i1, i1)"
            name = self.unit.intrinsic("@llvm.expect.i1", declaration)
            return self._value(f"call i1 {name}(i1 {self._condition(node.args[0])}, i1 false)")
        return self._value(f"icmp ne i64 {self._expression(node)}, 0")

    def _both_or_either(self, node: ast.BoolOp) -> str:
        slot = self.locals.setdefault("and.or", "%and.or.slot")
        end = self._name("short")
        for index, operand in enumerate(node.values):
            condition = self._condition(operand)
            self._emit(f"store i64 {self._value(f'zext i1 {condition} to i64')}, ptr {slot}")
            if index == len(node.values) - 1:
                break
            following = self._name("more")
            yes, no = (following, end) if isinstance(node.op, ast.And) else (end, following)
            self._branch(condition, yes, no)
            self._label(following)
        self._jump(end)
        self._label(end)
        return self._value(f"trunc i64 {self._value(f'load i64, ptr {slot}')} to i1")

    def _expression(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return f"ptrtoint (ptr {self.unit.string(node.value)} to i64)"
            if self.is_real:
                return str(struct.unpack("<q", struct.pack("<d", node.value))[0])
            return str(int(node.value))  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return self._read(node)
        if isinstance(node, ast.Subscript):
            return self._value(f"load i64, ptr {self._element(node)}")
        if isinstance(node, ast.BinOp):
            operator = (_REAL if self.is_real else _BINARY).get(type(node.op))
            if operator is None:
                _fail(node, "unknown operator")
            left, right = self._expression(node.left), self._expression(node.right)
            if self.is_real:
                left, right = self._to_c(left, "double"), self._to_c(right, "double")
                return self._from_c(self._value(f"{operator} double {left}, {right}"), "double")
            return self._value(f"{operator} i64 {left}, {right}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if self.is_real:
                value = self._to_c(self._expression(node.operand), "double")
                return self._from_c(self._value(f"fneg double {value}"), "double")
            return self._value(f"sub i64 0, {self._expression(node.operand)}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return self._value(f"xor i64 -1, {self._expression(node.operand)}")
        if isinstance(node, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            return self._value(f"zext i1 {self._condition(node)} to i64")
        if isinstance(node, ast.Call):
            return self._call(node)
        _fail(node, "unknown expression")

    def _read(self, node: ast.Name) -> str:
        name = node.id
        if name in self.locals:
            return self._value(f"load i64, ptr {self.locals[name]}")
        if name in self.unit.constants:
            return str(self.unit.constants[name])
        if name in self.unit.variables:
            return self._value(f"load i64, ptr @{name}")
        if name in self.unit.addresses or name in self.unit.functions:
            return f"ptrtoint (ptr @{name} to i64)"
        _fail(node, "unknown name")

    def _element(self, node: ast.Subscript) -> str:
        base, index = self._expression(node.value), self._expression(node.slice)
        pointer = self._pointer(base)
        return self._value(f"getelementptr i64, ptr {pointer}, i64 {index}")

    def _call(self, node: ast.Call) -> str:
        if not isinstance(node.func, ast.Name):
            _fail(node, "cannot call")
        name = node.func.id
        if name in self.unit.functions:
            return self._invoke(self.unit.functions[name], f"@{name}", node.args, node)
        if name == "call":
            signature = node.args[0]
            assert isinstance(signature, ast.Constant)
            target = self._pointer(self._expression(node.args[1]))
            return self._invoke(_Signature.parse(str(signature.value)), target, node.args[2:], node)
        if name == "address":
            assert isinstance(node.args[0], ast.Name)
            return f"ptrtoint (ptr @{node.args[0].id} to i64)"
        method: Any = getattr(self, "_call_" + name, None)
        if method is None:
            _fail(node, "unknown function")
        result = method(*[self._expression(argument) for argument in node.args])
        return result if isinstance(result, str) else "0"

    def _invoke(
        self, signature: _Signature, target: str, given: list[ast.expr], node: ast.Call
    ) -> str:
        if len(given) < len(signature.parameters):
            _fail(node, "too few arguments")
        if len(given) > len(signature.parameters) and not signature.variadic:
            _fail(node, "too many arguments")
        kinds = signature.parameters + ["i64"] * (len(given) - len(signature.parameters))
        values = [self._expression(argument) for argument in given]
        passed = [
            f"{kind} {self._to_c(value, kind)}" for value, kind in zip(values, kinds, strict=True)
        ]
        text = f"call {signature.type()} {target}({', '.join(passed)})"
        if signature.result == "void":
            self._emit(text)
            return "0"
        return self._from_c(self._value(text), signature.result)

    # Built in: the methods below, called by their names without `_call_`

    def _call_stack(self, words: str) -> str:
        """Address of fresh words of the stack, gone when the function returns."""
        slot = self._value(f"alloca i64, i64 {words}, align 16")
        return self._value(f"ptrtoint ptr {slot} to i64")

    def _call_byte(self, address: str) -> str:
        byte = self._value(f"load i8, ptr {self._pointer(address)}")
        return self._value(f"zext i8 {byte} to i64")

    def _call_half_word(self, address: str) -> str:
        half = self._value(f"load i32, ptr {self._pointer(address)}")
        return self._value(f"zext i32 {half} to i64")

    def _call_set_half_word(self, address: str, value: str) -> None:
        half = self._value(f"trunc i64 {value} to i32")
        self._emit(f"store i32 {half}, ptr {self._pointer(address)}")

    def _call_as_real(self, value: str) -> str:
        """The double that an integer is."""
        return self._from_c(self._value(f"sitofp i64 {value} to double"), "double")

    def _call_unsigned_remainder(self, value: str, divisor: str) -> str:
        return self._value(f"urem i64 {value}, {divisor}")

    def _call_leading_zeros(self, value: str) -> str:
        declaration = "declare i64 @llvm.ctlz.i64(i64, i1)"
        name = self.unit.intrinsic("@llvm.ctlz.i64", declaration)
        return self._value(f"call i64 {name}(i64 {value}, i1 false)")

    def _call_atomic_load(self, address: str) -> str:
        return self._value(f"load atomic i64, ptr {self._pointer(address)} seq_cst, align 8")

    def _call_atomic_store(self, address: str, value: str) -> None:
        self._emit(f"store atomic i64 {value}, ptr {self._pointer(address)} seq_cst, align 8")

    def _call_atomic_add(self, address: str, value: str) -> str:
        """Adds, and gives what was there before."""
        return self._value(f"atomicrmw add ptr {self._pointer(address)}, i64 {value} seq_cst")

    def _call_compare_exchange(self, address: str, expected: str, value: str) -> str:
        """True if `expected` was there and `value` now is."""
        pointer = self._pointer(address)
        pair = self._value(f"cmpxchg ptr {pointer}, i64 {expected}, i64 {value} seq_cst seq_cst")
        return self._value(f"zext i1 {self._value(f'extractvalue {{i64, i1}} {pair}, 1')} to i64")

    def _call_copy(self, target: str, source: str, count: str) -> None:
        """Copy `count` bytes between places that do not overlap."""
        declaration = "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"
        name = self.unit.intrinsic("@llvm.memcpy.p0.p0.i64", declaration)
        to, what = self._pointer(target), self._pointer(source)
        self._emit(f"call void {name}(ptr {to}, ptr {what}, i64 {count}, i1 false)")

    def _call_pause(self) -> None:
        """Tell the processor that this is a waiting loop."""
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            name = self.unit.intrinsic(
                "@llvm.x86.sse2.pause", "declare void @llvm.x86.sse2.pause()"
            )
            self._emit(f"call void {name}()")
        elif machine in ("aarch64", "arm64"):
            name = self.unit.intrinsic("@llvm.aarch64.hint", "declare void @llvm.aarch64.hint(i32)")
            self._emit(f"call void {name}(i32 1)")


def translate(source: str, exports: list[str]) -> str:
    """LLVM text of a unit in words; `exports` can be looked up in its object."""
    return Translator(source, exports).translate()
