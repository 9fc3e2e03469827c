"""The house of the Rust core: which file may know of which."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"

# From the ground up; a folder knows the folders before it. Engines stand side by side.
ENGINES = ("nested", "crossed", "dense", "iterative")
GROUND = ("running", "draws", "pedigree", "linalg", "newton", "rows", "criterion")
FLOOR = {name: i for i, name in enumerate(GROUND)} | dict.fromkeys(ENGINES, len(GROUND))
FLOOR["python"] = len(GROUND) + 1

LONGEST_FILE = 450
FULLEST_FOLDER = 12

Module = tuple[str, ...]
USE = re.compile(r"\buse\s+((?:crate|super|self)\b[^;]*);")
PATH = re.compile(r"\b(?:crate|super)(?:::\w+)+")


@cache
def modules() -> dict[Module, Path]:
    """Every module that is a file, without those of tests."""
    found = {}
    for file in sorted(SOURCE.rglob("*.rs")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "mod":
            parts = parts[:-1]
        if parts != ("lib",) and parts[-1] != "tests":
            found[parts] = file
    return found


def code(file: Path) -> str:
    """The text of a file without comments and without the tests at its end."""
    text = re.sub(r"//[^\n]*", "", file.read_text())
    return re.split(r"#\[cfg\(test\)\]\s*mod \w+ \{", text)[0]


def spread(tree: str) -> Iterator[str]:
    """The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    head, brace, rest = tree.partition("{")
    if not brace:
        yield re.sub(r"\s+as\s+\w+", "", tree).strip()
        return
    depth, part = 0, ""
    for letter in rest.rstrip().removesuffix("}") + ",":
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if part.strip():
                yield from spread(head.strip() + part.strip())
            part = ""
        else:
            part += letter


def target(module: Module, path: str) -> Module | None:
    """The module that a path seen in `module` leads to."""
    first, *rest = path.split("::")
    where = () if first == "crate" else module if first == "self" else module[:-1]
    while rest and rest[0] == "super":
        where, rest = where[:-1], rest[1:]
    for name in rest:
        if (*where, name) not in modules():
            break
        where = (*where, name)
    return where or None


@cache
def imports() -> dict[Module, set[Module]]:
    """By module, the modules that it names."""
    found: dict[Module, set[Module]] = {}
    for module, file in modules().items():
        text = code(file)
        paths = [path for tree in USE.findall(text) for path in spread(tree)]
        paths += PATH.findall(USE.sub("", text))
        targets = {target(module, path) for path in paths}
        found[module] = {t for t in targets if t is not None and t != module}
    return found


def circles() -> list[set[Module]]:
    """Sets of modules that reach one another."""
    reach = {module: set(known) for module, known in imports().items()}
    for middle in reach:
        for known in reach.values():
            if middle in known:
                known |= reach[middle]
    found = []
    for module, known in reach.items():
        if module in known and not any(module in circle for circle in found):
            found.append({m for m in known if module in reach[m]})
    return found


def name(module: Module) -> str:
    return "::".join(module)


def test_the_imports_are_read() -> None:
    paths = list(spread("crate::{a::{b, c as d}, e}"))
    assert paths == ["crate::a::b", "crate::a::c", "crate::e"]
    assert ("linalg", "dense") in imports()[("linalg", "triangle")]
    assert sum(map(len, imports().values())) > 200


def test_no_circle_of_files() -> None:
    assert [sorted(map(name, circle)) for circle in circles()] == []


def test_imports_point_down() -> None:
    up = [
        f"{name(module)} knows {name(known)}"
        for module, all_known in imports().items()
        for known in all_known
        if module[0] != known[0] and FLOOR[known[0]] >= FLOOR[module[0]]
    ]
    assert up == []


def test_every_folder_has_its_floor() -> None:
    assert {module[0] for module in modules()} == set(FLOOR)


def test_files_are_short_and_folders_not_full() -> None:
    lines = {file: len(file.read_text().splitlines()) for file in SOURCE.rglob("*.rs")}
    assert [f"{f.relative_to(SOURCE)}: {n}" for f, n in lines.items() if n > LONGEST_FILE] == []
    folders = [file.parent for file in lines if file.stem not in ("mod", "lib", "tests")]
    full = {f for f in folders if folders.count(f) > FULLEST_FOLDER}
    assert sorted(str(f.relative_to(SOURCE)) for f in full) == []
