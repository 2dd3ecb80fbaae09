"""``python -m flightbridge.cli`` is the ``flightbridge`` command of this interpreter."""

from __future__ import annotations

from flightbridge.cli import main

if __name__ == "__main__":
    main()
