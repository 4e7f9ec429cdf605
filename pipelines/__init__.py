"""The jobs people run: configuration, assembly, the `cmcl` command."""
