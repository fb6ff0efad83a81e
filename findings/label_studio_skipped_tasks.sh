#!/usr/bin/env bash
# Label Studio's CSV and JSON-MIN have a line for a task that nobody opened, and none for a skipped one.
#
# Guess: a task that the annotator skipped is in the export like one that nobody has labeled yet: both have
# no label. Or neither is there.
# What happens: the converter lists the untouched task, without a label, and leaves the skipped task out. Who
# counts lines, or joins the export with the tasks, takes the skipped images for images that were lost. Only
# the full JSON has them, with was_cancelled.
#
# Versions: Python 3.11, label-studio-sdk 2.1.2.
#
# Output seen:
#   JSON_MIN: labeled.png cat, untouched.png None
#   CSV: labeled.png cat, untouched.png None
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
venv/bin/python - >output 2>log <<'END' || { cat log; exit 1; }
import csv
import json
from pathlib import Path

from label_studio_sdk.converter import Converter

CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="class" toName="image"><Choice value="cat"/></Choices></View>"""


def task(number, image, *annotations):
    return {"id": number, "data": {"image": image}, "annotations": annotations}


def annotation(number, names, cancelled):
    choice = {"from_name": "class", "to_name": "image", "type": "choices"}
    result = [choice | {"value": {"choices": names}}] if names else []
    times = {"created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 1.0}
    return {"id": number, "result": result, "was_cancelled": cancelled, "completed_by": 1} | times


tasks = [
    task(1, "labeled.png", annotation(1, ["cat"], False)),
    task(2, "skipped.png", annotation(2, [], True)),
    task(3, "untouched.png"),
]
Path("tasks.json").write_text(json.dumps(tasks))
converter = Converter(CONFIG, ".", download_resources=False)
converter.convert("tasks.json", "min", "JSON_MIN", is_dir=False)
converter.convert("tasks.json", "result.csv", "CSV", is_dir=False)
rows = {
    "JSON_MIN": json.loads(Path("min/result.json").read_text()),
    "CSV": list(csv.DictReader(Path("result.csv").read_text().splitlines())),
}
for name, lines in rows.items():
    print(f"{name}:", ", ".join(f"{row['image']} {row.get('class') or None}" for row in lines))
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
