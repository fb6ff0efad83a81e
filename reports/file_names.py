"""The files of a report: their names, and by what each is known to be a report's."""

NAMES = ("dataset", "training", "method")  # of a group
MARKDOWN = "<!-- made by report.py -->\n"
LATEX = "% made by report.py"
PAGE = '<meta name="generator" content="report.py">'
HEADERS = {  # of the CSV files, with all digits
    "curves": (*NAMES, "labeled", "mean", "std", "runs", "splits", "seeds"),
    "budget": (
        *(*NAMES, "runs", "labels", "mean", "std", "area_from", "area_to", "area", "area_std"),
        *("saved", "needed", "steps", "images", "seconds"),
    ),
    "differences": (
        *(*NAMES, "against", "of", "labels", "over", "n", "mean", "std", "t_low", "t_high"),
        *("boot_low", "boot_high", "t_p", "wilcoxon_p"),
    ),
    "penalties": ("beats", "beaten", "penalty"),
}
FILES = (
    *("report.html", "report.md", "report.tex", "curves.png", "curves.pdf"),
    *(f"{key}.csv" for key in HEADERS),
)
