"""The laboratory: data → evaluation → training. Only commands import it; whoever makes heads does not need it."""
