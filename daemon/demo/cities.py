"""City names and the IANA zones they lie in, for the offline model."""

from __future__ import annotations

import re
from typing import Final

_ZONES = """\
Africa/Cairo Africa/Casablanca Africa/Johannesburg Africa/Lagos Africa/Nairobi
America/Anchorage America/Bogota America/Caracas America/Chicago America/Denver America/Halifax
America/Lima America/Los_Angeles America/Mexico_City America/New_York America/Phoenix
America/Santiago America/Sao_Paulo America/Toronto America/Vancouver
Asia/Baghdad Asia/Bangkok Asia/Dhaka Asia/Dubai Asia/Ho_Chi_Minh Asia/Hong_Kong Asia/Istanbul
Asia/Jakarta Asia/Jerusalem Asia/Karachi Asia/Kathmandu Asia/Kolkata Asia/Manila Asia/Riyadh
Asia/Seoul Asia/Shanghai Asia/Singapore Asia/Taipei Asia/Tashkent Asia/Tehran Asia/Tokyo
Atlantic/Reykjavik Australia/Adelaide Australia/Brisbane Australia/Melbourne Australia/Perth
Australia/Sydney Europe/Amsterdam Europe/Athens Europe/Belgrade Europe/Berlin Europe/Brussels
Europe/Bucharest Europe/Budapest Europe/Copenhagen Europe/Dublin Europe/Helsinki Europe/Kyiv
Europe/Lisbon Europe/London Europe/Madrid Europe/Moscow Europe/Oslo Europe/Paris Europe/Prague
Europe/Rome Europe/Sofia Europe/Stockholm Europe/Vienna Europe/Vilnius Europe/Warsaw Europe/Zurich
Pacific/Auckland Pacific/Fiji Pacific/Honolulu"""

_OTHER_NAMES = {
    "beijing": "Asia/Shanghai",
    "delhi": "Asia/Kolkata",
    "geneva": "Europe/Zurich",
    "hawaii": "Pacific/Honolulu",
    "india": "Asia/Kolkata",
    "japan": "Asia/Tokyo",
    "mumbai": "Asia/Kolkata",
    "munich": "Europe/Berlin",
    "san francisco": "America/Los_Angeles",
    "utc": "UTC",
    "washington": "America/New_York",
}

_CITIES = {zone.rpartition("/")[2].replace("_", " ").lower(): zone for zone in _ZONES.split()}
_NAMES = {**_CITIES, **_OTHER_NAMES}
# What is known as a place within a sentence: the longest name first, or a zone.
PLACE: Final = "|".join(
    [*sorted(map(re.escape, _NAMES), key=len, reverse=True), r"[a-z]+(?:/[a-z_+-]+)+"]
)
_ZONE = re.compile(r"[A-Z][A-Za-z]+(?:/[A-Za-z_+-]+)+|UTC")


def zone_of(text: str) -> str:
    """Give the zone of the first city named in a text, or the zone that it names itself.

    A place that is not known is given back as it is: it is for the tool to say so.
    """
    text = text.strip(" .?!")
    if found := _ZONE.search(text):
        return found[0]
    lower = text.lower()
    for name, zone in _NAMES.items():
        if re.search(rf"\b{re.escape(name)}\b", lower):
            return zone
    return text
