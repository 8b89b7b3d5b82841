"""`nnexp configs`: lists what there is to choose."""

from nnexp.cli import options as arguments
from nnexp.cli.composing import say_own_configs

EXAMPLE = "nnexp configs norm=group"


def configs(groups: arguments.Groups = None, config_dir: arguments.ConfigDir = None) -> None:
    """List the choices of every group, or the settings of a group or of an option."""
    from nnexp.cli.configs_page import configs_command

    say_own_configs()
    configs_command(groups or [], config_dir)
