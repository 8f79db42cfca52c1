"""Imports follow the layout."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT

MODULES = {"compare_and_set", "logs", "settings", "parent_death", "struct_types"}
OURS = MODULES | {"auth", "jobs", "models", "modeler", "webhooks", "api", "worker", "mldeploy"}
MAY_IMPORT = {
    "compare_and_set": set(),
    "logs": set(),
    "settings": set(),
    "parent_death": set(),
    "struct_types": set(),
    "auth": {"settings"},
    "jobs": {"compare_and_set", "logs", "settings"},
    "models": {"compare_and_set", "settings"},
    "modeler": {"models", "settings"},
    "webhooks": {"settings"},
    "api": {"logs", "settings", "struct_types", "parent_death", "auth", "jobs", "models", "webhooks"},
    "worker": {"compare_and_set", "logs", "settings", "struct_types", "parent_death", "jobs", "models", "modeler", "webhooks"},
    "mldeploy": {"settings", "parent_death", "auth", "jobs", "models", "modeler", "webhooks"},
}
LIGHT = {"auth", "jobs", "models", "webhooks", "api"}
HEAVY_LIBRARIES = {"sklearn", "pandas", "numpy", "scipy", "joblib", "pyarrow"}
READ_ENVIRONMENT = {Path("settings.py"), Path("mldeploy/cli/environment.py")}
CLIENT_HALF = (
    "mldeploy.cli",
    "mldeploy.client",
    "mldeploy.account",
    "mldeploy.closed_pipe",
)  # mldeploy-client
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc"}


def own_files(root: Path) -> list[Path]:
    packages = [file for name in OURS for file in (root / name).rglob("*.py")]
    return sorted(packages + [root / f"{name}.py" for name in MODULES])


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def faults_of(root: Path) -> list[str]:
    """Return every breach of the layout's rules below ``root``, one line each."""
    faults = []
    for file in own_files(root):
        where = file.relative_to(root)
        package = where.parts[0].removesuffix(".py")
        tree = ast.parse(file.read_text())
        if FORBIDDEN_NAMES & {part.removesuffix(".py") for part in where.parts}:
            faults.append(f"{where}: a name that says nothing")
        for name, node in imported(tree):
            top = name.split(".")[0]
            if top in OURS - {package} - MAY_IMPORT[package]:
                faults.append(f"{where}:{node.lineno}: {package} may not import {name}")
            if package in LIGHT and top in HEAVY_LIBRARIES:
                faults.append(f"{where}:{node.lineno}: {package} may not import {name}")
            if where.is_relative_to("mldeploy/client") and top in OURS and not name.startswith("mldeploy.client"):
                faults.append(f"{where}:{node.lineno}: the client imports nothing else of ours")
            if where.is_relative_to("mldeploy/cli") and top in OURS and not name.startswith(CLIENT_HALF):
                faults.append(f"{where}:{node.lineno}: the client's commands import nothing of the server")
        faults += [f"{where}:{line}: the annotation's name is a field's too" for line in shadowed_annotations(tree)]
        faults += [f"{where}:{line}: an own import inside a function" for line in imports_in_functions(tree)]
        faults += [f"{where}:{line}: reads the environment" for line in environment_reads(tree) if where not in READ_ENVIRONMENT]
    return faults


def imports_in_functions(tree: ast.AST) -> list[int]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.lineno for function in functions for name, node in imported(function) if name.split(".")[0] in OURS]


def shadowed_annotations(tree: ast.AST) -> list[int]:
    """From Python 3.14 on annotations are evaluated when they are needed, among the fields of the finished class."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = []
    for fields in ([each for each in node.body if isinstance(each, ast.AnnAssign)] for node in classes):
        names = {field.target.id for field in fields if isinstance(field.target, ast.Name)}
        used = [(name, field) for field in fields for name in ast.walk(field.annotation) if isinstance(name, ast.Name)]
        found += [field.lineno for name, field in used if name.id in names]
    return found


def environment_reads(tree: ast.AST) -> list[int]:
    reads = [
        node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
    ]
    return [node.lineno for node in reads if isinstance(node.value, ast.Name) and node.value.id == "os"]


def cycles_of(root: Path) -> list[str]:
    modules = {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in own_files(root)}
    arrows = {
        name: {found for found, _ in imported(ast.parse(file.read_text())) if found in modules and found != name}
        for name, file in modules.items()
    }
    cycles, done = [], set[str]()

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycles.append(" → ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for target in arrows[name]:
                walk(target, (*path, name))
            done.add(name)

    for name in modules:
        walk(name, ())
    return cycles


def test_imports_flow_one_way() -> None:
    assert faults_of(ROOT) == []


def test_the_keys_format_is_written_in_one_place() -> None:
    """So all keys and channels follow when it changes."""
    found = [file for file in own_files(ROOT) if re.search(r"""}:\d+:""", file.read_text())]
    assert [str(file.relative_to(ROOT)) for file in found] == ["jobs/ledger.py"]


def test_there_are_no_import_cycles() -> None:
    assert cycles_of(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("api/planted.py", "import worker.app", "api may not import worker.app"),
        ("jobs/planted.py", "from models.card import Card", "jobs may not import models.card"),
        ("auth/planted.py", "from jobs.ledger import Ledger", "auth may not import jobs.ledger"),
        ("webhooks/planted.py", "import auth.keys", "webhooks may not import auth.keys"),
        ("api/planted.py", "import pandas", "api may not import pandas"),
        ("api/planted.py", "from modeler import train", "api may not import modeler"),
        ("models/planted.py", "from modeler import train", "models may not import modeler"),
        ("models/planted.py", "import numpy", "models may not import numpy"),
        ("modeler/planted.py", "from jobs.job import Job", "modeler may not import jobs.job"),
        ("worker/planted.py", "import os\nHOME = os.environ['HOME']", "reads the environment"),
        ("worker/planted.py", "def f():\n    from jobs import ledger", "an own import inside a function"),
        ("models/planted.py", "class A:\n    moves: list[moves.Move]", "the annotation's name is a field's too"),
        ("mldeploy/client/planted.py", "from settings import load", "the client imports nothing else of ours"),
        ("mldeploy/cli/planted.py", "import settings", "the client's commands import nothing of the server"),
        ("mldeploy/cli/planted.py", "from mldeploy.local.up import Up", "the client's commands import nothing of the server"),
        ("models/utils.py", "", "a name that says nothing"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, file: str, line: str, fault: str) -> None:
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line)
    assert any(fault in found for found in faults_of(tmp_path))


def test_a_planted_cycle_is_found(tmp_path: Path) -> None:
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/one.py").write_text("from jobs import two")
    (tmp_path / "jobs/two.py").write_text("import jobs.one")
    assert cycles_of(tmp_path)


def test_importing_the_api_leaves_scikit_learn_and_pandas_out() -> None:
    code = (
        "import sys, settings, api.__main__, api.app; s = settings.Settings(redis_url='redis://127.0.0.1:1');"
        "api.http.pipeline.Pipeline(api.app.create_app(s), api.service.make_service(s));"
        f"print(sorted({HEAVY_LIBRARIES!r} & set(sys.modules)))"
    )
    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"


def test_nothing_happens_at_import(tmp_path: Path) -> None:
    """No thread, no socket and no file is opened."""
    code = (
        "import threading, socket\n"
        "def refuse(*_): raise SystemExit('a socket at import')\n"
        "socket.socket.connect = refuse\n"
        "import api.app, worker.app, worker.__main__, jobs.reconciler, mldeploy.local.main\n"
        "print(threading.active_count())"
    )
    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "1", completed.stderr


def test_the_image_gets_all_that_is_ours() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {name.removesuffix(".py") for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    let_in = {name.removeprefix("!").removesuffix(".py") for name in (ROOT / ".dockerignore").read_text().splitlines()}
    assert copied >= OURS
    assert let_in >= copied
