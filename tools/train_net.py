#!/usr/bin/env python
"""Train or evaluate a person-search model; see clsa-train."""

from clsa_search.commands.train_net import main

if __name__ == "__main__":
    main()
