"""The loop: driver, stopping rules, starts. Sees a model and a source through a few methods and knows no family."""
