"""Functions whose results are cached: their keys, and the scripts for both clients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import cbor2
from xxhash import xxh3_128_hexdigest

from .api import Api, Make, Script
from .errors import SerializationError
from .keys import Key
from .values import TTL, Default, check_depth

KeyMaker = str | Callable[..., Key] | None


class CachedCalls:
    """The calls of one decorated function. ``key``: makes the key from the arguments; a text with
    their names in braces (``"user:{id}"``); or None: the function's name and a hash of them."""

    def __init__(
        self,
        api: Api,
        function: Callable[..., Any],
        ttl: TTL | Default,
        key: KeyMaker,
        cache_none: bool,
        unless: Callable[[Any], bool] | None,
    ) -> None:
        """``unless``: results that it is true for are not cached."""
        self._api = api
        self._function = function
        self._ttl = ttl
        self._key = key
        self._cache_none = cache_none
        self._unless = unless
        self._signature = inspect.signature(function)
        self._name = f"{function.__module__}.{function.__qualname__}"

    def key_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """The same for ``f(1)`` and ``f(x=1)``; TypeError for arguments that do not fit."""
        if callable(self._key):
            return self._key(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self._key is not None:
            return self._key.format(*bound.args, **bound.arguments)
        try:
            check_depth([bound.args, bound.kwargs])
            packed = cbor2.dumps([bound.args, sorted(bound.kwargs.items())], canonical=True)
        except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
            raise SerializationError(
                f"the arguments of {self._name} make no key ({error}); give cached() a key"
            ) from error
        return f"{self._name}:{xxh3_128_hexdigest(packed)}"

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Script[Any]:
        api = self._api
        wire = api.space.wire(self.key_for(args, kwargs))
        found = yield from api.soft(api.found(wire), None)
        return found.value if found is not None else (yield from self.refresh(args, kwargs))

    def refresh(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Script[Any]:
        """Call the function and cache what it returns."""
        value = yield Make(lambda: self._function(*args, **kwargs))
        if self._is_cached(value):
            key = self.key_for(args, kwargs)
            yield from self._api.soft(self._api.set(key, value, self._ttl), False)
        return value

    def invalidate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Script[bool]:
        """Forget the result for these arguments; whether there was one."""
        key = self.key_for(args, kwargs)
        return (yield from self._api.soft(self._api.delete(key, None), False))

    def _is_cached(self, value: Any) -> bool:
        if value is None and not self._cache_none:
            return False
        return self._unless is None or not self._unless(value)
