#!/usr/bin/env python
"""Index images and videos and search them; see clsa-search."""

from clsa_search.commands.search_gallery import main

if __name__ == "__main__":
    main()
