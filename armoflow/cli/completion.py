"""``armoflow completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: eval "$(armoflow completion bash)" in ~/.bashrc; for zsh the same in ~/.zshrc; for
    fish: armoflow completion fish > ~/.config/fish/completions/armoflow.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    root = context.find_root()
    click.echo(made(root.command, {}, "armoflow", "_ARMOFLOW_COMPLETE").source())
