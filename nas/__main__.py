"""``python -m nas``, as ``torchrun -m nas train …`` starts it."""

from .cli import main

if __name__ == "__main__":
    main()
