#!/usr/bin/env python
"""Convert pretrained weights; see clsa-convert-weights."""

from clsa_search.commands.convert_weights import main

if __name__ == "__main__":
    main()
