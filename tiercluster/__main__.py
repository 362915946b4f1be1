"""`python -m tiercluster` is the `tiercluster` command."""

from __future__ import annotations

from tiercluster.cli.main import main

if __name__ == "__main__":
    main()
