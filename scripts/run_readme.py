"""Run the `console` and `python` blocks of a Markdown file in order, in one temporary folder, until one fails.

A block behind the comment <!-- not run: REASON --> is skipped. Lines of a console block that begin with "$ " are
commands; the others are what they print, and are not compared.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(page: Path) -> None:
    """Run the blocks of a page; the exit code is that of the first command that fails."""
    root = page.resolve().parent
    environment = os.environ | {"PATH": f"{root / '.venv' / 'bin'}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        for skipped, kind, text in BLOCK.findall(page.read_text()):
            if skipped:
                continue
            lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
            command = ["bash", "-euc", "\n".join(lines)] if kind == "console" else [sys.executable, "-c", text]
            print("\n".join(lines) if kind == "console" else text, flush=True)
            code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
            if code:
                sys.exit(f"{page}: a block failed with exit code {code}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
