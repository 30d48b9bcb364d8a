#!/usr/bin/env python
"""Convert MOTChallenge folders into custom JSON; see clsa-import-mot."""

from clsa_search.commands.import_mot import main

if __name__ == "__main__":
    main()
