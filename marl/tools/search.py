"""Search tool: documents ranked by BM25 (Robertson et al. 1994), with the package bm25s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marl.tools.bm25 import Index
from marl.tools.tool import Tool, ToolError


def search(documents: Sequence[str] = (), folder: str = "", most: int = 3) -> Tool:
    """Return a tool that ranks documents by a query: these texts, and the .txt and .md files of a folder."""
    texts = [*map(str, documents), *(_files(Path(folder).expanduser()) if folder else ())]
    if not texts or most < 1:
        raise ValueError("search needs documents, or a folder with .txt or .md files, and most >= 1")
    index = Index(texts)

    def search(query: str) -> str:
        """Find the documents nearest to a query.

        Args:
            query: words that the documents hold
        """
        hits = index.nearest(query, most)
        if not hits:
            raise ToolError(f"no document has a word of {query!r}")
        return " / ".join(texts[hit] for hit in hits)

    return Tool.of(search, inline=True)


def _files(folder: Path) -> list[str]:
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".txt", ".md"))
    try:
        return [path.read_text() for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder}: {error}") from None
