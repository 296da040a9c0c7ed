"""From a model to a bundle that scores without torch."""
