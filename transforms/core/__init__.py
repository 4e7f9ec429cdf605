"""The spine: what a stage and a task are, and the Beam transforms that run any stage."""
