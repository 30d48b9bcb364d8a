#!/usr/bin/env python
"""Generate synthetic street scenes."""

from clsa_search.commands.make_synthetic import main

if __name__ == "__main__":
    main()
