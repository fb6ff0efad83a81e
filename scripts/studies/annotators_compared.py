"""Majority of several people's answers against the estimate of Dawid and Skene, by simulation.

python scripts/studies/annotators_compared.py

Three people label images of ten classes; each is right with a given probability and otherwise says
another class at random.  Printed is the share of images whose answer is right, and the mean
difference to the majority (Dawid & Skene minus majority) with its 95 % interval over 50 draws.

Source: Dawid & Skene, "Maximum likelihood estimation of observer error-rates using the EM
algorithm", Applied Statistics 28, 1979, equations 2.3 to 2.5:

    T (I, C)      probability of each class per image, at first the shares of the answers
    π (K, C, C)   π_kjl, probability that person k answers l where the class is j
    p (C,)        share of each class
"""

import sys
from pathlib import Path

if not __package__:  # executed by its path: import from the root of the project
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from utils.console import print_line

NUM_CLASSES = 10
NUM_DRAWS = 50
IMAGES = (10, 50, 200)
PEOPLE = ((0.9, 0.9, 0.9), (0.95, 0.7, 0.7), (0.95, 0.55, 0.55))
SMOOTHING = 0.01  # answers that each person is given in advance for each pair of classes
MAX_ROUNDS = 200
TOLERANCE = 1e-8  # of the probabilities, between two rounds


def draw_votes(
    rng: np.random.Generator, images: int, accuracies: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Classes (I,) and answers (I, K)."""
    truth = rng.integers(0, NUM_CLASSES, images)
    is_right = rng.random((images, len(accuracies))) < accuracies
    other = (truth[:, None] + rng.integers(1, NUM_CLASSES, is_right.shape)) % NUM_CLASSES
    return truth, np.where(is_right, truth[:, None], other)


def estimate_classes(answers: np.ndarray) -> np.ndarray:
    """T, by expectation maximisation.  answers: (I, K)."""
    votes = np.eye(NUM_CLASSES)[answers]  # (I, K, C)
    T = votes.mean(axis=1)
    for _ in range(MAX_ROUNDS):
        confusion = np.einsum("ij,ikl->kjl", T, votes) + SMOOTHING
        confusion /= confusion.sum(axis=2, keepdims=True)
        logs = np.log(T.mean(axis=0) + 1e-300) + np.einsum("ikl,kjl->ij", votes, np.log(confusion))
        before, T = T, np.exp(logs - logs.max(axis=1, keepdims=True))
        T /= T.sum(axis=1, keepdims=True)
        if np.abs(T - before).max() < TOLERANCE:
            break
    return T


def main() -> None:
    print_line("| right answers of the three people | images | majority | Dawid & Skene minus it |")
    print_line("| --- | --- | --- | --- |")
    for accuracies in PEOPLE:
        for images in IMAGES:
            majority, difference = [], []
            for seed in range(NUM_DRAWS):
                truth, answers = draw_votes(np.random.default_rng(seed), images, accuracies)
                votes = np.eye(NUM_CLASSES)[answers].sum(axis=1)
                # Ties are decided at random here; a run asks again.
                ties = np.random.default_rng(seed).random(votes.shape) * 1e-3
                majority.append(((votes + ties).argmax(axis=1) == truth).mean())
                estimate = (estimate_classes(answers) + ties).argmax(axis=1)
                difference.append((estimate == truth).mean() - majority[-1])
            half = 1.96 * np.std(difference, ddof=1) / NUM_DRAWS**0.5
            words = " ".join(f"{one:.0%}" for one in accuracies)
            print_line(
                f"| {words} | {images} | {np.mean(majority):.1%} | "
                f"{100 * np.mean(difference):+.1f} ± {100 * half:.1f} |"
            )


if __name__ == "__main__":
    main()
