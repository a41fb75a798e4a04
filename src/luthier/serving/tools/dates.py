"""Dates: so many days, weeks, months or years on, how long from one to another, which day of the week.

`2026-11-21 + 30 days`, `2026-11-21 to 2027-03-01`, `2026-11-21`; `today` is a date too. Gregorian, without time zones.
"""

import calendar
import re
from collections.abc import Callable
from datetime import date, timedelta

from luthier.serving.tools.tool import Tool, ToolFailed

_DATE = r"(today|\d{4}-\d{1,2}-\d{1,2})"
_LATER = re.compile(rf"{_DATE}\s*([+-])\s*(\d{{1,6}})\s*(day|week|month|year)s?", re.I)
_BETWEEN = re.compile(rf"{_DATE}\s+(?:to|until|till)\s+{_DATE}", re.I)
_ALONE = re.compile(_DATE, re.I)


def dates(asked: str, today: Callable[[], date] = date.today) -> str:
    """The date, the number of days, or the day of the week. Raises ToolFailed."""
    text = asked.strip()
    try:
        if match := _LATER.fullmatch(text):
            count = int(match[3]) * (1 if match[2] == "+" else -1)
            return _moved(_date(match[1], today), count, match[4].lower()).isoformat()
        if match := _BETWEEN.fullmatch(text):
            return f"{(_date(match[2], today) - _date(match[1], today)).days} days"
        if match := _ALONE.fullmatch(text):
            found = _date(match[1], today)
            return f"{calendar.day_name[found.weekday()]}, {found.isoformat()}"
    except (ValueError, OverflowError) as error:
        raise ToolFailed(f"{asked[:60]!r}: {error}") from error
    raise ToolFailed(
        f"expected '2026-11-21 + 30 days', '2026-11-21 to 2027-03-01' or a date, got {asked[:60]!r}"
    )


def _date(text: str, today: Callable[[], date]) -> date:
    return today() if text.lower() == "today" else date(*map(int, text.split("-")))


def _moved(start: date, count: int, unit: str) -> date:
    """A month on is the same day, or the last one where the month is shorter."""
    if unit in ("day", "week"):
        return start + timedelta(days=count * (7 if unit == "week" else 1))
    year, month = divmod(start.year * 12 + start.month - 1 + count * (12 if unit == "year" else 1), 12)
    if not date.min.year <= year <= date.max.year:
        raise ValueError("beyond the calendar")
    return date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


DATES = Tool(
    "date",
    "days between dates, dates some days or months on, days of the week",
    "2026-11-21 + 30 days",
    dates,
)
