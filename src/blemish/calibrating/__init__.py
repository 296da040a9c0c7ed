"""Thresholds chosen anew: by other good images, by a rate, a score or labelled images; the scale stays."""
