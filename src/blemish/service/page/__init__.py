"""The page of a service: what people look at, drop images on and correct verdicts with."""
