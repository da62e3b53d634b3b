"""Data frames and columns of pandas, polars and Arrow, whatever blocks or chunks they lie in.

A column is told by its type, by where nothing is, and by what is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from armoflow.cache.walk import Parts, RuleResult, text_digest


def rule_of(kind: type) -> Callable[[Any], RuleResult] | None:
    """The rule for a type, if it is one of these packages' that has one."""
    if _is_foreign_column(kind):
        return None  # what it says besides its values only its own pickle knows
    for base in kind.__mro__:
        rule = _RULES.get(base.__module__.partition(".")[0], {}).get(base.__name__)
        if rule is not None:
            return rule
    return None


def _is_foreign_column(kind: type) -> bool:
    """Whether another package than pandas made a type of columns."""
    names = {base.__name__ for base in kind.__mro__ if base.__module__.startswith("pandas.")}
    return "ExtensionArray" in names and not kind.__module__.startswith("pandas.")


# --- pandas -------------------------------------------------------------------------------------


def _pandas_told(data: Any) -> dict[str, Any]:
    """What a frame or a series of a derived class says besides."""
    return {name: getattr(data, name, None) for name in data._metadata if name[:1] != "_"}


def _pandas_frame(frame: Any) -> RuleResult:
    columns = [frame.iloc[:, at].array for at in range(frame.shape[1])]
    names = frame.columns
    return Parts(
        "DataFrame",
        [
            *(type(frame), frame.attrs, _pandas_told(frame), names, frame.index),
            Parts("columns", columns, _of(names)),
        ],
    )


def _of(names: Any) -> Callable[[int], str]:
    return lambda at: f"[{names[at]!r}]"


def _pandas_series(series: Any) -> RuleResult:
    told = [type(series), series.attrs, _pandas_told(series), series.name]
    return Parts("Series", [*told, series.index, series.array])


def _pandas_range(index: Any) -> RuleResult:
    return Parts("RangeIndex", [index.name, index.start, index.stop, index.step])


def _pandas_levels(index: Any) -> RuleResult:
    levels = [index.get_level_values(at).array for at in range(index.nlevels)]
    return Parts("MultiIndex", [list(index.names), *levels])


def _pandas_index(index: Any) -> RuleResult:
    return Parts("Index", [type(index), index.name, getattr(index, "freqstr", None), index.array])


def _pandas_categories(array: Any) -> RuleResult:
    return Parts("Categorical", [array.ordered, array.categories, array.codes])


def _pandas_times(array: Any) -> RuleResult:
    return Parts("times", [str(array.dtype), array.asi8])


def _pandas_array(array: Any) -> RuleResult:
    """Any other column."""
    import numpy

    dtype = array.dtype
    if isinstance(dtype, numpy.dtype):
        return Parts("array", [array.to_numpy()])
    absent = numpy.asarray(array.isna())
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, numpy.dtype) and plain.kind in "biuf":
        content = array.to_numpy(dtype=plain, na_value=plain.type(0))
    else:
        content = [value for value, gone in zip(array, absent, strict=True) if not gone]
    return Parts("column", [str(dtype), absent, content])


# --- polars and Arrow ---------------------------------------------------------------------------


def _polars_frame(frame: Any) -> RuleResult:
    return Parts("polars.DataFrame", frame.get_columns(), _of(frame.columns))


def _polars_series(series: Any) -> RuleResult:
    head = [series.name, str(series.dtype)]
    if not series.dtype.is_numeric() or series.dtype.is_decimal():
        return Parts("polars.Series", [*head, series.to_list()])
    absent = series.is_null().to_numpy()
    return Parts("polars.Series", [*head, absent, series.fill_null(0).to_numpy()])


def _arrow_table(table: Any) -> RuleResult:
    schema = table.schema
    return Parts(
        "pyarrow.Table", [schema, *table.columns], lambda at: f"[{schema.names[at - 1]!r}]"
    )


def _arrow_array(array: Any) -> RuleResult:
    import pyarrow

    head = [str(array.type)]
    number = pyarrow.types.is_integer(array.type) or pyarrow.types.is_floating(array.type)
    if not number:
        return Parts("pyarrow.Array", [*head, array.to_pylist()])
    absent = array.is_null().to_numpy(zero_copy_only=False)
    return Parts(
        "pyarrow.Array", [*head, absent, array.fill_null(0).to_numpy(zero_copy_only=False)]
    )


def _arrow_schema(schema: Any) -> RuleResult:
    metadata = dict(schema.metadata or {})
    return Parts("pyarrow.Schema", [text_digest("schema", schema.to_string()), metadata])


_RULES: dict[str, dict[str, Callable[[Any], RuleResult]]] = {
    "pandas": {
        "DataFrame": _pandas_frame,
        "Series": _pandas_series,
        "RangeIndex": _pandas_range,
        "MultiIndex": _pandas_levels,
        "Index": _pandas_index,
        "Categorical": _pandas_categories,
        "DatetimeArray": _pandas_times,
        "TimedeltaArray": _pandas_times,
        "PeriodArray": _pandas_times,
        "ExtensionArray": _pandas_array,
    },
    "polars": {"DataFrame": _polars_frame, "Series": _polars_series},
    "pyarrow": {
        "Table": _arrow_table,
        "RecordBatch": _arrow_table,
        "ChunkedArray": _arrow_array,
        "Array": _arrow_array,
        "Schema": _arrow_schema,
    },
}
