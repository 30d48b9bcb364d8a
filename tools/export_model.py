#!/usr/bin/env python
"""Export a trained model; see clsa-export."""

from clsa_search.commands.export_model import main

if __name__ == "__main__":
    main()
