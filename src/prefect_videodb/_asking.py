"""Ask Prefect, for who tries again by himself: its client would do so for a minute, and nobody would hear of it."""

from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, Settings

# The settings that were asked with last, and what was made of them.
_once: tuple[Settings, Settings] | None = None


def asking_once() -> SettingsContext:
    """Give the settings of this thread or task with a client that does not try again.

    Prefect's `temporary_settings` reads the files of all settings anew, which takes 20 ms of CPU: more than to ask.
    """
    global _once  # noqa: PLW0603 - at worst two threads make the same
    context = get_settings_context()
    if _once is None or _once[0] is not context.settings:
        _once = context.settings, context.settings.copy_with_update({PREFECT_CLIENT_MAX_RETRIES: 0})
    return SettingsContext(profile=context.profile, settings=_once[1])
