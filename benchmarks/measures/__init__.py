"""What the benchmark measures: each module has a tuple ``MEASURES``, with the targets beside the code that measures."""
