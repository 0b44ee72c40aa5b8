"""Canonical JSON and its digest, of which keys, addresses and fingerprints are made; part of
`bench.contract`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Made once: `json.dumps` makes one a call, and a plan asks for ten thousands of keys.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, tuples as lists; raises TypeError for what JSON cannot say."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """16 hex digits of the sha-256 of canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
