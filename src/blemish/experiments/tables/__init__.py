"""What is made of rows: the paper's tables, curves and Figure 3."""
