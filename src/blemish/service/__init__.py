"""Images judged over HTTP: a pool of processes that score, and the answers that are given."""
