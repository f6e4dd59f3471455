"""The rules of the house that a parser can check: who imports whom, what is never called, what is documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from streamlit.testing.v1 import AppTest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "mha_viz"

# The parts of the package, each importing only from parts before it (and from itself).
PARTS = (
    "errors",
    "cluster",
    "environment",
    "masks",
    "remember",
    "settings",
    "spelling",
    "scenario",
    "inputs",
    "attention",
    "pretrained",
    "doctor",
    "figures",
    "export",
    "given",
    "gallery",
    "ui",
    "cli",
    "__main__",
)
# Methods of a Run and a Report that are doors to later parts: what they lead to is imported when they are called.
DOORS = {"mha_viz/attention/runs.py": {"doctor", "export"}, "mha_viz/doctor/findings.py": {"export"}}
# The one file that starts a process: this Python, with a module of this package, no shell.
STARTS_A_PROCESS = {"mha_viz/cluster/gateway.py": {"subprocess"}}
LOADED_BY_NEED_ONLY = ("streamlit", "transformers", "ray", "plotly.matplotlylib", "IPython")
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}
NEVER_IMPORTED = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "subprocess",
    "runpy",
    "code",
}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

SOURCES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted((REPOSITORY / "pages").glob("*.py"))
PROGRAM = [REPOSITORY / "app.py", *PAGES, *SOURCES]


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _package_of(path: Path) -> list[str]:
    return list(path.relative_to(REPOSITORY).parent.parts)


def _imports(path: Path) -> Iterator[str]:
    """Yield the full dotted name of everything imported anywhere in the file, relative imports resolved."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = _package_of(path)[: len(_package_of(path)) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _part(dotted: str) -> str:
    """Return the part of the package that a dotted name such as mha_viz.masks.text.parse belongs to."""
    return dotted.split(".")[1] if "." in dotted else ""


def test_the_scans_find_files() -> None:
    assert {"mha_viz/errors.py", "mha_viz/ui/server.py", "app.py"} <= {_name(path) for path in PROGRAM}
    assert len(PAGES) >= 3
    assert "mha_viz.errors.MhaVizError" in set(_imports(PACKAGE / "ui" / "server.py"))


def test_importing_the_package_loads_no_heavy_stranger() -> None:
    code = "import mha_viz, sys; print(*[m for m in sys.argv[1:] if m in sys.modules])"
    command = [sys.executable, "-c", code, *LOADED_BY_NEED_ONLY]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", [path for path in SOURCES if (PACKAGE / "ui") not in path.parents], ids=_name)
def test_only_the_user_interface_imports_streamlit(path: Path) -> None:
    assert not _roots(path) & {"streamlit", "starlette", "uvicorn"}


@pytest.mark.parametrize("path", [REPOSITORY / "app.py", *PAGES], ids=_name)
def test_pages_hold_no_tensors_and_no_figures(path: Path) -> None:
    assert not _roots(path) & {"torch", "plotly", "numpy", "pandas"}


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_module_belongs_to_a_known_part(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in {*PARTS, "__init__"}, f"give {part} its place in PARTS"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.parent != PACKAGE or path.stem != "__init__"], ids=_name
)
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    above = PARTS[: PARTS.index(own) + 1]
    used = {name for name in _imports(path) if name.split(".")[0] == "mha_viz"}
    if own in ("ui", "cli", "__main__"):  # the top: it may use the public names
        return
    wrong = {name for name in used if _part(name) not in {*above, *DOORS.get(_name(path), ())}}
    assert not wrong, f"{own} may import only {', '.join(above)}"


@pytest.mark.parametrize("path", PROGRAM, ids=_name)
def test_nothing_is_evaluated_or_unpickled(path: Path) -> None:
    assert not (_roots(path) & NEVER_IMPORTED) - STARTS_A_PROCESS.get(_name(path), set())
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        where = f"{_name(path)}:{node.lineno} {called}"
        assert called.removeprefix("builtins.") not in NEVER_CALLED, where
        assert called not in {"os.system", "os.popen"}, where
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert given.get("allow_pickle", "False") == "False", where
        assert given.get("weights_only", "True") == "True", where
        assert given.get("unsafe_allow_html", "False") == "False", where
        assert given.get("unsafe_allow_javascript", "False") == "False", where
        if called == "torch.load":
            assert "weights_only" in given, where
        if re.fullmatch(r"(np|numpy)(\.lib\.format)?\.(load|read_array)", called):
            assert "allow_pickle" in given, where


@pytest.mark.parametrize(
    "line",
    ["eval(x)", "builtins.exec(x)", "import pickle", "np.load(f)", "np.load(f, allow_pickle=True)", "torch.load(f)"],
)
def test_the_scan_for_dangerous_calls_catches(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)
    bad = tmp_path / "bad.py"
    bad.write_text(line, encoding="utf-8")
    with pytest.raises(AssertionError):
        test_nothing_is_evaluated_or_unpickled(bad)


def test_everything_imported_at_run_time_is_a_declared_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["models"], *extras["ray"]]
    declared = {Requirement(text).name for text in wanted}
    known = {*declared, "PIL", "starlette", "mha_viz", *sys.stdlib_module_names}  # Starlette is Streamlit's server
    assert "pillow" in declared  # which is imported as PIL
    foreign = {root: _name(path) for path in PROGRAM for root in _roots(path) - known}
    assert foreign == {}


def test_session_state_that_does_not_serialise_fails_the_script() -> None:
    app = AppTest.from_string("import streamlit as st; st.session_state.bad = lambda: 1").run()
    assert "Cannot serialize the value" in app.exception[0].message


def test_no_module_has_a_name_that_says_nothing() -> None:
    folders = [PACKAGE, REPOSITORY / "pages", REPOSITORY / "tests", REPOSITORY / "benchmarks"]
    names = {path: set(path.relative_to(REPOSITORY).with_suffix("").parts) for f in folders for path in f.rglob("*.py")}
    assert not [_name(path) for path, parts in names.items() if parts & VAGUE_NAMES]


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Yield the public definitions of a module or class body, methods of public classes included."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _public(node.body)
        elif isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def _is_overload(node: Definition) -> bool:
    return any(ast.unparse(decorator).split(".")[-1] in {"overload", "setter"} for decorator in node.decorator_list)


def _unannotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    missing = [a.arg for a in every if a and a.annotation is None and a.arg not in {"self", "cls"}]
    return missing if node.returns else [*missing, "return"]


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]


def _inherited_documentation(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """Return the names of the methods that a base class, at any height, documents: an override need not repeat it."""
    found: set[str] = set()
    for base in (classes[name] for name in _bases(node) if name in classes):
        found |= {method.name for method in _public(base.body) if ast.get_docstring(method)}
        found |= _inherited_documentation(base, classes)
    return found


@cache
def _classes() -> dict[str, ast.ClassDef]:
    return {n.name: n for path in SOURCES for n in ast.walk(_tree(path)) if isinstance(n, ast.ClassDef)}


def _undocumented(tree: ast.Module) -> list[str]:
    missing = []
    for node in tree.body:
        excused = _inherited_documentation(node, _classes()) if isinstance(node, ast.ClassDef) else set()
        public = (found for found in _public([node]) if not _is_overload(found))
        missing += [found.name for found in public if not ast.get_docstring(found) and found.name not in excused]
    return missing


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_public_name_is_documented_and_annotated(path: Path) -> None:
    tree = _tree(path)
    assert ast.get_docstring(tree), "the module has no docstring"
    public = [node for node in _public(tree.body) if not _is_overload(node)]
    assert _undocumented(tree) == []
    functions = [node for node in public if not isinstance(node, ast.ClassDef)]
    assert {node.name: missing for node in functions if (missing := _unannotated(node))} == {}


def _pins(file: str) -> dict[str, str]:
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_pinned_versions_lie_in_the_declared_ranges() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [Requirement(text) for text in project["dependencies"]]
    extra = [Requirement(text) for texts in project["optional-dependencies"].values() for text in texts]
    run, dev = _pins("requirements.txt"), _pins("requirements-dev.txt")
    assert {requirement.name for requirement in needed} == set(run)
    assert {requirement.name for requirement in extra} == set(dev)
    for requirement in [*needed, *extra]:
        assert requirement.specifier.contains((run | dev)[requirement.name]), requirement
