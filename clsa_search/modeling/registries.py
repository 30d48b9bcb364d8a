"""Look up configured names in registries."""

from detectron2.utils.registry import Registry

from clsa_search.errors import InputError


def find_class(registry: Registry, name: str, key: str) -> type:
    """Return the class or function that is registered under a name.

    Args:
        registry: registry to search.
        name: registered name.
        key: config key with this name, for the message.

    Raises:
        InputError: the registry has no such name.
    """
    if name not in registry:
        names = ", ".join(known for known, _ in registry)
        raise InputError(f"{key} is {name!r}; expected one of {names}")
    return registry.get(name)
