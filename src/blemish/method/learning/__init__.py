"""How the students learn: one, all of a pyramid, from features that are made once, told as they go."""
