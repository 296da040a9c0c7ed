"""The report: one page of HTML about a folder of results, or about a model on labelled data."""
