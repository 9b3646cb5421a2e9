"""Chat templates in the manner of real families, cut down to what tools and calls need."""

from __future__ import annotations

HERMES = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n<tools>' }}"
    "{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}"
    '{{- \'\n</tools>\nFor each call return <tool_call>\n{"name": <function-name>, "arguments": '
    "<args-json-object>}\n</tool_call><|im_end|>\n' }}{%- endif %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\n' + m.content }}"
    "{%- for call in m.tool_calls or [] %}"
    '{{- \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{- call.function.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
_LLAMA = (
    "{{- '<|im_start|>system\n' }}"
    "{%- if tools %}{{- TOLD }}{%- for tool in tools %}{{- tool | tojson(indent=4) + '\n\n' }}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>' }}"
    "{%- for m in messages %}{%- if m.tool_calls %}{{- '<|im_start|>assistant\n' }}"
    "{%- for call in m.tool_calls %}WRITTEN{%- endfor %}{{- '<|im_end|>' }}"
    "{%- elif m.role == 'tool' %}{{- '<|im_start|>ipython\n' + m.content + '<|im_end|>' }}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
LLAMA3_JSON = _LLAMA.replace(
    "TOLD", '\'Respond in the format {"name": function name, "parameters": dictionary of argument names}.\n\''
).replace(
    "WRITTEN",
    '{{- \'{"name": "\' + call.function.name + \'", "parameters": \' }}'
    "{{- call.function.arguments | tojson }}{{- '}' }}",
)
# Says how calls are written and cannot show one, as Llama 4's.
PYTHONIC = _LLAMA.replace("TOLD", "'Use the format [func_name1(params_name1=params_value1)].\n'").replace(
    "WRITTEN", "{{- raise_exception('no calls here') }}"
)
UNKNOWN = _LLAMA.replace("TOLD", "'Call them.\n'").replace(
    "WRITTEN", "{{- '<call>' + call.function.name + '</call>' }}"
)
