"""What mkdocs calls while it makes the site (`mkdocs.yml` names this file)."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs_build import examples, generated, maths, reference, site_check

_log = logging.getLogger("mkdocs.hooks.mlmfast")
_links: dict[str, str] = {}


def on_config(config: Any) -> Any:
    """Pages that the navigation does not name stand at its end."""
    named = set(re.findall(r"[\w/]+\.md", str(config["nav"])))
    pages = [page.relative_to(examples.DOCS).as_posix() for page in examples.DOCS.rglob("*.md")]
    further = sorted(set(pages) - named)
    if further:
        config["nav"].append({"More": further})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Offer the data sets that pages read, and the runs of benchmarks."""
    from mkdocs.structure.files import File

    used = {name for page in examples.DOCS.rglob("*.md") for name in site_check.data_of(page)}
    for name in sorted(used):
        path = examples.DATA / name
        files.append(File.generated(config, f"data/{name}", content=path.read_bytes()))
    for path in sorted(generated.RUNS.glob("*.json")):
        files.append(File.generated(config, f"results/{path.name}", content=path.read_bytes()))
    _links.update(reference.targets())
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Run the examples of a page, fill in what is generated."""
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import File

    name = page.file.src_uri
    if name.startswith("reference/"):
        return reference.expand(markdown, _links)
    markdown = generated.fill(markdown)
    if name in examples.TESTED_ELSEWHERE:
        return markdown
    try:
        done = examples.run_page(markdown, name)
    except RuntimeError as error:
        raise PluginError(str(error)) from error
    for picture, content in done.pictures.items():
        files.append(File.generated(config, f"pictures/{picture}", content=content))
    if done.seconds > 0.5:
        _log.info("%s: examples took %.1f s", name, done.seconds)
    return done.markdown


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Formulas as MathML."""
    return maths.as_mathml(html)


def on_post_build(config: Any) -> None:
    """Offer the search index as a script too; what is broken or from elsewhere ends the build.

    Raises
    ------
    PluginError
        With the list of them.
    """
    from mkdocs.exceptions import PluginError

    site = Path(config["site_dir"])
    # Pages opened from a folder cannot fetch the index, but can run a script that holds it.
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    (site / "search/search_index.js").write_text(f"var __index = {index}", encoding="utf-8")
    faults = site_check.faults(site)
    if faults:
        raise PluginError("the site has faults:\n  " + "\n  ".join(faults))


# The search plugin writes the index before.
on_post_build.mkdocs_priority = -100  # type: ignore[attr-defined]
