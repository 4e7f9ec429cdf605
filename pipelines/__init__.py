"""The jobs that users run: configuration, assembly, and the `cmcl` command."""
