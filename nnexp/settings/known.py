"""Whether the code knows every name in the settings: models, norms, data sources and the rest."""

from operator import attrgetter

from nnexp.settings.declaring import known_names
from nnexp.settings.errors import no_such_option
from nnexp.settings.schema import ExperimentConfig, list_settings
from nnexp.settings.tables import TABLES


def check_names(config: ExperimentConfig) -> None:
    """Refuse names for which there is no code here; settings that are only read may have them."""
    for key, one in list_settings().items():
        if not one.group or (one.kind is list and one.group not in TABLES):
            continue  # a table that is made later says itself what it lacks
        value, known = attrgetter(key)(config), known_names(one.group)
        if one.kind is dict:
            words = [(f"{key}.{leaf}", name) for leaf, name in value.items()]
        else:
            words = [(key, name) for name in ([value] if one.kind is str else value)]
        for word, name in words:
            if name not in known:
                raise no_such_option(one.group, name, word, known)
