"""Arrays and tables as JSON and back: numpy and pandas, where the other side uses them. Imports neither by itself."""

import base64
import importlib
import sys
from collections.abc import Callable


def encode(codec, value):
    """`[tag, …]`, or None for what is neither an array nor a table."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and hasattr(numpy, "ndarray"):
        if isinstance(value, numpy.ma.MaskedArray):
            return None
        if isinstance(value, numpy.ndarray):
            return _array(codec, value, "matrix" if isinstance(value, numpy.matrix) else "array")
        if isinstance(value, numpy.generic):
            return _array(codec, numpy.asarray(value), "scalar")
        if isinstance(value, numpy.dtype):
            return ["dtype", _dtype(value)]
    if pandas is not None and hasattr(pandas, "DataFrame"):
        return _table(codec, pandas, value)
    return None


# --- to JSON --------------------------------------------------------------------------------------------------------


def _dtype(dtype):
    return dtype.str if dtype.names is None else [[name, _dtype(dtype[name])] for name in dtype.names]


def _array(codec, value, kind: str) -> list:
    if value.dtype.hasobject:
        return ["objects", kind, list(value.shape), codec.encode_all(value.ravel().tolist())]
    data = base64.b64encode(value.tobytes()).decode()
    return ["array", kind, _dtype(value.dtype), list(value.shape), data]


def _table(codec, pandas, value):
    if value is pandas.NaT or value is pandas.NA:
        return ["missing", "NaT" if value is pandas.NaT else "NA"]
    if isinstance(value, pandas.Timestamp):
        return ["timestamp", value.isoformat(), str(value.tz) if value.tz is not None else None]
    if isinstance(value, pandas.Timedelta):
        return ["delta", value.value]
    if isinstance(value, pandas.Series):
        return ["series", *_column(codec, value), codec.encode(value.index), codec.encode(value.name)]
    if isinstance(value, pandas.DataFrame):
        columns = [_column(codec, value.iloc[:, number]) for number in range(value.shape[1])]
        return ["frame", columns, codec.encode(value.index), codec.encode(value.columns)]
    if isinstance(value, pandas.RangeIndex):
        return ["steps", value.start, value.stop, value.step, codec.encode(value.name)]
    if isinstance(value, pandas.MultiIndex):
        return ["levels", [codec.encode_all(each) for each in value], codec.encode_all(value.names)]
    if isinstance(value, pandas.Index):
        return ["index", *_column(codec, value), codec.encode(value.name), getattr(value, "freqstr", None)]
    return None


def _column(codec, value) -> list:
    """What kind of values a column holds, and the values."""
    import pandas

    if isinstance(value.dtype, pandas.CategoricalDtype):
        categories = codec.encode(value.dtype.categories)
        return ["categories", [codec.encode_all(value.tolist()), categories, bool(value.dtype.ordered)]]
    if type(value.dtype).__module__.startswith("numpy"):
        return ["numpy", codec.encode(value.to_numpy())]
    return [str(value.dtype), codec.encode_all(list(value))]


def overwrite(old, new) -> bool:
    """Arrays of the same shape and tables, in place."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(old, numpy.ndarray):
        if old.shape != new.shape or old.dtype != new.dtype or not old.flags.writeable:
            return False
        old[...] = new
        return True
    if pandas is not None and isinstance(old, pandas.DataFrame | pandas.Series):
        old._mgr = new._mgr  # what pandas' own in-place methods do
        if isinstance(old, pandas.Series):
            old.name = new.name
        return True
    return False


# --- from JSON ------------------------------------------------------------------------------------------------------


def _read_dtype(numpy, data):
    return numpy.dtype(data if isinstance(data, str) else [(name, _read_dtype(numpy, each)) for name, each in data])


def _shaped(numpy, flat, shape, kind):
    value = flat.reshape([int(each) for each in shape])
    if kind == "scalar":
        return value[()]
    return numpy.asmatrix(value) if kind == "matrix" else value


def _read_array(codec, kind, dtype, shape, data):
    numpy = _module("numpy")
    exact = _read_dtype(numpy, dtype)
    if exact.hasobject:
        raise ValueError("an array of objects must come as objects")
    raw = base64.b64decode(data)
    if exact.itemsize == 0:
        return _shaped(numpy, numpy.zeros(shape, exact), shape, kind)
    return _shaped(numpy, numpy.frombuffer(raw, exact).copy(), shape, kind)


def _read_objects(codec, kind, shape, values):
    numpy = _module("numpy")
    flat = numpy.empty(len(values), object)
    for number, each in enumerate(values):
        flat[number] = codec.decode(each)
    return _shaped(numpy, flat, shape, kind)


def _read_missing(codec, name):
    pandas = _module("pandas")
    return pandas.NaT if name == "NaT" else pandas.NA


def _read_timestamp(codec, text, zone):
    value = _module("pandas").Timestamp(text)
    return value if zone is None else value.tz_convert(zone)


def _values(codec, kind, data):
    pandas = _module("pandas")
    if kind == "numpy":
        return codec.decode(data)
    if kind == "categories":
        values, categories, ordered = data
        return pandas.Categorical(codec.decode_all(values), codec.decode(categories), ordered)
    return pandas.array(codec.decode_all(data), dtype=kind)


def _read_series(codec, kind, data, index, name):
    pandas = _module("pandas")
    return pandas.Series(_values(codec, kind, data), codec.decode(index), name=codec.decode(name))


def _read_frame(codec, columns, index, names):
    rows = codec.decode(index)
    frame = _module("pandas").DataFrame(
        {number: _values(codec, *each) for number, each in enumerate(columns)}, index=rows
    )
    frame.columns = codec.decode(names)
    return frame


def _read_index(codec, kind, data, name, frequency):
    pandas = _module("pandas")
    index = pandas.Index(_values(codec, kind, data), name=codec.decode(name))
    if frequency is not None and hasattr(index, "freq"):
        index.freq = frequency
    return index


def _read_levels(codec, rows, names):
    return _module("pandas").MultiIndex.from_tuples(
        [tuple(codec.decode_all(each)) for each in rows], names=codec.decode_all(names)
    )


def _module(name: str):
    return importlib.import_module(name)


READERS: dict[str, Callable] = {
    "array": _read_array,
    "objects": _read_objects,
    "dtype": lambda codec, data: _read_dtype(_module("numpy"), data),
    "missing": _read_missing,
    "timestamp": _read_timestamp,
    "delta": lambda codec, value: _module("pandas").Timedelta(value),
    "series": _read_series,
    "frame": _read_frame,
    "steps": lambda codec, start, stop, step, name: _module("pandas").RangeIndex(
        start, stop, step, name=codec.decode(name)
    ),
    "index": _read_index,
    "levels": _read_levels,
}
