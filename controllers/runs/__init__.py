"""What the runs of an experiment are: which must exist, which one in MLflow stands for each, and how one is launched."""
