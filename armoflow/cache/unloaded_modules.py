"""Modules of the user's own that are not loaded here, by what their sources do."""

from __future__ import annotations

from collections.abc import Iterator

from armoflow.cache.bytecode import shape_of
from armoflow.cache.walk import text_digest
from armoflow.codec.modules import ModuleBundle, imports_of, is_user_module


class SourceText(str):
    """A module's source: no value of a global."""

    __slots__ = ()


def source_digests(name: str) -> Iterator[tuple[str, bytes, SourceText]]:
    """A module and those of the user's own that it imports: name, digest of its code, source."""
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
            digest = text_digest("source", module, shape.digest.hex(), *shape.globals)
            yield module, digest, SourceText(source.text)
        found = sorted(filter(is_user_module, imports_of(module, source) - seen), reverse=True)
        pending.extend(found)
        seen.update(found)
