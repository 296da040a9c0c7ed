"""The demo, and the photographs and painted defects that it is about."""
