"""The settings as a page of the documentation."""

import json

from nnexp.settings.declaring import Setting
from nnexp.settings.schema import list_settings

HEAD = [
    "| setting | default | values | what it decides | decides the result |",
    "|---|---|---|---|---|",
]


def reference_markdown() -> str:
    """Return a table of the settings for each group: default, limits, what each decides."""
    tables: dict[str, list[Setting]] = {}
    for key, setting in list_settings().items():
        tables.setdefault(key.partition(".")[0] if "." in key else "", []).append(setting)
    return "\n\n".join(
        "\n".join([f"### {group or 'The rest'}", "", *HEAD, *map(_row, settings)])
        for group, settings in tables.items()
    )


def _row(setting: Setting) -> str:
    default = json.dumps(setting.default, ensure_ascii=False)
    cells = [
        f"`{setting.key}`",
        f"`{setting.default if isinstance(setting.default, str) else default}`",
        _values(setting),
        setting.meaning,
        "yes" if setting.identity else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _values(setting: Setting) -> str:
    listed = " ".join(f"`{word}`" for word in setting.words)
    takes = listed or setting.needs().removeprefix("it needs ").removesuffix(", or null")
    return f"{takes}, or `null`" if setting.optional else takes
