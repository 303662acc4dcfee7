"""What a server answered, as the model reads it: a text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mcp_types import AudioContent, EmbeddedResource, ImageContent, ResourceLink, TextContent, TextResourceContents

from organism.functions import text_of
from organism.names import counted

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ContentBlock


def result_text(result: CallToolResult) -> str:
    """The text of a result. Structured content counts where there is nothing else: servers repeat it in a text. What is no text is told of
    in a line.
    """
    parts = [_part(each) for each in result.content]
    if not parts and result.structured_content is not None:
        return text_of(json.dumps(result.structured_content, ensure_ascii=False), "")
    return text_of("\n".join(parts), "")


def _part(block: ContentBlock) -> str:
    match block:
        case TextContent(text=text):
            return text
        case ImageContent(data=data, mime_type=kind) | AudioContent(data=data, mime_type=kind):
            return f"[{kind}, {counted(len(data) * 3 // 4, 'byte')}: not shown, only texts are]"
        case ResourceLink(name=name, uri=uri):
            return f"[resource {name}: {uri}]"
        case EmbeddedResource(resource=resource):
            if isinstance(resource, TextResourceContents):
                return resource.text
            return (
                f"[resource {resource.uri}, {counted(len(resource.blob) * 3 // 4, 'byte')}: not shown, only texts are]"
            )
