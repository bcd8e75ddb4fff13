"""`python -m sparse_repr.encoder`: the encoders that come with the package, with their scores."""

from __future__ import annotations

import sys

from sparse_repr.encoder.shipped import SHIPPED, in_words


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] not in ("-h", "--help"):
        print(f"python -m sparse_repr.encoder takes no arguments, got {words[0]!r}", file=sys.stderr)
        return 2
    print(f"{__doc__}\n" if words else "\n\n".join(map(in_words, SHIPPED)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
