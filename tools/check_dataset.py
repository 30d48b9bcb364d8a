#!/usr/bin/env python
"""Check a dataset; see clsa-check-dataset."""

from clsa_search.commands.check_dataset import main

if __name__ == "__main__":
    main()
