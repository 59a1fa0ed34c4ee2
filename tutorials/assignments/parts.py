"""Run as much of an answers.py as will run, without what one import, syntax error or failed statement breaks.

A name without a value stands for the reason: whoever uses it is told. What does not use it loses nothing.
"""

import __future__

import ast
import importlib.util
import re
import sys

from remote import described

FILE = "answers.py"
BEGINS = re.compile(r"""(?!(?:else|elif|except|finally)\b)[^\W\d]|[@"'(\[{]""")  # a line that begins a statement
NAMES = re.compile(r"^(?:async\s+)?(?:def|class|import)\s+(\w+)|^(\w[\w, ]*?)\s*(?::[^=\n]+)?=(?!=)", re.M)


class Missing:
    """Stands for what could not be imported or read, and raises the reason whatever is done with it."""

    def __init__(self, error):
        self._kind, self._text = type(error), described(error)[1]

    def _use(self, *arguments, **options):
        raise self._kind(self._text)

    def __getattr__(self, name):
        self._use()

    __call__ = __getitem__ = __iter__ = __len__ = __bool__ = __float__ = __index__ = __mro_entries__ = _use
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __matmul__ = _use
    __rmatmul__ = __pow__ = __rpow__ = __neg__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _use
    __hash__ = object.__hash__


class Broken:
    """A part of a file that is no Python: the names that it would have given a value, and the error."""

    def __init__(self, text, error):
        self.error = error
        found = NAMES.search(text)
        self.names = re.findall(r"\w+", found.group(1) or found.group(2)) if found else []


def statements(text):
    """Return the statements of a file in order, and in the place of what is no Python a Broken."""
    try:
        source = importlib.util.decode_source(text)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise SyntaxError(f"answers.py cannot be read; save it as UTF-8 ({error})") from None
    try:
        return ast.parse(source, FILE).body
    except (SyntaxError, ValueError):  # ValueError: a null byte, before Python 3.12
        lines = source.split("\n")
    begins = [i for i, line in enumerate(lines) if BEGINS.match(line)]
    begins = [i for n, i in enumerate(begins) if n == 0 or not lines[begins[n - 1]].startswith("@")] + [len(lines)]
    found, first, why = [], 0, None
    while first < len(begins) - 1:
        for last in range(first + 1, len(begins)):  # a text over several lines looks like several statements
            part = "\n".join(lines[begins[first] : begins[last]])
            try:
                found += ast.parse("\n" * begins[first] + part, FILE).body
                break
            except (SyntaxError, ValueError) as error:
                why = why if last > first + 1 else error
        else:
            last = first + 1
            found.append(Broken("\n".join(lines[begins[first] : begins[last]]), why))
        first = last
    return found


class Imports(ast.NodeTransformer):
    """Takes imports apart, one name each; one that is not allowed fails as if it were not installed.

    Parameters
    ----------
    allowed : set of str
        As {"numpy", "duonet.Tensor"}: a name allows what lies below it too. The standard library is allowed.
    """

    def __init__(self, allowed):
        self.allowed = allowed

    def visit_Import(self, node):  # noqa: N802
        """Return one statement for each name."""
        return [self._checked(node, alias, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node):  # noqa: N802
        """Return one statement for each name."""
        module = f"{'.' * node.level}{node.module}." if node.module else "." * node.level
        return [self._checked(node, alias, module + alias.name) for alias in node.names]

    def _checked(self, node, alias, name):
        alone = type(node)(**dict(ast.iter_fields(node)) | {"names": [alias]})
        parents = {name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)}
        if not parents & self.allowed and name.split(".")[0] not in sys.stdlib_module_names:
            why = f"answers.py imports {name}; this assignment allows {', '.join(sorted(self.allowed))}"
            (refusal,) = ast.parse(f"raise ModuleNotFoundError({why!r})").body
            refusal.names, alone = alone.names, refusal
        return ast.fix_missing_locations(ast.copy_location(alone, node))


def names_of(statement):
    """Return the names to which a statement at the top of a file gives a value; "*" where an import has it."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    names = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise)):  # a Raise stands for an import
            names += [alias.asname or alias.name.split(".")[0] for alias in getattr(node, "names", [])]
    return names


def failed(statement, error):
    """Return what a name is missing for: an import and a syntax error say enough, others stood somewhere else."""
    if isinstance(error, (ImportError, SyntaxError)):
        return error
    return NameError(f"line {statement.lineno} of answers.py failed: {': '.join(described(error))}")


def run(text, allowed, namespace):
    """Run a file statement by statement; a name that gets no value, because its statement fails, becomes Missing.

    Parameters
    ----------
    text : bytes
    allowed : set of str
        What it may import besides the standard library.
    namespace : dict
        Of the module.
    """
    imports, flags = Imports(allowed), 0
    for statement in statements(text):
        if isinstance(statement, Broken):
            namespace.update(dict.fromkeys(statement.names, Missing(statement.error)))
            continue
        parts = imports.visit(statement)
        for part in parts if isinstance(parts, list) else [parts]:
            try:
                exec(compile(ast.Module([part], []), FILE, "exec", flags, True), namespace)
            except Exception as error:
                names = names_of(part)
                if "*" in names:  # whatever the rest uses may have come from there
                    raise
                namespace.update({name: Missing(failed(part, error)) for name in names})
            else:
                if isinstance(part, ast.ImportFrom) and part.module == "__future__":
                    flags |= getattr(__future__, part.names[0].name).compiler_flag
