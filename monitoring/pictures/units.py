"""Numbers as Grafana writes them, for the units that the dashboard has."""

from __future__ import annotations

import math

_PER_SECOND = {"wps": "w/s", "reqps": "req/s", "cps": "c/s"}
_TIMES = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "d"))


def shown(value: float, unit: str) -> str:
    """``value`` of Grafana's ``unit``, short. Raises KeyError for a unit that is none of the dashboard's."""
    if math.isnan(value):
        return "NaN"
    if unit == "s":
        return _duration(value)
    if unit == "percentunit":
        return f"{_short(100 * value)} %"
    if unit in ("bytes", "binBps"):
        return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB")) + ("/s" if unit == "binBps" else "")
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    if unit == "none":
        return _short(value)
    text = _scaled(value, 1000, ("", "K", "Mil", "Bil"))
    return text if unit == "short" else f"{text} {_PER_SECOND[unit]}"


def _short(value: float) -> str:
    """Three digits that count, and no idle ones."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _scaled(value: float, step: int, names: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= step and power < len(names) - 1:
        value, power = value / step, power + 1
    return f"{_short(value)} {names[power]}".rstrip()


def _duration(value: float) -> str:
    if value == 0:
        return "0 s"
    if abs(value) < 0.001:
        return f"{_short(value * 1e6)} µs"
    if abs(value) < 1:
        return f"{_short(value * 1e3)} ms"
    seconds, name = max(one for one in _TIMES if one[0] <= abs(value))
    return f"{_short(value / seconds)} {name}"
