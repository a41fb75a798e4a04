"""The one token path: messages in, token ids with weights out, and answers back.

Training, evaluation, export checks and serving all take their tokens from `Renderer`.
Nothing here imports torch; transformers is imported when a template is first rendered.
"""

from luthier.chat.messages import Conversation, Message, ToolCall
from luthier.chat.parse import Answer, Termination
from luthier.chat.render import Renderer, Rendering

__all__ = ["Answer", "Conversation", "Message", "Renderer", "Rendering", "Termination", "ToolCall"]
