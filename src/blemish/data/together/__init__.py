"""Which images belong together and are never parted: one photograph saved twice, crops and frames of one part."""
