"""Speed of the search desk over a large gallery."""
