"""What a data set may look like: for each layout a reader, from its folders or tables to samples."""
