"""The files of a report: their names, columns, and the marks by which a report knows its own."""

GROUP_COLUMNS = ("dataset", "training", "method")
MARKDOWN_MARK = "<!-- made by report.py -->\n"
LATEX_MARK = "% made by report.py"
HTML_MARK = '<meta name="generator" content="report.py">'
CSV_HEADERS = {  # key of a table -> columns of its CSV file, which has all digits
    "curves": (
        *(*GROUP_COLUMNS, "labeled", "mean", "std", "runs", "splits", "seeds"),
        *("estimated_accuracy", "estimated_low", "estimated_high"),
    ),
    "budget": (
        *GROUP_COLUMNS,
        *("runs", "labels", "mean", "std"),
        *("area_from", "area_to", "area", "area_std"),
        *("saved", "needed", "steps", "images", "seconds"),
    ),
    "differences": (
        *(*GROUP_COLUMNS, "against", "of", "labels", "over", "n", "mean", "std", "t_low", "t_high"),
        *("boot_low", "boot_high", "t_p", "wilcoxon_p"),
    ),
    "penalties": ("beats", "beaten", "penalty"),
}
REPORT_FILES = (
    *("report.html", "report.md", "report.tex", "curves.png", "curves.pdf"),
    *(f"{key}.csv" for key in CSV_HEADERS),
)
MAP_FILES = ("maps.png", "maps.pdf")  # where a run has a map of its features
DEFAULT_MAPS, MAX_MAPS = 6, 20  # a map is 40 KB on the page, which stays below 5 MB
