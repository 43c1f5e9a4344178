"""`python -m sidecar` is the command `narrowgate`."""

from __future__ import annotations

from sidecar.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
