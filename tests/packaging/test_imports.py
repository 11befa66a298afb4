"""The three packages keep to their side of the walls between them.

The executor must stay small and know nothing of secrets, the agent must not reach into the daemon,
and what is slow to import or runs another event loop has one place. Read from the source, so that
an import inside a function counts as much as one at the top.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

PACKAGES = ("agent", "daemon", "executor")

# Distributions whose import name is another.
IMPORT_NAMES = {"sqlite-utils": "sqlite_utils"}

# Imported in a box, if the jobs' interpreter has it: no dependency of ours.
OF_JOBS = {"matplotlib"}

# Packages that serve HTTP; only what is there to be a server may import them.
SERVERS = {"starlette", "hypercorn", "h11", "http.server", "socketserver", "wsgiref", "daemon.demo"}


@frozen
class Import:
    """One module that one file imports."""

    file: str
    line: int
    module: str

    def is_of(self, *names: str) -> bool:
        """Whether the module is one of `names` or lies below one of them."""
        return any(self.module == name or self.module.startswith(f"{name}.") for name in names)

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@pytest.fixture(scope="module")
def imports(root: Path) -> list[Import]:
    """Every import of the three packages."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return [found for path in files for found in read_imports(path, root)]


def read_imports(path: Path, root: Path) -> Iterator[Import]:
    """The imports of one file; `from package import module` counts as `package.module`."""
    file = path.relative_to(root).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            modules = {submodule(base, name.name, root) for name in node.names}
            yield from (Import(file, node.lineno, module) for module in sorted(modules))


def submodule(base: str, name: str, root: Path) -> str:
    """What `from base import name` imports: the submodule, if `name` is one of ours."""
    below = root.joinpath(*base.split("."), name)
    is_module = below.is_dir() or below.with_suffix(".py").is_file()
    return f"{base}.{name}" if is_module or (base, name) == ("http", "server") else base


def offenders(imports: list[Import]) -> list[str]:
    """As lines for the assertion to show."""
    return [str(found) for found in imports]


def test_no_import_is_relative(root: Path) -> None:
    """The rules below read absolute names, so there are no others."""
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            levels = [node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            assert not any(levels), path


def test_executor_knows_neither_daemon_nor_agent(imports: list[Import]) -> None:
    """The process that runs hostile code holds no code that handles secrets."""
    wrong = [i for i in imports if i.file.startswith("executor/") and i.is_of("daemon", "agent")]
    assert offenders(wrong) == []


def test_executor_needs_little(imports: list[Import]) -> None:
    """It imports the standard library, trio and attrs: it has to stay small."""
    allowed = {*sys.stdlib_module_names, "executor", "trio", "attrs"}
    mine = [i for i in imports if i.file.startswith("executor/") and not is_inside(i)]
    assert offenders([i for i in mine if i.module.split(".")[0] not in allowed]) == []


def is_inside(found: Import) -> bool:
    return found.file.startswith("executor/inside/")


def test_what_is_handed_over_needs_an_interpreter_and_nothing_else(imports: list[Import]) -> None:
    """`executor.inside` runs in the jobs' Python, which has none of our packages."""
    allowed = {*sys.stdlib_module_names, *OF_JOBS, "executor"}
    wrong = [
        i
        for i in imports
        if is_inside(i)
        and (
            i.module.split(".")[0] not in allowed
            or (i.is_of("executor") and not i.is_of("executor.inside"))
        )
    ]
    assert offenders(wrong) == []


def test_agent_reaches_the_executor_by_its_client_alone(imports: list[Import]) -> None:
    """What the agent needs of the daemon is passed in, as the protocols of agent/ports.py."""
    mine = [i for i in imports if i.file.startswith("agent/")]
    wrong = [
        i
        for i in mine
        if i.is_of("daemon")
        or (i.is_of("executor") and not i.is_of("executor.client", "executor.protocol"))
    ]
    assert offenders(wrong) == []


@pytest.mark.parametrize(
    ("module", "home"),
    [
        ("openai", "agent/model.py"),
        ("asyncio", "daemon/fleet/worker.py"),
    ],
)
def test_module_has_one_home(imports: list[Import], module: str, home: str) -> None:
    """Importing openai costs half a second and 33 MB; asyncio is another event loop."""
    wrong = [i for i in imports if i.is_of(module) and i.file != home]
    assert offenders(wrong) == []


def test_mcp_has_four_homes_that_are_loaded_late(root: Path, imports: list[Import]) -> None:
    """It takes a second to import, which nobody pays who has no such server.

    The demo's server is a process of its own.
    """
    homes = {f"agent/mcp/{name}.py" for name in ("session", "stdio", "http", "streams")}
    homes.add("daemon/demo/library.py")
    wrong = [i for i in imports if i.is_of("mcp") and i.file not in homes]
    assert offenders(wrong) == []
    script = "import sys, daemon.main, daemon.mcpservers, daemon.chat.toolset\n"
    script += "sys.exit('mcp' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)


def test_only_servers_import_servers(imports: list[Import]) -> None:
    """The daemon listens to nobody unless asked to; the command line may start the demo."""
    may = re.compile(r"daemon/(demo/|web/|cli\.py$)")
    wrong = [i for i in imports if i.is_of(*SERVERS) and not may.match(i.file)]
    assert offenders(wrong) == []


def test_dependencies_are_those_imported(root: Path, imports: list[Import]) -> None:
    """Each third-party package is declared when it is first imported, and not before."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[^A-Za-z0-9._-]", need)[0] for need in project["dependencies"]]
    declared = {IMPORT_NAMES.get(name, name) for name in names}
    ours = {*sys.stdlib_module_names, *PACKAGES, *OF_JOBS}
    assert {i.module.split(".")[0] for i in imports} - ours == declared
