"""Places that are not on this machine: `s3://`, `gs://`, `hf://`, `https://`, `memory://`, through fsspec.

fsspec and what it needs for a protocol are imported when such a place is named. Knows nothing of rows.
"""

import re
from typing import IO, Any

from luthier.errors import DataError

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "az": "adlfs",
    "abfs": "adlfs",
    "sftp": "paramiko",
}


def is_remote(place: str) -> bool:
    """Whether the place is written as a URL."""
    return _URL.match(place) is not None


def open_remote(place: str) -> IO[bytes]:
    """The bytes of one file, for reading and seeking. Raises DataError."""
    system, path = _system(place)
    try:
        return system.open(path, "rb")  # type: ignore[no-any-return]
    except Exception as error:  # each backend raises its own; all of them mean that the place cannot be read
        raise unreachable(place, error) from error


def remote_size(place: str) -> int | None:
    """The size of one file in bytes; None where the place does not say."""
    system, path = _system(place)
    try:
        size = system.size(path)
    except Exception as error:  # as above
        raise unreachable(place, error) from error
    return None if size is None else int(size)


def list_remote(place: str) -> tuple[list[str], bool]:
    """(the files that a place names, whether it names them one by one): a file, a folder or a glob, as URLs, sorted."""
    system, path = _system(place)
    try:
        if any(c in path for c in "*[") or ("?" in path and not place.startswith("http")):
            found = system.glob(path)
        elif place.startswith("http") or system.isfile(path):
            return [place], True  # a web server lists no folders
        else:
            found = system.find(path)
            if not found and not system.exists(path):
                raise FileNotFoundError(path)
    except Exception as error:  # as above
        raise unreachable(place, error) from error
    return [str(system.unstrip_protocol(one)) for one in sorted(found) if system.isfile(one)], False


def unreachable(place: str, error: Exception) -> DataError:
    """The error of a place that cannot be read, with the reason in one line."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"no such data file: {place}")
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"{place}: cannot read it: {reason}. Check the name, your access and the network")


def _system(place: str) -> tuple[Any, str]:
    import fsspec

    protocol = place.partition("://")[0].lower()
    try:
        system, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        package = _PACKAGES.get(protocol, "the fsspec backend of this protocol")
        raise DataError(
            f"{place}: {protocol}:// needs a package that is not installed: pip install {package}"
        ) from error
    except ValueError as error:
        known = ", ".join(f"{name}://" for name in ("s3", "gs", "hf", "https"))
        raise DataError(f"{place}: {protocol}:// is not a known protocol; known are {known}") from error
    except Exception as error:  # a backend may look for its server at once
        raise unreachable(place, error) from error
    return system, str(path)
