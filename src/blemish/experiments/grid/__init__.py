"""What is to be measured: which models are trained, and which rows are measured on each."""
