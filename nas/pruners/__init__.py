"""When a candidate's training is not worth going on with: rules over known costs and learning curves."""
