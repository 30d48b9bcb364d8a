"""Looking up a configured name in a registry."""

from detectron2.utils.registry import Registry

from clsa_search.errors import InputError


def find_class(registry: Registry, name: str, key: str) -> type:
    """What is registered under a name.

    Raises:
        InputError: nothing is; `key` is the config key that the message names.
    """
    if name not in registry:
        names = ", ".join(known for known, _ in registry)
        raise InputError(f"{key} is {name!r}; expected one of {names}")
    return registry.get(name)
