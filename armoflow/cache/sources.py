"""Modules of the user's own that are not loaded here, by what their sources do."""

from __future__ import annotations

from collections.abc import Iterator

from armoflow.cache.bytecode import shape_of
from armoflow.cache.walk import text_digest
from armoflow.codec.modules import ModuleBundle, imports_of, is_user_module


def source_digests(name: str) -> Iterator[tuple[str, bytes]]:
    """A module and those of the user's own that it imports, each with the digest of its code."""
    bundle = ModuleBundle()
    bundle.add([name])
    pending, seen = [name], {name}
    while pending:
        module = pending.pop()
        source = bundle.source(module)
        if source is None:
            continue
        if source.text is not None:
            code = compile(source.text, source.path, "exec", dont_inherit=True)
            shape = shape_of(code)
            yield module, text_digest("source", module, shape.digest.hex(), *shape.globals)
        found = sorted(filter(is_user_module, imports_of(module, source) - seen), reverse=True)
        pending.extend(found)
        seen.update(found)
