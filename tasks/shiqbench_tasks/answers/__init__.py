"""What tasks share that ask for answers: asking, reward models, judges, the distance from the reference, metrics."""
