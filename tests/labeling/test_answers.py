"""labels.csv in all its forms, and every mistake in it."""

import numpy as np
import pytest

from labeling.answers import read_answers
from utils.errors import UserError

CLASSES = ("cat", "dog, wild", "Zuñi", "a;b", '"q"')
INDICES = np.array([17, 4, 105])


@pytest.fixture
def read(tmp_path):
    """Reads a text or bytes as labels.csv; returns the labels, or all answers if `whole`."""

    def call(content, class_names=CLASSES, indices=INDICES, *, whole=False, **more):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        answers = read_answers(path, np.asarray(indices), class_names, **more)
        return answers if whole else answers.labels.tolist()

    return call


@pytest.mark.parametrize(
    "text",
    [
        b"index,label\n17,cat\n4,a;b\n105,cat\n",
        b"17,0\n4,3\n105,0\n",
        b'\xef\xbb\xbfindex;label\r\n17;cat\r\n105;cat\r\n4;"a;b"\r\n',
        b"\n17\tcat\n4\ta;b\n\n105\t cat \n\t\n",
        b'4, "a;b"\n17 , 0,,\n"105","cat"',
        b"17,cat\r105,cat\r4,3",
        b"order,index,path,guess,confidence,label\n0,17,,cat,0.9,cat\n1,4,,,,a;b\n2,105,,,,0\n",
        b"label,index\ncat,17\na;b,4\ncat,105\n",
    ],
)
def test_answers_in_many_forms(read, text):
    assert read(text) == [0, 3, 0]


def test_names_with_commas_quotes_and_accents(read):
    for composed in ("Zuñi", "Zun\u0303i"):  # two ways to write one name
        assert read(f'17,"dog, wild"\n4,"""q"""\n105,{composed}\n') == [1, 4, 2]


def test_numbers_are_names_if_a_class_name_is_a_number(read):
    """Excel turns 001 into 1, which must not become class number 1."""
    assert read("17,2\n4,1\n105,1\n", ("1", "2", "3")) == [1, 0, 0]
    assert read("17,2\n4,1\n105,1\n", ("001", "002", "003")) == [1, 0, 0]
    with pytest.raises(UserError, match=r"unknown class: '0' \(line 1\)"):
        read("17,0\n4,1\n105,1\n", ("+1", "-1"))


@pytest.mark.parametrize(
    "text, parts",
    [
        ("17,cat\n4,cat\n", ["not labeled: image 105"]),
        ("17,cat\n17,cat\n4,cat\n105,0", ["labeled twice: image 17 (line 2)"]),
        (
            "17,catt\n4,cat\n105,9",
            ["unknown class: 'catt' (line 1, did you mean 'cat'?), '9' (line 3)"],
        ),
        ("17,0\n4,0\n105,0\n3,0\n8,0", ["not queried: image 3 (line 4), image 8 (line 5)"]),
        ("17,0\n4,0\n105,0\nx,0", ["index of an image: 'x' (line 4)"]),
        ("17,dog, wild\n4,0\n105,0", ["two columns: line 1 has 3"]),
        ("1,0\n2,0", ["not queried: image 1", "not labeled: image 17, image 4, image 105"]),
        ("", ["not labeled"]),
        ("\n".join(f"{i},0" for i in range(300, 320)), ["(line 5) and 15 more", "not labeled"]),
    ],
)
def test_every_mistake_is_named(tmp_path, read, text, parts):
    path = tmp_path / "labels.csv"
    with pytest.raises(UserError) as caught:
        read(text)
    assert len(caught.value.args) == len(parts)
    for line, part in zip(caught.value.args, parts, strict=True):
        assert part in line and str(path) in line


def test_another_encoding_is_named(read):
    with pytest.raises(UserError, match=r"UTF-8.*byte 5"):
        read("17,Zuñi\n".encode("cp1252"))


# ---- The form of the file


PATHS = {17: "train/a.png", 4: "train/b.png", 105: "unlabeled/b.png"}


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nindex;label\n17;cat\n4;a;b\n105;cat\n".replace("a;b", '"a;b"'),
        "sep=\t\n17\tcat\n4\ta;b\n105\tcat\n",
        '"sep=,"\nindex;label\n17;0\n4;3\n105;0\n',  # what LibreOffice makes of sep=;
        "order,index,path,guess,confidence,Class\n0,17,,,,cat\n1,4,,,,a;b\n2,105,,,,cat\n",
        "index,path,class,probability,given\n17,,cat,0.5,0\n4,,a;b,0.5,0\n105,,cat,0.6,1\n",
        "index,label\n17.0,0.0\n4.0,3.0\n105.0,0.0\n",
        "index;label\n17,0;0,0\n4,0;3,0\n105,0;0,0\n",
        '"=""17""",cat\n="4",a;b\n=105,cat\n'.replace("=105", "'105"),
        "# labeled by A, B; and C\n\n17,cat\n# later:\n4,a;b\n105,cat\n",
        "Label , INDEX,notes\ncat,17,\na;b,4,?\ncat,105,\n",
        "Nummer,Klasse\n17,cat\n4,a;b\n105,cat\n",
        "index,Klasse\n17,cat\n4,a;b\n105,cat\n",
        "path,label\ntrain/a.png,cat\ntrain/b.png,a;b\nunlabeled/b.png,cat\n",
        "train/a.png,cat\ntrain/b.png,a;b\nunlabeled/b.png,cat\n",
        "FILENAME;CLASS\na.png;CAT\nC:\\photos\\train\\b.png;A;B\n".replace("A;B", '"A;B"')
        + "unlabeled/b.png;cat\n",
        "annotation_id,annotator,choice,created_at,id,image,lead_time\n"
        "1,7,cat,2026-01-01T00:00:00Z,1,/data/upload/1/ab12cd34-a.png,1.2\n"
        "2,7,a;b,2026-01-01T00:00:00Z,2,/data/local-files/?d=photos/train/b.png,1.2\n"
        "3,7,cat,2026-01-01T00:00:00Z,3,unlabeled/b.png,1.2\n",
        "index,label\n17,cat\n4,a;b\n105,cat\n".encode("utf-16"),
        "index\tlabel\r\n17\tcat\r\n4\ta;b\r\n105\tcat\r\n".encode("utf-16"),
    ],
)
def test_forms_of_spreadsheets_and_label_tools(read, text):
    assert read(text, paths=PATHS) == [0, 3, 0]


def test_thousands_separators(read):
    assert read('"1,024",cat\n"1 025",0\n', indices=[1024, 1025]) == [0, 0]
    with pytest.raises(UserError, match=r"index of an image: '1\.000'"):  # 1 or 1000
        read("1.000,cat\n", indices=[1, 1000])


@pytest.mark.parametrize(
    "text, parts",
    [
        ("path,label\nb.png,cat\n", ["path of several images: 'b.png' (line 2: 'train/b.png'"]),
        ("path,label\nc.png,cat\n", ["not the path of a queried image: 'c.png' (line 2)"]),
        ("index,path,label\n17,train/b.png,cat\n", ["different images: image 17 and 'train/b"]),
        ("index,label,class\n17,cat,dog\n", ["several columns of answers, 'label' and 'class'"]),
        ("order,index,path,guess,confidence\n", ["no column of answers", "label"]),
        ("name,notes,label\na,b,cat\n", ["no column that names the images", "index"]),
        ("index,label,new_class\n17,dog, wild\n", ["neither yes nor empty: 'wild' (line 2)"]),
        ("index,path,label\n17,,dog, wild\n", ["more cells than columns: line 2 has 4"]),
        ("17\n4\n105\n", ["two columns: line 1 has 1"]),
        ('index,label\n17,"' + "x" * (1 << 21), ["not readable: after line 0 (field larger"]),
    ],
)
def test_mistakes_of_form(read, text, parts):
    with pytest.raises(UserError) as caught:
        read(text, paths=PATHS)
    assert all(part in "\n".join(caught.value.args) for part in parts), caught.value.args


def test_paths_of_a_data_set_without_paths(read):
    for paths in ({}, {17: "", 4: "", 105: ""}):
        with pytest.raises(UserError, match=r"paths, which the data set does not have.* index"):
            read("path,label\na.png,cat\n", paths=paths)


def test_a_path_or_class_may_begin_with_a_hash(read):
    assert read("#1.png,cat\n#2.png,cat\n", indices=[1], paths={1: "train/#1.png"}) == [0]


# ---- Classes


@pytest.mark.parametrize(
    "names, answers, labels",
    [
        (("+1", "-1"), ("1", "-1", "+1", "1.0", "'+1"), [0, 1, 0, 0, 0]),
        (("1.0", "2.0"), ("1", "2", "1.0", "2.00"), [0, 1, 0, 1]),
        (("1", "01"), ("01", '"=""01"""', "'01", "'1"), [1, 1, 1, 0]),
        (("3", "4"), ("3.0", "4.0"), [0, 1]),
        (("true", "false"), ("TRUE", "False", "true"), [0, 1, 0]),
        (("true", "false"), ("WAHR", "FALSCH", "VRAI", "FAUX", "FALSO"), [0, 1, 0, 1, 1]),
        (("Wahr", "Falsch"), ("WAHR", "FALSCH", "Wahr"), [0, 1, 0]),
        (("MAR1", "SEPT2"), ("1-Mar", "2-Sep", "mar1"), [0, 1, 0]),
        (("1-2", "3-4"), ("1-2", "'3-4"), [0, 1]),
        (("1e3", "1e4"), ("1.00E+03", "10000.0"), [0, 1]),
        (("(1)", "(2)"), ("-1", "-2", "(1)"), [0, 1, 0]),
        (("5%", "10%"), ("5.00%", "0.1"), [0, 1]),
        (("1,5", "2,5"), ("1.5", '"2,5"'), [0, 1]),
        (("-1", "skip"), ("-1", "Skip", "-1.0"), [0, 1, 0]),
        (("Zuñi", "Zoë"), ("ZuÃ±i", "Zoë", "zoë"), [0, 1, 1]),
        (("a\tb", "Zu\udcf1i"), ("a\\tb", "a b", "Zu\\udcf1i"), [0, 0, 1]),
        (("NA", "cat"), ("NA", "cannot tell"), [0, -1]),
        (("cat", "dog"), ("0", "1.0", "CAT"), [0, 1, 0]),
    ],
)
def test_answers_that_spreadsheets_change(read, names, answers, labels):
    text = "index,label\n" + "".join(f"{i},{answer}\n" for i, answer in enumerate(answers))
    assert read(text, names, range(len(answers))) == labels


@pytest.mark.parametrize(
    "names, answer, part",
    [
        (("1", "01"), "1", "one of several classes: '1' (line 2: '01' or '1')"),
        (("1.0", "1"), "1.0", "one of several classes: '1.0' (line 2: '1' or '1.0')"),
        (("TRUE", "true"), "TRUE", "one of several classes: 'TRUE' (line 2: 'TRUE' or 'true')"),
        (("MAR1", "1-Mar"), "1-Mar", "one of several classes: '1-Mar'"),
        (("1234567", "1234568"), "1.23E+06", "one of several classes: '1.23E+06'"),
        (("1,000", "1"), "1", "one of several classes: '1'"),
        (("+1", "-1"), "0", "unknown class: '0' (line 2)"),
        (("60", "60+"), "60", "one of several classes: '60' (line 2: '60' or '60+')"),
        (("=E3", "cat"), "0", "unknown class: '0' (line 2)"),
        (("1-2", "3-4"), "2-Jan", "changed by a spreadsheet: '2-Jan' (line 2)"),
        (("1-2", "3-4"), "02. Jan", "changed by a spreadsheet: '02. Jan' (line 2)"),
        (("=cat", "@dog"), "#NAME?", "changed by a spreadsheet: '#NAME?' (line 2)"),
        (("1:30", "2:30"), "01:30:00 AM", "changed by a spreadsheet: '01:30:00 AM' (line 2)"),
        (("NA", "cat"), "", "empty, as pandas also writes a class: image 7 (line 2)"),
        (("cat", "dog"), '"=""0"""', "unknown class"),
    ],
)
def test_answers_that_nobody_can_know(read, names, answer, part):
    with pytest.raises(UserError) as caught:
        read(f"index,label\n7,{answer}\n", names, [7])
    assert len(caught.value.args) == 1 and part in caught.value.args[0]


def test_names_that_are_not_utf8(read):
    names = ("Zu\udcf1i", "cat")
    assert read("17,Zuñi\n4,cat\n105,1\n".encode("latin-1"), names) == [0, 1, 1]
    by_path = {17: "Zu\udcf1i/a.png", 4: "b.png", 105: "c.png"}
    text = "Zuñi/a.png,cat\nb.png,Zuñi\nc.png,cat\n".encode("latin-1")
    assert read(text, names, paths=by_path) == [1, 0, 1]
    for row in ("105,Zoë", "105,Zoë,yes", "Zoë.png,cat,"):
        text = f"{'path' if 'png' in row else 'index'},label,new_class\n{row}\n"
        with pytest.raises(UserError, match="save it as CSV UTF-8"):
            read(text.encode("latin-1"), names, paths=by_path)


# ---- Skipped images, new classes, corrections, annotators


@pytest.mark.parametrize("answer", ["", "cannot tell", "Skip", "?", "-1", "-1.0", "'-1"])
def test_skipped_images(read, answer):
    assert read(f"index,label\n17,{answer}\n4,cat\n105\n") == [-1, 0, -1]


def test_new_classes_are_numbered_in_order_of_appearance(read):
    text = "index,label,new_class\n17,ox,\n4,catt,yes\n105,CATT,x\n1,Ox,\n2,cat,yes\n3,?,yes\n"
    answers = read(text, indices=[17, 4, 105, 1, 2, 3], whole=True)
    assert answers.new_classes == ("ox", "catt")
    assert answers.labels.tolist() == [5, 6, 6, 5, 0, -1]
    text = "index,label,new_class\n17,7,1\n4,cat,\n105,7.0,\n"
    answers = read(text, ("cat", "dog"), whole=True)
    assert (answers.new_classes, answers.labels.tolist()) == (("7",), [2, 0, 2])


@pytest.mark.parametrize(
    "answer, part",
    [
        ("catt", "did you mean 'cat'?"),
        ("C_at", "did you mean 'cat'?"),
        ("zuni", "did you mean 'Zuñi'?"),
        ("12", "unknown class: '12' (line 2)"),
        ("nan", "unknown class: 'nan'"),
        ("TRUE", "unknown class: 'TRUE'"),
        ("WAHR", "unknown class: 'WAHR'"),
        ("Mar-24", "changed by a spreadsheet: 'Mar-24'"),
        ("Err:508", "changed by a spreadsheet: 'Err:508'"),
        ("_ox", "unknown class: '_ox'"),
    ],
)
def test_names_that_may_be_mistakes_are_no_new_classes(read, answer, part):
    with pytest.raises(UserError) as caught:
        read(f"index,label\n17,{answer}\n", indices=[17])
    assert part in caught.value.args[0]
    marked = read(f"index,label,new_class\n17,{answer},yes\n", indices=[17], whole=True)
    assert marked.new_classes == (answer,) and marked.labels.tolist() == [5]


def test_a_new_class_that_a_spreadsheet_may_have_made(read):
    with pytest.raises(UserError, match=r"one of several classes: '1' \(line 2: '01' or '1'\)"):
        read("index,label,new_class\n17,1,yes\n", ("01", "cat"), [17])
    answers = read("index,label,new_class\n17,'1,yes\n", ("01", "cat"), [17], whole=True)
    assert answers.new_classes == ("1",)


def test_corrections_of_earlier_answers(read):
    earlier = {1: 0, 2: 0, 3: 3, 6: -1, 17: -1, 7: 0}
    text = "index,label\n17,cat\n1,cat\n2,a;b\n3,\n6,cat\n7,?\n8,ox\n"
    answers = read(text, indices=[17], earlier=earlier | {8: 0}, whole=True)
    assert answers.labels.tolist() == [0] and answers.new_classes == ("ox",)
    assert answers.corrections == {2: 3, 6: 0, 7: -1, 8: 5}


def test_the_majority_of_the_annotators_counts(read):
    text = "index,annotator,label\n17,a,cat\n17,b,a;b\n17,c,CAT\n4,a,?\n4,b,a;b\n105,a,\n"
    assert read(text) == [0, 3, -1]
    shown = read(text, whole=True).disagreements
    assert shown == {17: "'a': 'cat'; 'b': 'a;b'; 'c': 'cat'"}
    with pytest.raises(UserError) as caught:
        read("index,annotator,label\n17,a,cat\n17,b,a;b\n4,a,cat\n4,a,cat\n105,a,0\n")
    assert len(caught.value.args) == 2
    assert "annotators disagree: image 17 ('a': 'cat'; 'b': 'a;b')" in "\n".join(caught.value.args)
    assert "labeled twice: image 4 (line 5)" in "\n".join(caught.value.args)


def test_two_spellings_of_an_annotator_are_one_person(read):
    text = "index,annotator,label\n17,Ann Lee,cat\n17,bob,a;b\n4,ann  lee,cat\n4,Bob,cat\n"
    answers = read(text + "105,ANNLEE,cat\n17,carl,cat\n", whole=True)
    assert answers.labels.tolist() == [0, 0, 0]
    assert answers.spellings == ("'Ann Lee' and 'ann  lee' and 'ANNLEE'", "'bob' and 'Bob'")
    with pytest.raises(UserError, match=r"labeled twice: image 4 \(line 3, 'ann' for 'Ann'\)"):
        read("index,annotator,label\n4,Ann,cat\n4,ann,cat\n", indices=[4])
    assert read("index,annotator,label\n4,Ann,cat\n", indices=[4], whole=True).spellings == ()


def test_cells_within_messages_are_short_and_printable(read):
    with pytest.raises(UserError) as caught:
        read('17,"\x1b[31m' + "x" * 1000 + '"\n', indices=[17])
    assert "\x1b" not in caught.value.args[0] and len(caught.value.args[0]) < 400


@pytest.mark.parametrize(
    "answer",
    [
        "unsure",
        "Not sure",
        "don't know",
        "can't tell",
        "cannot_tell",
        "Cannot tell.",
        "none",
        "TBD",
    ],
)
def test_words_of_people_who_do_not_know_are_no_classes(read, answer):
    rows = f"17,{answer}\n4,cat\n105,cat\n"
    with pytest.raises(UserError, match=r"perhaps no class: .*write cannot tell to skip"):
        read(f"index,label\n{rows}")
    assert read(f"index,label\n{rows}", class_names=("cat", answer)) == [1, 0, 0]
    marked = rows.replace(answer, f"{answer},yes", 1)
    assert read(f"index,label,new_class\n{marked}", whole=True).new_classes == (answer,)


@pytest.mark.parametrize("answer", ["c", "mito", "maybe cat", "cat or dog", "Cat (blurry)", "cell"])
def test_a_part_of_a_class_name_or_more_words_is_no_new_class(read, answer):
    names = ("cat", "mitochondrion", "dead_cell")
    rows = f"17,{answer}\n4,cat\n105,cat\n"
    with pytest.raises(UserError, match=r"unknown class: .*did you mean '(cat|mito.*|dead_cell)'"):
        read(rows, class_names=names)
    marked = "index,label,New class\n" + rows.replace(answer, f"{answer},yes", 1)
    assert read(marked, class_names=names, whole=True).new_classes == (answer,)


@pytest.mark.parametrize("answer", ["caterpillar", "bobolink", "ship", "skin", "background"])
def test_other_words_are_new_classes(read, answer):
    rows = f"17,{answer}\n4,owl\n105,owl\n"
    assert read(rows, class_names=("owl", "cat"), whole=True).new_classes == (answer,)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04\x14\x00\x06\x00 a workbook",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 an older workbook",
        "17,cat\n4,cat\n105,cat\n".encode("utf-16-le"),
        "17,cat\n4,cat\n105,cat\n".encode("utf-32"),
    ],
)
def test_a_file_that_is_not_text_is_refused_in_one_line(read, content):
    with pytest.raises(UserError, match="save it as CSV UTF-8") as refused:
        read(content)
    assert len(refused.value.args) == 1 and "queried" not in str(refused.value)


@pytest.mark.parametrize("header", ["Nr;Klasse;Notiz", "order;label", "order;Klasse"])
def test_a_header_that_names_no_column_of_images_is_refused(read, header):
    rows = "0;cat\n1;cat\n2;cat\n"  # the order is the index of another image
    with pytest.raises(UserError, match=r"column.* index"):
        read(f"{header}\n{rows}", indices=[2, 1, 0])


def test_a_row_without_an_image_and_numbers_as_paths_are_named(read):
    with pytest.raises(UserError, match=r"no image named: line 5"):
        read("index,label\n17,cat\n4,cat\n105,cat\n,3\n")
    with pytest.raises(UserError, match="a column of indices must be called index"):
        read("image,label\n17,cat\n", indices=[17], paths={17: "a.png"})
