"""Many broken inputs through the real entry points: ``python -m tests.fuzz``. Not part of the suite."""
