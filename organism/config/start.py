"""The keys of ``start``: messages that a run sends when it is given nothing else, their payloads already decoded."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from attrs import frozen

from organism.config.places import shown
from organism.config.shapes import Broken, Found, Located, Reading, Record, Section, Text, one_of, plain
from organism.config.tree import Items, Node, Scalar, Table
from organism.config.yamltext import unfold
from organism.errors import PayloadError
from organism.names import suggestion
from organism.payloads import Vocabulary, is_payload
from organism.settings import HandlerSettings, StartMessage
