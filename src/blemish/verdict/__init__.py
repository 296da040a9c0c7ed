"""From a score map to a word and a place: scale, score, threshold, regions; numpy and Pillow only."""
