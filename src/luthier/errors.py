"""Every error that Luthier raises for its user, in one tree.

LuthierError
├── ConfigError       a recipe or an option is wrong
├── DataError         a data file or one of its rows is wrong
├── TemplateError     a chat template cannot render, or cannot be trained on
├── ModelError        a model cannot be found, read or run
├── TrainingError     a run cannot go on (not finite, nothing to learn, no memory)
│   └── Interrupted   the user stopped the run; a checkpoint was written
├── CheckpointError   a checkpoint cannot be written, or is torn
├── RunError          a run folder is missing, taken or incomplete
├── RegistryError     the store of specialists refuses, or what it holds is damaged
├── EvaluationError   a task, an item or a grader is wrong
├── SandboxError      untrusted code cannot be run behind a wall here
├── ServingError      a router, an engine or the server cannot be made or cannot answer
└── ExportError       a model cannot leave in the form that was asked for
    └── NotTheSame    the exported form gives other answers than the tested one

A message says what was expected, what came, where (file, line, field) and what to do.
The command line prints the message and exits with `exit_code`; Python code catches the class.
This file knows nothing of the rest of the package.
"""


class LuthierError(Exception):
    """An error whose message is written for the user."""

    exit_code = 1


class ConfigError(LuthierError):
    """A recipe, an override or an option is wrong."""

    exit_code = 2


class DataError(LuthierError):
    """A data file or one of its rows is wrong."""

    exit_code = 2


class TemplateError(LuthierError):
    """A chat template cannot render a conversation, or cannot be trained on."""


class ModelError(LuthierError):
    """A model cannot be found, read or run."""


class TrainingError(LuthierError):
    """A run cannot go on."""


class Interrupted(TrainingError):
    """The user stopped the run; a checkpoint was written and can be resumed."""

    exit_code = 130


class CheckpointError(LuthierError):
    """A checkpoint cannot be written, or what is on the disk is torn."""


class RunError(LuthierError):
    """A run folder is missing, taken or incomplete."""


class RegistryError(LuthierError):
    """The store of specialists refuses, or what it holds is damaged."""


class EvaluationError(LuthierError):
    """A task, an item or a grader is wrong."""


class SandboxError(LuthierError):
    """Untrusted code cannot be run behind a wall on this machine, or the wall itself failed."""


class ServingError(LuthierError):
    """A router, an engine or the server cannot be made, or cannot answer."""


class ExportError(LuthierError):
    """A model cannot leave in the form that was asked for."""


class NotTheSame(ExportError):
    """An exported form gives other answers than the model that was tested."""
