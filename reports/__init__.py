"""Reports: from the folders of finished runs to statistics, tables, figures and a web page."""
