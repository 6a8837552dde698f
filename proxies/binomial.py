"""How sure an accuracy is, from the number of images it was taken on; without torch."""

import math


def binomial_error(num_correct: float, num_images: int) -> float:
    """Standard error of an accuracy, from the number of images it was taken on.

    Half of Wilson's score interval at one deviation: near the binomial √(A (1 − A) ÷ n), but not 0 where all images are
    right, since a hundred out of a hundred do not prove perfection. Source: E. B. Wilson, Probable Inference, the Law
    of Succession, and Statistical Inference, 1927.

    Args:
        num_correct: Images classified correctly; a fraction where it is the mean of several trainings.
        num_images: Images that were classified, at least 1.

    >>> round(binomial_error(90, 100), 4), round(binomial_error(100, 100), 4), round(binomial_error(89.5, 100), 4)
    (0.0301, 0.005, 0.0308)
    """
    share = num_correct / num_images
    variance = share * (1 - share) / num_images + 1 / (4 * num_images**2)
    return math.sqrt(variance) / (1 + 1 / num_images)
