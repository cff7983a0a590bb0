"""The README's tree, from the first line of each module's docstring: `python tests/readme_tree.py` prints it."""

import ast
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
ORDER = ("cli.py", "app.py", "speedrun.py", "doctor.py", "configs", "data", "data/diorama", "conditioner", "vae",
         "dit", "pipeline", "captioner", "studio", "eval", "eval/judge", "trainer", "bench")  # fmt: skip


def tree() -> str:
    """One line a file; of folders that are not in ORDER, one line each."""
    lines = []
    for place in ORDER:
        path = CHECKOUT / place
        if path.is_file():
            lines.append(f"{place:<26}{_first_line(path)}")
            continue
        package = path / "__init__.py"
        lines.append(f"{place + '/':<26}{_first_line(package) if package.exists() else ''}".rstrip())
        files = sorted(file for file in path.glob("*.py") if file != package)
        lines += [f"  {file.name:<23} {_first_line(file)}" for file in files]
        folders = sorted(path.glob("*/__init__.py"))
        lines += [f"  {file.parent.name + '/':<23} {_first_line(file)}" for file in folders
                  if f"{place}/{file.parent.name}" not in ORDER]  # fmt: skip
    return "\n".join(lines)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].rstrip(".")


if __name__ == "__main__":
    sys.stdout.write(tree() + "\n")
