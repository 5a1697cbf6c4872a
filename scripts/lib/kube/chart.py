"""Whether the Helm chart says what the manifest says.

The chart's template uses nothing but values ({{ .Values.x.y }}) and {{ .Release.Namespace }}, so it is rendered here
with its own defaults and compared with deploy/kubernetes/weft.yaml, line by line, comments aside.
"""

import difflib
import pathlib
import re
import sys

deploy = pathlib.Path(__file__).resolve().parents[3] / "deploy"


def defaults(text):
    """The values of the chart: two levels of plain keys, which is all that the file may have."""
    values, section = {}, None
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r'( {2})?([A-Za-z]+):(?: "?([^"]*)"?)?', line)
        if not match:
            sys.exit(f"values.yaml: more than this check reads: {line}")
        indent, key, value = match.groups()
        if indent is None and value is None:
            section = key
        else:
            values[f"{section}.{key}" if indent else key] = value or ""
    return values


def rendered(template, values):
    def value(match):
        name = match.group(1)
        if name == ".Release.Namespace":
            return "kube-system"
        key = name.removeprefix(".Values.")
        if key not in values:
            sys.exit(f"templates/weft.yaml: values.yaml has no {key}")
        return values[key]

    text = re.sub(r"\{\{ (\.[A-Za-z.]+) \}\}", value, template)
    if "{{" in text:
        sys.exit("templates/weft.yaml: more than this check renders")
    return text


def lines(text):
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


chart = deploy / "helm/weft"
ours = lines(rendered((chart / "templates/weft.yaml").read_text(), defaults((chart / "values.yaml").read_text())))
theirs = lines((deploy / "kubernetes/weft.yaml").read_text())
difference = list(difflib.unified_diff(theirs, ours, "deploy/kubernetes/weft.yaml", "deploy/helm/weft, rendered", lineterm=""))
if difference:
    sys.exit("\n".join(difference))
print("the Helm chart and the manifest agree")
