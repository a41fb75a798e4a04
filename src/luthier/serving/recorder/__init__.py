"""What was asked and answered, kept in an SQLite file of its own, and what people said of it."""

from luthier.serving.recorder.feedback import check_feedback
from luthier.serving.recorder.reading import Recorded, find_interaction, read_interactions
from luthier.serving.recorder.recorder import SqliteRecorder

__all__ = ["Recorded", "SqliteRecorder", "check_feedback", "find_interaction", "read_interactions"]
