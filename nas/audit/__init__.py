"""How well cheaper trainings rank the candidates of a space: sampled, trained at many settings, compared."""
