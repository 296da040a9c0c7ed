"""How well a model does on a labelled set."""
