"""Camera and microphone permissions of a device, and what its app has to do about them before "Go"."""

from __future__ import annotations

from typing import Literal

from triortc.engine.calls.actor import Permission, Platform
from triortc.engine.calls.view_values import PermissionView

__all__ = ["Action", "missing_permissions", "permission_view", "settings_url"]

Action = Literal["none", "prompt", "open_settings"]


def _action(platform: Platform, permission: Permission) -> Action:
    """iOS asks only once, so every denial there needs the settings; elsewhere a plain denial can be asked again."""
    match permission:
        case "prompt":
            return "prompt"
        case "denied":
            return "open_settings" if platform == "ios" else "prompt"
        case "denied_permanent":
            return "open_settings"
        case "granted" | "restricted":
            return "none"


def missing_permissions(camera: Permission, mic: Permission, required: str) -> tuple[str, ...]:
    """Which of the required permissions are not granted.

    `required` is `camera+mic` or `mic`.
    """
    wanted = {"camera": camera, "mic": mic} if required == "camera+mic" else {"mic": mic}
    return tuple(name for name, permission in wanted.items() if permission != "granted")


def permission_view(platform: Platform, camera: Permission, mic: Permission, required: str) -> PermissionView:
    """The permissions as a ring offer shows them, with the strongest action that is needed."""
    missing = missing_permissions(camera, mic, required)
    actions = {_action(platform, camera if name == "camera" else mic) for name in missing}
    strongest = next((action for action in ("open_settings", "prompt") if action in actions), "none")
    return PermissionView(camera, mic, strongest)


def settings_url(platform: Platform) -> str | None:
    """The address that opens the app's settings, where there is one."""
    return "app-settings:" if platform == "ios" else None
