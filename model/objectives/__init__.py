"""What the network is trained on, one objective a file; each is a sum over what it counts, see `model.objectives.base`."""
