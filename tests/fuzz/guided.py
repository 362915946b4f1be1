"""One target under atheris, which keeps what reaches new lines of the decoder and builds on it.

    python -m tests.fuzz.guided request --seconds 60 [--corpus DIR]

Needs `pip install tiercluster[fuzz]` (Linux). Ends with the figures of libFuzzer on stderr, and
with another exit code than 0 and a `crash-...` file if anything was found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tiercluster"]):
    from .targets import TARGETS

RSS_LIMIT_MIB = 1024
RUN_LIMIT_S = 10
MAX_BYTES = 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="kept from run to run; default: thrown away")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        corpus = given.corpus or Path(directory)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(TARGETS[given.target].seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        options = [
            f"-max_total_time={given.seconds}", f"-rss_limit_mb={RSS_LIMIT_MIB}",
            f"-timeout={RUN_LIMIT_S}", f"-max_len={MAX_BYTES}", "-print_final_stats=1",
            f"-artifact_prefix={Path.cwd()}/",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[given.target].run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
