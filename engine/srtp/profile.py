"""The protection profiles, as the SRTP room offers them. The table is shared with DTLS, which negotiates them."""

from __future__ import annotations

from triortc.engine.protection_profile import PROFILES, PROFILES_BY_NAME, SrtpProfile

__all__ = ["PROFILES", "PROFILES_BY_NAME", "SrtpProfile"]
