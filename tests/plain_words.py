"""Counts question words that stand as nouns, in docstrings and pages.

"what", "whatever", "who", "whom", "whoever" and "whose" always count. "which"
counts unless it begins a relative clause: behind a comma, a preposition or one
of the nouns in "the ... which". Code blocks, inline code, headings of tables
and links are no words.

    python tests/plain_words.py        one line a file, the worst first
"""

import ast
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALWAYS = {"what", "whatever", "who", "whom", "whoever", "whose"}
PREPOSITIONS = {
  *("in", "of", "on", "for", "to", "from", "with", "by", "at", "after"),
  *("before", "under", "over", "through", "into", "between", "within"),
}


def words(text: str) -> list[str]:
  """Words and commas of a text, without code."""
  text = re.sub(r"```.*?```", " ", text, flags=re.S)
  text = re.sub(r"`[^`]*`", " x ", text)
  text = re.sub(r"\]\([^)]*\)", "] ", text)
  return re.findall(r"[A-Za-z][A-Za-z'\u2019-]*|,", text)


def count(text: str) -> tuple[int, int]:
  """Question words as nouns, and all words."""
  found, last, total = 0, "", 0
  for word in (x.lower() for x in words(text)):
    if word != ",":
      total += 1
    relative = last == "," or last in PREPOSITIONS
    found += word in ALWAYS or (word == "which" and not relative)
    last = word
  return found, total


def docstrings(path: pathlib.Path) -> str:
  """All docstrings of a module, dedented."""
  kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
  nodes = ast.walk(ast.parse(path.read_text()))
  texts = (ast.get_docstring(x) for x in nodes if isinstance(x, kinds))
  return "\n\n".join(x for x in texts if x)


def pages() -> dict[str, str]:
  """File -> its prose."""
  found = {}
  for folder in ("unirep", "configs", "launch", "benchmarks"):
    for path in sorted((ROOT / folder).rglob("*.py")):
      # The links to configs and launch are followed once.
      if path.resolve().relative_to(ROOT) == path.relative_to(ROOT):
        found[str(path.relative_to(ROOT))] = docstrings(path)
  for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]):
    found[str(path.relative_to(ROOT))] = path.read_text()
  return found


if __name__ == "__main__":
  rows = sorted(((*count(text), name) for name, text in pages().items()))
  shown = int(sys.argv[1]) if len(sys.argv) > 1 else 25
  for hits, total, name in reversed(rows[-shown:]):
    sys.stdout.write(f"{hits:4d} of {total:5d}  {name}\n")
  for kind in (".py", ".md"):
    hits = sum(row[0] for row in rows if row[2].endswith(kind))
    total = sum(row[1] for row in rows if row[2].endswith(kind))
    sys.stdout.write(f"{100 * hits / total:.2f} in 100 words of {kind}\n")
