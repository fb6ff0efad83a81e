"""Export tasks as Label Studio does: python label_studio_convert.py FOLDER OUT

FOLDER holds config.xml and tasks.json, whose annotations lack what the server adds. Writes
OUT/<format>/. Runs in an environment of its own, without this project."""

import json
import sys
from pathlib import Path

from label_studio_sdk.converter import Converter

folder, out = map(Path, sys.argv[1:])
tasks = json.loads((folder / "tasks.json").read_text())
times = {name: "2026-01-01T00:00:00Z" for name in ("created_at", "updated_at")}
for number, task in enumerate(tasks, 1):
    task["id"] = number
    for annotation in task.setdefault("annotations", []):
        annotation.setdefault("was_cancelled", False)
        annotation |= {"id": number, "lead_time": 1.0, "completed_by": {"id": 1, "email": "a@b.c"}}
        annotation |= times
exported = out / "tasks.json"
out.mkdir()
exported.write_text(json.dumps(tasks))
converter = Converter(str(folder / "config.xml"), str(out), download_resources=False)
for name in ("JSON", "JSON_MIN", "CSV", "TSV"):
    target = out / name / "result.csv" if name in ("CSV", "TSV") else out / name
    target.parent.mkdir(exist_ok=True)
    converter.convert(str(exported), str(target), name, is_dir=False)
