"""Runs and reports whose folders are below the folder of images that they are about."""

import main_al
import report
from data.folder_walk import OWN_FILES, OWN_IMAGES
from data.image_formats import has_image_extension
from data.overview import CONTACT_SHEET_FILE
from reports.file_names import MAP_FILES, REPORT_FILES
from tests.data.folder_files import add_images

SHORT = ["--dataset", "folder", "--data-root", ".", "--arch", "small_cnn", "--al-budget", "2"]
SHORT += ["--al-nb-cycles", "1", "--epochs", "1", "--device", "cpu"]


def test_they_are_no_class_and_no_other_data(tmp_path, monkeypatch, capsys):
    add_images(tmp_path, "{cat,dog}/{1-8}.png")
    monkeypatch.chdir(tmp_path)
    run = ["--run-dir", "cat/first"]
    other = ["--run-dir", "dog"]  # among the images of a class
    assert main_al.main([*SHORT, *other]) == 0
    assert main_al.main([*SHORT, *run]) == 0
    assert main_al.main(SHORT) == 0  # in runs/
    assert main_al.main([*SHORT, "--run-dir", "old"]) == 0  # its cache is beside it
    assert report.main(["runs", "--out", "cat/report"]) == 0
    capsys.readouterr()
    assert main_al.main([*SHORT, *run]) == 0
    assert "Finished before" in capsys.readouterr().out
    assert main_al.main([*SHORT, "--run-dir", "second"]) == 0
    assert (tmp_path / "second/classes.txt").read_text().split() == ["cat", "dog"]
    results = [(tmp_path / name / "results.csv").read_bytes() for name in (run[1], "second")]
    assert results[0] == results[1]
    capsys.readouterr()
    assert main_al.main([*SHORT, *other]) == 0
    assert "Finished before" in capsys.readouterr().out


def test_the_walk_knows_the_names_of_all_images_of_runs_and_reports():
    names = filter(has_image_extension, (CONTACT_SHEET_FILE, *REPORT_FILES, *MAP_FILES))
    assert set(names) == set(OWN_IMAGES) and OWN_FILES[1] in REPORT_FILES
