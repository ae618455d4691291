"""Progress: told rarely, and what there is to tell."""

from pipelines.loading.progress import EVERY_SECONDS, Progress


def test_it_is_told_after_a_few_seconds_and_then_every_few_and_counts_rows_and_parts() -> None:
    now = [0.0]
    told: list[tuple[float, str]] = []
    progress = Progress(lambda part, sentence: told.append((part, sentence)), clock=lambda: now[0])
    with progress("Extract"):
        for _ in range(10):
            progress.update("visit", 1_000)
        now[0] += EVERY_SECONDS
        progress.update("visit", 500)
    with progress("Load"):
        now[0] += EVERY_SECONDS
        progress.update("Jobs", 1, total=4)
    assert told == [
        (10.0, "Reading: visit 10,500."),
        (62.5, "Writing: 1 of 4 parts. Read: visit 10,500."),
    ]
